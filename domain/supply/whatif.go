package supply

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/chance"
	"casebook/domain/study"
)

// Wish are the kits that a patient needed at a site for a visit.
type Wish struct {
	On   domain.Date
	Slot Slot
	Arm  domain.ArmID
	// Kinds are those of the kits that the patient got first; none if the patient never got any.
	Kinds  []study.Kind
	waited bool
}

// Course is what became of a patient at a site, as far as a look-ahead needs it.
type Course struct {
	EnrolledOn domain.Date
	EndedOn    domain.Date // of the treatment or the participation; "" as long as it goes on
	Visits     map[string]domain.Date
	Skipped    []string
	// Version is the version of the protocol that the patient follows, and Dosing what decides about the kits, both by now.
	Version int
	Dosing  study.Dosing
}

// Parcel are kits that people sent to a site, on the day when they were there.
type Parcel struct {
	On   domain.Date
	Kits []KitNumber
}

// SiteHistory is what happened at a site that a resupply rule has to do with.
type SiteHistory struct {
	Site  domain.SiteID
	Depot LocationID
	// Rule is the site's last rule, nil if it never had one, and RuledFrom the day of its first one.
	Rule      *ResupplyRule
	RuledFrom domain.Date
	// Wishes are in the order in which they arose. ByHand are the parcels that people made.
	Wishes []Wish
	ByHand []Parcel
	// Pool are the kits that the depot could send: those that came to it and were sent to nobody else. Each can be sent from a day on.
	Pool    KitContents
	PoolOf  map[KitNumber]domain.Date
	Courses map[domain.PatientID]Course
	// LeadDays is how long a resupply takes from its making to its receipt, by the median.
	LeadDays int
	// From and Through are the first and the last day of the history.
	From, Through domain.Date
	Actual        Outcome
}

// Needed counts the kits that patients needed.
func (h SiteHistory) Needed() (n int) {
	for _, w := range h.Wishes {
		n += max(1, len(w.Kinds))
	}
	return n
}

// Outcome is how a site is supplied over its history.
type Outcome struct {
	// StockOuts counts the kits that patients needed and the site did not have at once.
	StockOuts int `json:"stockOuts"`
	// Expired counts the kits that expired at the site.
	Expired int `json:"expired"`
	// Shipments and Kits count what was sent to the site and arrived, or is on its way: by rule and by hand.
	Shipments int `json:"shipments"`
	Kits      int `json:"kits"`
	// Short counts the days on which the depot lacked kits that the rule demands.
	Short int `json:"short"`
}

// whatIf is the progress of WhatIf.
type whatIf struct {
	h        SiteHistory
	in       study.Study
	rule     ResupplyRule
	seed     chance.Seed
	pool     map[KitNumber]bool // not sent yet
	shelf    map[KitNumber]bool // at the site, not given out
	underway []Parcel
	served   map[Slot]bool
	waiting  []Wish
	known    map[domain.PatientID]Wish // the last one
	raised   int
	plans    int
	lacked   bool
	out      Outcome
}

// WhatIf replays what patients of a site needed under a rule, day by day, and says what would have come of it. The same history and
// rule always give the same outcome. Its limits: kits arrive after the site's median time; parcels that people sent arrive as
// they did; visits need what they would by the patient's dose and version of the protocol at the end of the history; what was
// damaged, lost, recalled or set aside is not repeated; do-not-ship days, labels, green lights and ends of arms and types are not
// looked at; and chance decides anew of which arms kits are. It knows arms, and its outcome does not name any.
func WhatIf(h SiteHistory, in study.Study, rule ResupplyRule) Outcome {
	rule.Site = h.Site
	seed, _ := chance.Parse(fmt.Sprintf("%064x", 1)) // the form of a seed
	w := &whatIf{h: h, in: in, rule: rule, seed: seed, pool: map[KitNumber]bool{}, shelf: map[KitNumber]bool{},
		served: map[Slot]bool{}, known: map[domain.PatientID]Wish{}}
	for n := range h.Pool {
		w.pool[n] = true
	}
	for _, p := range h.ByHand {
		for _, n := range p.Kits {
			delete(w.pool, n)
		}
		w.out.Shipments++
		w.out.Kits += len(p.Kits)
	}
	w.underway = slices.Clone(h.ByHand)
	ruled := cmp.Or(h.RuledFrom, h.From)
	wishes := h.Wishes
	for day := h.From; day != "" && day <= h.Through; day = day.AddDays(1) {
		w.lacked = false
		w.begin(day)
		if day >= ruled {
			w.plan(day)
		}
		for len(wishes) > 0 && wishes[0].On <= day {
			w.want(wishes[0], day)
			wishes = wishes[1:]
			if day >= ruled {
				w.plan(day)
			}
		}
		if w.lacked {
			w.out.Short++
		}
	}
	return w.out
}

