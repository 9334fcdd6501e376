package supply

import (
	"fmt"
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Sent is a shipment as its sender knows it.
type Sent struct {
	ShipmentCreated
	Status       ShipmentStatus
	DispatchedOn domain.Date
}

// ShipmentStatus is the status of a shipment in its life cycle.
type ShipmentStatus string

// The statuses of a shipment.
const (
	ShipmentPacked      ShipmentStatus = "packed"
	ShipmentOnItsWay    ShipmentStatus = "dispatched"
	ShipmentIsCancelled ShipmentStatus = "cancelled"
	ShipmentArrived     ShipmentStatus = "received"
	ShipmentIsLost      ShipmentStatus = "lost"
)

// ShipmentStatuses are all statuses of a shipment.
var ShipmentStatuses = []ShipmentStatus{ShipmentPacked, ShipmentOnItsWay, ShipmentArrived, ShipmentIsLost, ShipmentIsCancelled}

// Schema implements domain.HasSchema.
func (ShipmentStatus) Schema() domain.Schema { return domain.OneOf(ShipmentStatuses...) }

// After returns the status after an event that is about the shipment.
func (s ShipmentStatus) After(event StockEvent) ShipmentStatus {
	switch event.(type) {
	case ShipmentCreated:
		return ShipmentPacked
	case ShipmentCancelled:
		return ShipmentIsCancelled
	case ShipmentDispatched:
		return ShipmentOnItsWay
	case ShipmentReceived:
		return ShipmentArrived
	case ShipmentLost:
		return ShipmentIsLost
	}
	return s
}

// AcceptDelivery takes a registered delivery into the depot's stock. Kits of a lot that was recalled in the meantime
// are quarantined at once, because the depot may have handled the recall already. It may be sent twice. It refuses
// delivery_not_found.
func AcceptDelivery(s Stock, f Facts, cmd TakeInDelivery, call domain.Call) ([]StockEvent, error) {
	if cmd.Delivery < 1 || cmd.Delivery > len(f.Supply.Deliveries) || f.Supply.Deliveries[cmd.Delivery-1].Depot != cmd.Depot {
		return nil, refuse.NotFound("delivery_not_found", "depot %s of study %s has no delivery %d", cmd.Depot, cmd.Study, cmd.Delivery).
			At("delivery").Do("check the number")
	}
	if s.Delivered[cmd.Delivery] {
		return nil, nil
	}
	d := f.Supply.Deliveries[cmd.Delivery-1]
	if d.Contents.Sealed() {
		return nil, ErrKeysMissing
	}
	events := []StockEvent{DeliveryTakenIn{OfStock: cmd.stock(), Delivery: d.Delivery, Kits: d.Kits, Contents: d.Contents}}
	s = evolveStock(s, events[0])
	for _, lot := range f.Supply.recalled() {
		recall := QuarantineLot{AtLocation: AtLocation{Study: cmd.Study, Location: cmd.Depot}, Lot: lot,
			Reasoned: domain.Because(f.Supply.Lots[lot].Reason)}
		quarantined, err := QuarantineKitsOfLot(s, recall, call)
		if err != nil {
			return nil, err
		}
		events = append(events, quarantined...)
	}
	return events, nil
}

// sentToDepots are the statuses, besides available, of kits that go back to a depot, or from one depot to another.
var sentToDepots = []KitStatus{KitIsReturned, KitUnavailable, KitExpired, KitDamaged, KitQuarantined, KitIsRecalled, KitSentBack}

// Create packs kits for another location. A depot sends a site kits that can be given out, and another depot every kit; a site sends
// back kits that it need not keep for a patient. It refuses location_not_found, shipment_to_itself, shipment_between_sites,
// reason_required, value_too_long, value_out_of_range, kit_not_at_location, kit_named_twice, kit_status, enrollment_under_way,
// kit_not_reconciled, activity_paused, country_not_approved, site_not_approved, label_not_for_country and kits_not_sendable.
func Create(s Stock, f Facts, cmd CreateShipment, call domain.Call) ([]StockEvent, error) {
	err := domain.First(domain.Reason(cmd.Reason), domain.Between("kits", len(cmd.Kits), 1, 1000), f.mustHave(cmd.To, "to", cmd.Study),
		f.mustNotBePaused(cmd.To, "to"), f.mustBeApproved(cmd.To, "to"))
	if err != nil {
		return nil, err
	}
	if cmd.From == cmd.To {
		return nil, refuse.Because("shipment_to_itself", "%s cannot send kits to itself", cmd.From).At("to").Do("name another location")
	}
	_, fromDepot := f.Supply.Depots[cmd.From]
	_, toDepot := f.Supply.Depots[cmd.To]
	if !fromDepot && !toDepot {
		return nil, refuse.Because("shipment_between_sites", "kits move between a depot and a site").At("to").Do("send them to a depot")
	}
	mayGo := func(k Kit) bool {
		return k.Status == KitAvailable || toDepot && slices.Contains(sentToDepots, k.Status)
	}
	if err := s.eachOnce("kits", "sending it", cmd.Kits, mayGo); err != nil {
		return nil, err
	}
	if err := f.labelsMustAllow(cmd.To, cmd.Kits, "kits"); err != nil {
		return nil, err
	}
	contents, err := s.contentsOf(cmd.Kits)
	if err != nil {
		return nil, err
	}
	w, on, deliveries := f.wayTo(cmd.To), today(call), map[int]bool{}
	for _, n := range cmd.Kits {
		k, _ := s.Kits.Get(n)
		switch c := contents[n]; {
		case k.Status == KitAvailable && s.Holds.Len() > 0:
			// Which kits are held is blinded: two that are held together are of different arms. So no kit may leave that could
			// be held, as long as any is.
			return nil, refuse.WrongState("enrollment_under_way", "kits that can be given out do not leave while a patient is being enrolled here").
				At("kits").Do("try again in a few minutes; kits that go to nobody any more may leave")
		case k.Dispensed && !k.Reconciled:
			return nil, refuse.WrongState("kit_not_reconciled", "the doses of kit %s are not accounted for", n).At("kits").Do("reconcile it first")
		case !toDepot && !s.sendable(f, n, c, w, on, deliveries):
			return nil, notSendable("kits", "send kits of another delivery, or set a resupply rule, which sends only what can be used")
		}
	}
	return []StockEvent{s.shipment(cmd.stock(), cmd.To, cmd.Kits, contents, cmd.Reason)}, nil
}

// notSendable is the only refusal of a shipment because of what kits hold. It names no kit and no cause.
func notSendable(field, remedy string) error {
	return refuse.Because("kits_not_sendable", "some of the kits cannot be sent: a delivery is sent when all its lots are released, and not "+
		"in the last days before kits of it expire").At(field).Do(remedy)
}

// shipment returns the next shipment of the location. Its kits are in the order of their numbers, which says nothing of
// what they hold.
func (s Stock) shipment(at OfStock, to LocationID, kits []KitNumber, contents KitContents, reason personal.Text) ShipmentCreated {
	id := ShipmentID(fmt.Sprintf("%s-%04d", at.Location, s.LastShipment+1))
	return ShipmentCreated{OfStock: at, Shipment: id, To: to, Kits: slices.Sorted(slices.Values(kits)), Reason: reason,
		Contents: blind.Of(contents)}
}

// filling is what a rule demands for a site now: kits of each arm, never more than the depot has; by how many kits of all arms
// they raise the stock that the site is kept at; and the kits that the depot lacks to raise it enough.
type filling struct {
	want    map[domain.ArmID]int
	raises  int
	missing MissingKits
}

// fill says what the rule demands for a site that has so many kits of each arm, if the depot has so many. An empty site gets
// the target of each arm. After that, kits are replaced when as many are missing as one arm may lose, all arms counted
// together, and chance decides of which arm each new kit is: shipments that replaced each kit by one of its own arm would
// tell, taken together, the arms of all patients with several visits. So a site has at times more of one arm and less of
// another. Before less than the trigger is left of one, the stock is raised by as many kits of each arm as bring this one up
// to the target. That happens the more rarely, the more there is.
func (l levels) fill(arms []domain.ArmID, have, atDepot map[domain.ArmID]int, raised int, chance func(i int) uint64) filling {
	there := 0
	for _, arm := range arms {
		there += have[arm]
	}
	f := filling{want: map[domain.ArmID]int{}, missing: MissingKits{}}
	missing := len(arms)*l.target + raised - there
	switch {
	case there == 0:
		for _, id := range arms {
			f.want[id] = min(l.target, atDepot[id])
			if lacks := l.target - f.want[id]; lacks > 0 {
				f.missing[id] = lacks
			}
			missing -= f.want[id]
		}
		for i := range missing {
			f.addOne(arms, atDepot, chance(i))
		}
	case missing > l.spare:
		for i := range missing {
			if !f.addOne(arms, atDepot, chance(i)) {
				f.missing[arms[chance(i)%uint64(len(arms))]]++
			}
		}
	}
	needed, raise := 0, 0
	short := map[domain.ArmID]bool{}
	for _, id := range arms {
		if there, least := have[id]+f.want[id], l.least(id); there < least {
			short[id], needed = true, max(needed, max(l.target, least)-there)
		}
	}
	if len(short) == 0 {
		return f
	}
	add := func(id domain.ArmID, most int) int {
		n := min(most, max(0, atDepot[id]-f.want[id]))
		f.want[id] += n
		f.raises += n
		return n
	}
	for _, id := range arms {
		if short[id] {
			n := add(id, needed)
			if raise = max(raise, n); n < needed {
				f.missing[id] = max(f.missing[id], needed-n)
			}
		}
	}
	for _, id := range arms {
		if !short[id] {
			add(id, raise) // nothing, if the depot has none of the arm that is short
		}
	}
	return f
}

// addOne adds a kit of the arm that chance decides for, among those of which the depot has kits left. It returns false if there
// are none.
func (f filling) addOne(arms []domain.ArmID, atDepot map[domain.ArmID]int, chance uint64) bool {
	var left []domain.ArmID
	for _, id := range arms {
		if atDepot[id] > f.want[id] {
			left = append(left, id)
		}
	}
	if len(left) == 0 {
		return false
	}
	f.want[left[chance%uint64(len(left))]]++
	return true
}

// Resupply creates the shipment that a site's rule demands now, and a ResupplyFellShort if the depot has not enough
// kits for it. Kits in transit to the site count as its stock. It may be sent at any time; if the rule demands nothing,
// it has no effect. Of the kits of an arm that do not expire too soon, the depot sends those that expire first, and among
// equals those that chance decides for.
func Resupply(s Stock, f Facts, cmd PlanResupply, call domain.Call) ([]StockEvent, error) {
	rule, ruled := f.Supply.Rules[cmd.Site]
	if !ruled || rule.Depot != cmd.Depot || f.Study.Protocol == nil || !f.Study.SiteIsSupplied(cmd.Site) ||
		f.Study.Paused(cmd.Site, study.ActivityShipping) {
		return nil, nil
	}
	on, keep := today(call), keepDays(f.Study)
	// Held kits count as the site's stock, because most of them are free again after the draw.
	have, err := f.Other.countUsable(f.Supply, on, keep)
	if err != nil {
		return nil, err
	}
	to := LocationID(cmd.Site)
	for id, sent := range s.Sent.All() {
		if _, ended := f.Other.Arrived.Get(id); sent.To != to || ended || sent.Status == ShipmentIsCancelled {
			continue
		}
		for _, n := range sent.Kits {
			c, known := s.contents.Get(n)
			if !known {
				return nil, ErrKeysMissing
			}
			if f.Supply.usable(n, c.Lot) {
				have[c.kind()]++
			}
		}
	}
	by, events, err := s.choosing(cmd.stock(), cmd.Seed, f, call)
	if err != nil {
		return nil, err
	}
	by.choice.Country = f.wayTo(to).country
	atDepot, err := s.countShippable(f.Supply, by.choice)
	if err != nil {
		return nil, err
	}
	// A drawn arm outlives every amendment, so that patients of an arm that was dropped are supplied as well.
	kinds, err := f.resupplied(cmd.Site)
	if err != nil {
		return nil, err
	}
	due := Due{}
	if rule.PredictDays > 0 && f.Study.Protocol.Treatment != nil {
		if due, err = f.Other.dueAt(f.Patients, on, rule.PredictDays); err != nil {
			return nil, err
		}
	}
	kept := rule.levels(len(kinds), due)
	demanded := kept.fill(kinds, have, atDepot, s.Raised[to], func(i int) uint64 {
		return by.seed.Number(fmt.Sprint("arm/", i), by.choice.Number)
	})
	if err := f.mustBeApproved(to, "site"); err != nil {
		return s.withheld(cmd.stock(), to, demanded, f, err), nil
	}
	kits, err := s.firstOf(demanded.want, f.Supply, by)
	if err != nil {
		return nil, err
	}
	if len(kits) == 0 {
		events = nil // nothing was chosen, so no seed is recorded
	} else {
		contents, err := s.contentsOf(kits)
		if err != nil {
			return nil, err
		}
		shipment := s.shipment(cmd.stock(), to, kits, contents, "resupply")
		shipment.Resupply, shipment.Raises, shipment.Choice = true, demanded.raises, blind.Of(by.choice)
		events = append(events, shipment)
	}
	if rule.PredictDays > 0 && !demanded.none() {
		events = append([]StockEvent{rule.predicted(cmd.stock(), on, due, kept)}, events...)
	}
	if len(demanded.missing) > 0 {
		events = append(events, ResupplyFellShort{OfStock: cmd.stock(), To: to, Missing: blind.Of(demanded.missing)})
	}
	return events, nil
}

// withheld records that a rule demands kits that may not be shipped, unless that is recorded already.
func (s Stock) withheld(at OfStock, to LocationID, demanded filling, f Facts, because error) []StockEvent {
	r, refused := refuse.As(because)
	changes, known := s.Withheld[to]
	if !refused || known && changes == f.Supply.GreenLights.Changes || demanded.none() {
		return nil
	}
	return []StockEvent{ResupplyWithheld{OfStock: at, To: to, Code: r.Code, Reason: personal.Text(r.Sentence),
		Changes: f.Supply.GreenLights.Changes}}
}

// none says that the rule demands nothing.
func (f filling) none() bool {
	for _, n := range f.want {
		if n > 0 {
			return false
		}
	}
	return len(f.missing) == 0
}

// firstOf returns as many usable kits of each arm as are wanted, those that the chooser takes first.
func (s Stock) firstOf(want map[domain.ArmID]int, in Supply, by chooser) (kits []KitNumber, err error) {
	var usable map[domain.ArmID][]KitNumber
	for arm, count := range want {
		if count == 0 {
			continue
		}
		if usable == nil {
			if usable, err = s.shippable(in, by.choice); err != nil {
				return nil, err
			}
		}
		kits = append(kits, by.inOrder(usable[arm], s.expiryOf)[:count]...)
	}
	return kits, nil
}

// Cancel puts the kits of a shipment that has not left back into stock. It refuses reason_required, value_too_long,
// shipment_not_found and shipment_status.
func Cancel(s Stock, cmd CancelShipment, _ domain.Call) ([]StockEvent, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	if _, err := s.sent(cmd.Shipment, ShipmentPacked, "cancelling it"); err != nil {
		return nil, err
	}
	return []StockEvent{ShipmentCancelled{OfStock: cmd.stock(), Shipment: cmd.Shipment, Reason: cmd.Reason}}, nil
}

// Dispatch hands a shipment to the carrier. It refuses shipment_not_found, shipment_status, malformed_date,
// captured_in_future, value_too_long, activity_paused, country_not_approved, site_not_approved, kits_not_sendable if a lot
// was recalled in the meantime or a kit expires too soon by now, and kit_status for a kit that was quarantined, lost or expired in the
// meantime.
func Dispatch(s Stock, f Facts, cmd DispatchShipment, call domain.Call) ([]StockEvent, error) {
	if err := domain.First(cmd.On.NotAfterToday("on", call), domain.OptionalText("carrier", cmd.Carrier, 200)); err != nil {
		return nil, err
	}
	sent, err := s.sent(cmd.Shipment, ShipmentPacked, "dispatching it")
	if err != nil {
		return nil, err
	}
	if err := domain.First(f.mustNotBePaused(sent.To, "shipment"), f.mustBeApproved(sent.To, "shipment")); err != nil {
		return nil, err
	}
	w, on, deliveries := f.wayTo(sent.To), today(call), map[int]bool{}
	for _, n := range sent.Kits {
		k, _ := s.Kits.Get(n)
		if k.Status != KitPacked || k.Shipment != cmd.Shipment { // an expired kit may be in another shipment by now
			return nil, refuse.WrongState("kit_status", "kit %s is %s, and not ready to leave with the shipment", n, k.Status).
				At("shipment").Do("cancel the shipment and make another")
		}
		c, known := s.contents.Get(n)
		if !known {
			return nil, ErrKeysMissing
		}
		leaves := !w.toSite
		switch {
		case leaves:
		case sent.Resupply: // the days of types held when the rule chose the kits; whether it leaves must not tell of which types they are
			leaves = f.Supply.usable(n, c.Lot) && c.Expiry.DaysSince(on) > f.Supply.doNotShip(c.Lot, "", w, keepDays(f.Study))
		default:
			leaves = s.sendable(f, n, c, w, on, deliveries)
		}
		if !leaves {
			return nil, notSendable("shipment", "cancel the shipment and make another")
		}
	}
	return []StockEvent{ShipmentDispatched{OfStock: cmd.stock(), Shipment: cmd.Shipment, To: sent.To, On: cmd.On, Carrier: cmd.Carrier}}, nil
}

// sent returns a shipment of this location, which must have the status (codes shipment_not_found, shipment_status).
func (s Stock) sent(id ShipmentID, want ShipmentStatus, what string) (Sent, error) {
	sent, found := s.Sent.Get(id)
	if !found {
		return sent, refuse.NotFound("shipment_not_found", "there is no shipment %.60q from here", string(id)).
			At("shipment").Do("check the id and the location")
	}
	if sent.Status != want {
		return sent, refuse.WrongState("shipment_status", "shipment %s is %s; %s is not possible", id, sent.Status, what).
			At("shipment").Do("check its status")
	}
	return sent, nil
}

// arriving returns a shipment that is in transit to the receiver (codes shipment_not_found, shipment_status).
func (s Stock) arriving(f Facts, id ShipmentID, receiver LocationID) (Sent, error) {
	sent, found := f.Other.Sent.Get(id)
	if !found || sent.To != receiver {
		return sent, refuse.NotFound("shipment_not_found", "no shipment %.60q is on its way to %s from there", string(id), receiver).
			At("shipment").Do("check the id and both locations")
	}
	if status, ended := s.Arrived.Get(id); ended {
		return sent, refuse.WrongState("shipment_status", "shipment %s is %s already", id, status).At("shipment").Do("nothing is left to do")
	}
	if sent.Status != ShipmentOnItsWay {
		return sent, refuse.WrongState("shipment_status", "shipment %s is %s", id, sent.Status).At("shipment").Do("it has to be dispatched first")
	}
	return sent, nil
}

// Receive takes a shipment into stock. If the temperature left its range or is unknown, the whole shipment is
// quarantined until somebody releases it (R36; EU GDP 2013/C 343/01, 9.2). Kits of a lot that was recalled during the
// transport are quarantined too, and so are those that come back from a site unused. All others that come back from a site go to no
// patient any more. What could not be given out when a depot sent it to another stays what it is. It refuses
// shipment_not_found, shipment_status, malformed_date, captured_in_future, received_before_dispatch, value_too_long,
// unknown_code, kit_not_in_shipment and kit_named_twice.
func Receive(s Stock, f Facts, cmd ReceiveShipment, call domain.Call) ([]StockEvent, error) {
	err := domain.First(cmd.On.NotAfterToday("on", call), domain.OptionalText("note", cmd.Note, 500), cmd.Temperature.validate())
	if err != nil {
		return nil, err
	}
	sent, err := s.arriving(f, cmd.Shipment, cmd.Location)
	if err != nil {
		return nil, err
	}
	if err := cmd.On.NotBefore(sent.DispatchedOn, "received_before_dispatch", "on", "the receipt", "the dispatch"); err != nil {
		return nil, err
	}
	special := map[KitNumber]string{}
	for _, named := range []struct {
		field string
		kits  []KitNumber
	}{{"damaged", cmd.Damaged}, {"missing", cmd.Missing}} {
		for _, n := range named.kits {
			if !slices.Contains(sent.Kits, n) {
				return nil, refuse.Because("kit_not_in_shipment", "kit %.40s is not in shipment %s", n, cmd.Shipment).
					At(named.field).Do("check the number")
			}
			if special[n] != "" {
				return nil, refuse.Malformed("kit_named_twice", "kit %s is named twice", n).At(named.field).Do("name every kit once")
			}
			special[n] = named.field
		}
	}
	contents, err := f.Other.contentsOf(sent.Kits)
	if err != nil {
		return nil, err
	}
	e := ShipmentReceived{OfStock: cmd.stock(), Shipment: cmd.Shipment, From: cmd.From, On: cmd.On,
		Excursion: cmd.Temperature != TemperatureInRange, Note: cmd.Note, Contents: blind.Of(maps.Clone(contents))}
	_, toDepot := f.Supply.Depots[cmd.Location]
	_, fromDepot := f.Supply.Depots[cmd.From]
	for _, n := range sent.Kits {
		k, _ := f.Other.Kits.Get(n)
		switch {
		case special[n] == "missing":
			e.Missing = append(e.Missing, n)
			e.Kept = e.Kept.withLost(n, k, fromDepot)
		case special[n] == "damaged":
			e.Damaged = append(e.Damaged, n)
		case toDepot && !fromDepot:
			// What a site did not use has been out of the depot's hands, and waits for a decision.
			if k.unused() {
				e.Quarantined = append(e.Quarantined, n)
			} else {
				e.Returned = append(e.Returned, n)
			}
		case k.Packed != KitAvailable: // it comes from a depot, and stays what it is
			e.Kept = e.Kept.with(n, k.Packed, k.Before)
		case e.Excursion || f.Supply.Lots[contents[n].Lot].Recalled:
			e.Quarantined = append(e.Quarantined, n)
		default:
			e.Available = append(e.Available, n)
		}
	}
	return []StockEvent{e}, nil
}

// RecordShipmentLoss records that a shipment never arrived. It refuses reason_required, value_too_long,
// shipment_not_found and shipment_status.
func RecordShipmentLoss(s Stock, f Facts, cmd ReportShipmentLost, _ domain.Call) ([]StockEvent, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	sent, err := s.arriving(f, cmd.Shipment, cmd.Location)
	if err != nil {
		return nil, err
	}
	contents, err := f.Other.contentsOf(sent.Kits)
	if err != nil {
		return nil, err
	}
	e := ShipmentLost{OfStock: cmd.stock(), Shipment: cmd.Shipment, From: cmd.From, Kits: sent.Kits, Reason: cmd.Reason,
		Contents: blind.Of(contents)}
	_, fromDepot := f.Supply.Depots[cmd.From]
	for _, n := range sent.Kits {
		k, _ := f.Other.Kits.Get(n)
		e.Kept = e.Kept.withLost(n, k, fromDepot)
	}
	return []StockEvent{e}, nil
}

// withLost returns the list with a kit that did not arrive, if it could not be given out when it was sent. One that comes from a site
// goes to no patient when it is found, unless no patient ever had it.
func (all Keeping) withLost(n KitNumber, k Kit, fromDepot bool) Keeping {
	switch {
	case !fromDepot && !k.unused():
		return all.with(n, KitLostInTransit, KitSentBack)
	case k.released() != KitAvailable:
		return all.with(n, KitLostInTransit, k.released())
	}
	return all
}

func (t Temperature) validate() error {
	switch t {
	case TemperatureInRange, TemperatureExcursion, TemperatureUnknown:
		return nil
	}
	return refuse.Malformed("unknown_code", "%.40q is no finding of a temperature monitor", string(t)).
		At("temperature").Do("use in_range, excursion or unknown")
}

// mustNotBePaused refuses a shipment to a site to which nothing is shipped for the time being (code activity_paused). What goes to a
// depot is not stopped by any pause: drug that is recalled or not used has to come back just then.
func (f Facts) mustNotBePaused(to LocationID, field string) error {
	if _, toDepot := f.Supply.Depots[to]; toDepot {
		return nil
	}
	return f.Study.MustNotBePaused(domain.SiteID(to), study.ActivityShipping, field)
}

// mustHave refuses a location that the study does not have (code location_not_found).
func (f Facts) mustHave(l LocationID, field string, in domain.StudyID) error {
	_, depot := f.Supply.Depots[l]
	_, site := f.Study.Sites[domain.SiteID(l)]
	if !depot && !site {
		return refuse.NotFound("location_not_found", "study %s has no depot or site %.40s", in, l).At(field).Do("check the id")
	}
	return nil
}
