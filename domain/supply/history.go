package supply

import (
	"cmp"
	"maps"
	"slices"

	"casebook/domain"
)

// Past collects from the events of a study what a resupply rule has to do with. The events have to come in the order of the log.
type Past struct {
	supply  Supply
	sites   map[domain.SiteID]*sitePast
	arms    map[domain.PatientID]domain.ArmID
	courses map[domain.PatientID]Course
	// content is that of each kit, at is the depot that it came to, and since the day from which it could be sent.
	content KitContents
	at      map[KitNumber]LocationID
	since   map[KitNumber]domain.Date
	sent    map[ShipmentID]*parcelPast
	through domain.Date
	sealed  bool
}

// sitePast is what is known of a site.
type sitePast struct {
	rule      *ResupplyRule
	ruledFrom domain.Date
	wishes    []*Wish
	wishFor   map[Slot]*Wish
	expired   int
	shorts    map[domain.Date]bool
}

// parcelPast is a shipment.
type parcelPast struct {
	from, to            LocationID
	kits                []KitNumber
	resupply, cancelled bool
	made, arrived       domain.Date
}

// NewPast returns a past without events.
func NewPast() *Past {
	return &Past{sites: map[domain.SiteID]*sitePast{}, arms: map[domain.PatientID]domain.ArmID{}, courses: map[domain.PatientID]Course{},
		content: KitContents{}, at: map[KitNumber]LocationID{}, since: map[KitNumber]domain.Date{}, sent: map[ShipmentID]*parcelPast{}}
}

// NoteArm notes the arm of a patient.
func (p *Past) NoteArm(who domain.PatientID, arm domain.ArmID) { p.arms[who] = arm }

// NoteCourse notes what is known of a patient by now.
func (p *Past) NoteCourse(who domain.PatientID, c Course) { p.courses[who] = c }

func (p *Past) site(id LocationID) *sitePast {
	s := p.sites[domain.SiteID(id)]
	if s == nil {
		s = &sitePast{wishFor: map[Slot]*Wish{}, shorts: map[domain.Date]bool{}}
		p.sites[domain.SiteID(id)] = s
	}
	return s
}

// Note notes an event of the supply or of a stock, and its day.
func (p *Past) Note(event any, on domain.Date) {
	p.through = max(p.through, on)
	switch e := event.(type) {
	case Event:
		p.supply = evolve(p.supply, e)
		p.noteSupply(e, on)
	case StockEvent:
		p.noteStock(e, on)
	}
}

func (p *Past) noteSupply(event Event, on domain.Date) {
	switch e := event.(type) {
	case KitsRegistered:
		contents, open := e.Contents.Open()
		p.sealed = p.sealed || !open
		for n, c := range contents {
			p.content[n], p.at[n] = c, e.Depot
		}
	case ResupplyRuleSet:
		s := p.site(LocationID(e.Rule.Site))
		s.rule, s.ruledFrom = &e.Rule, cmp.Or(s.ruledFrom, on)
	}
	switch event.(type) {
	case BatchReleased, LotRecalled, KitsRegistered:
	default:
		return
	}
	// A release may have made kits of several deliveries usable.
	for n, c := range p.content {
		if p.since[n] == "" && p.supply.usable(n, c.Lot) {
			p.since[n] = on
		}
	}
}

func (p *Past) noteStock(event StockEvent, on domain.Date) {
	switch e := event.(type) {
	case ShipmentCreated:
		p.sent[e.Shipment] = &parcelPast{from: e.Location, to: e.To, kits: e.Kits, resupply: e.Resupply, made: on}
	case ShipmentCancelled:
		p.sent[e.Shipment].cancelled = true
	case ShipmentReceived:
		if sent := p.sent[e.Shipment]; sent != nil {
			sent.arrived = on
			for _, n := range e.Available {
				p.at[n] = e.Location
			}
		}
	case KitAllocated:
		of := p.content[e.Kit]
		if of.Arm != "" {
			p.arms[e.Patient] = of.Arm
		}
		if w := p.wish(e.OfStock, Slot{e.Patient, e.Visit}, on); e.Item == len(w.Kinds) {
			w.Kinds = append(w.Kinds, of.kind())
		}
	case AllocationFailed:
		if e.Waits {
			w := p.wish(e.OfStock, Slot{e.Patient, e.Visit}, on)
			w.waited = w.waited || len(w.Kinds) == 0
		}
	case KitsExpired:
		p.site(e.Location).expired += len(e.Kits)
	case ResupplyFellShort:
		p.site(e.To).shorts[on] = true
	}
}