// begin takes in what arrives, gives it to those who wait, and takes out what has expired.
func (w *whatIf) begin(day domain.Date) {
	w.underway = slices.DeleteFunc(w.underway, func(p Parcel) bool {
		if p.On > day {
			return false
		}
		for _, n := range p.Kits {
			w.shelf[n] = true
		}
		return true
	})
	for n := range w.shelf {
		if w.h.Pool[n].Expiry <= day {
			delete(w.shelf, n)
			w.out.Expired++
		}
	}
	w.waiting = slices.DeleteFunc(w.waiting, func(wish Wish) bool { return w.give(wish, day) })
}

// want gives a patient a kit, or lets the patient wait.
func (w *whatIf) want(wish Wish, day domain.Date) {
	if len(wish.Kinds) == 0 {
		wish.Kinds = w.scheduled(wish.Slot.Patient).kinds(wish.Slot.Visit, wish.Arm, wish.Arm)
	}
	w.known[wish.Slot.Patient] = wish
	if !w.give(wish, day) {
		w.out.StockOuts += len(wish.Kinds)
		w.waiting = append(w.waiting, wish)
	}
}

// give gives all kits that are needed, or none: of each kind those that expire first.
func (w *whatIf) give(wish Wish, day domain.Date) bool {
	needed := map[study.Kind]int{}
	for _, kind := range wish.Kinds {
		needed[kind]++
	}
	var given []KitNumber
	for kind, n := range needed {
		there := w.inOrder(w.shelf, kind, day)
		if len(there) < n {
			return false
		}
		given = append(given, there[:n]...)
	}
	for _, n := range given {
		delete(w.shelf, n)
	}
	w.served[wish.Slot] = true
	return true
}

// scheduled is what is known of a patient.
func (w *whatIf) scheduled(who domain.PatientID) Scheduled {
	c := w.h.Courses[who]
	s := Scheduled{Patient: who, Study: w.in, Dosing: c.Dosing, EnrolledOn: c.EnrolledOn, Skipped: c.Skipped}
	if c.Version > 0 {
		s.Study = w.in.As(c.Version)
	}
	return s
}

// inOrder lists the kits of a kind that can still be given out, those that expire first in front.
func (w *whatIf) inOrder(of map[KitNumber]bool, kind study.Kind, day domain.Date) (kits []KitNumber) {
	for n := range of {
		if w.h.Pool[n].kind() == kind && w.usable(n, day) {
			kits = append(kits, n)
		}
	}
	slices.SortFunc(kits, func(a, b KitNumber) int {
		return cmp.Or(cmp.Compare(w.h.Pool[a].Expiry, w.h.Pool[b].Expiry), cmp.Compare(a, b))
	})
	return kits
}

// usable says whether a kit can still be given out.
func (w *whatIf) usable(n KitNumber, day domain.Date) bool {
	return w.h.Pool[n].Expiry.DaysSince(day) > keepDays(w.in)
}

// plan sends what the rule demands.
func (w *whatIf) plan(day domain.Date) {
	there := maps.Clone(w.shelf)
	for _, p := range w.underway {
		for _, n := range p.Kits {
			there[n] = true
		}
	}
	sendable := map[KitNumber]bool{}
	for n := range w.pool {
		if from := w.h.PoolOf[n]; from != "" && from <= day {
			sendable[n] = true
		}
	}
	have, atDepot := map[study.Kind]int{}, map[study.Kind]int{}
	var kinds []study.Kind
	for _, kind := range w.in.Kinds() {
		kinds = append(kinds, study.Kind(kind.ID))
	}
	count := func(of map[KitNumber]bool, into map[study.Kind]int) {
		for n := range of {
			if w.usable(n, day) {
				into[w.h.Pool[n].kind()]++
			}
		}
	}
	count(there, have)
	count(sendable, atDepot)
	w.plans++
	demanded := w.rule.levels(len(kinds), w.due(day)).fill(kinds, have, atDepot, w.raised, func(i int) uint64 {
		return w.seed.Number(fmt.Sprint("arm/", i), w.plans)
	})
	w.lacked = w.lacked || len(demanded.missing) > 0
	p := Parcel{On: day.AddDays(w.h.LeadDays)}
	for _, kind := range kinds {
		if n := demanded.want[kind]; n > 0 {
			p.Kits = append(p.Kits, w.inOrder(sendable, kind, day)[:n]...)
		}
	}
	if len(p.Kits) == 0 {
		return
	}
	for _, n := range p.Kits {
		delete(w.pool, n)
	}
	w.raised += demanded.raises
	w.underway = append(w.underway, p)
	w.out.Shipments++
	w.out.Kits += len(p.Kits)
}

// due counts the kits that visits within the rule's look-ahead need, as it was known on the day.
func (w *whatIf) due(day domain.Date) Due {
	due := Due{}
	if w.rule.PredictDays == 0 {
		return due
	}
	for who, last := range w.known {
		c := w.h.Courses[who]
		if c.EndedOn != "" && c.EndedOn <= day {
			continue
		}
		scheduled := w.scheduled(who)
		scheduled.Visits = map[string]bool{}
		for visit, on := range c.Visits {
			scheduled.Visits[visit] = on <= day
		}
		scheduled.needs(due, last.Arm, last.Kinds[0], day, w.rule.PredictDays, func(visit string) bool { return w.served[Slot{who, visit}] })
	}
	return due
}