// wish notes that a patient needed kits for a visit. Those that are asked for again, or in place of others, were needed once.
func (p *Past) wish(at OfStock, slot Slot, on domain.Date) *Wish {
	s := p.site(at.Location)
	if s.wishFor[slot] == nil {
		s.wishFor[slot] = &Wish{On: on, Slot: slot}
		s.wishes = append(s.wishes, s.wishFor[slot])
	}
	return s.wishFor[slot]
}

// Sites lists the sites that needed kits or had a rule, in ascending order.
func (p *Past) Sites() []domain.SiteID {
	var all []domain.SiteID
	for _, id := range slices.Sorted(maps.Keys(p.sites)) {
		if _, depot := p.supply.Depots[LocationID(id)]; !depot {
			all = append(all, id)
		}
	}
	return all
}

// defaultLeadDays is how long a resupply takes at a site that no shipment has reached yet.
const defaultLeadDays = 3

// Of returns the history of a site. depot is the one that supplies it; if it is empty, that of its last rule, or the one that has
// sent it the last shipment. It returns ErrKeysMissing if the kits' contents are sealed.
func (p *Past) Of(id domain.SiteID, depot LocationID) (SiteHistory, error) {
	if p.sealed {
		return SiteHistory{}, ErrKeysMissing
	}
	s := p.site(LocationID(id))
	h := SiteHistory{Site: id, Depot: depot, Rule: s.rule, RuledFrom: s.ruledFrom, Through: p.through, Pool: KitContents{},
		PoolOf: map[KitNumber]domain.Date{}, Courses: p.courses,
		Actual: Outcome{Expired: s.expired, Short: len(s.shorts)}}
	if s.rule != nil {
		h.Depot = cmp.Or(h.Depot, s.rule.Depot)
	}
	elsewhere := map[KitNumber]bool{}
	var leads []int
	from := []domain.Date{}
	for _, shipment := range slices.Sorted(maps.Keys(p.sent)) {
		sent := p.sent[shipment]
		switch {
		case sent.cancelled:
			continue
		case sent.to != LocationID(id):
			if sent.from != LocationID(id) {
				for _, n := range sent.kits {
					elsewhere[n] = true
				}
			}
			continue
		}
		h.Depot = cmp.Or(h.Depot, sent.from)
		h.Actual.Shipments++
		h.Actual.Kits += len(sent.kits)
		from = append(from, sent.made)
		if sent.arrived != "" {
			leads = append(leads, sent.arrived.DaysSince(sent.made))
		}
		if !sent.resupply && sent.arrived != "" {
			h.ByHand = append(h.ByHand, Parcel{On: sent.arrived, Kits: sent.kits})
		}
	}
	for n, c := range p.content {
		if sentHere := p.at[n] == LocationID(id); sentHere || p.at[n] == h.Depot && !elsewhere[n] {
			h.Pool[n], h.PoolOf[n] = c, p.since[n]
		}
	}
	for _, byHand := range h.ByHand {
		for _, n := range byHand.Kits {
			h.Pool[n] = p.content[n]
		}
	}
	for _, wish := range s.wishes {
		w := *wish
		w.Arm = p.arms[w.Slot.Patient]
		if w.waited {
			h.Actual.StockOuts += max(1, len(w.Kinds))
		}
		h.Wishes = append(h.Wishes, w)
		from = append(from, w.On)
	}
	if s.ruledFrom != "" {
		from = append(from, s.ruledFrom)
	}
	if len(from) > 0 {
		h.From = slices.Min(from)
	}
	h.LeadDays = defaultLeadDays
	if slices.Sort(leads); len(leads) > 0 {
		h.LeadDays = leads[len(leads)/2]
	}
	return h, nil
}
