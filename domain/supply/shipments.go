package supply

import (
	"fmt"
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Sent is a shipment as its sender knows it.
type Sent struct {
	ShipmentCreated
	Status       ShipmentStatus
	DispatchedOn domain.Date
}

// ShipmentStatus is what has become of a shipment.
type ShipmentStatus string

// The statuses of a shipment.
const (
	ShipmentPacked     ShipmentStatus = "packed"
	ShipmentOnItsWay   ShipmentStatus = "dispatched"
	ShipmentIsCanceled ShipmentStatus = "cancelled"
	ShipmentArrived    ShipmentStatus = "received"
	ShipmentIsLost     ShipmentStatus = "lost"
)

// ShipmentStatuses are all statuses of a shipment.
var ShipmentStatuses = []ShipmentStatus{ShipmentPacked, ShipmentOnItsWay, ShipmentArrived, ShipmentIsLost, ShipmentIsCanceled}

// Schema implements domain.HasSchema.
func (ShipmentStatus) Schema() domain.Schema { return domain.OneOf(ShipmentStatuses...) }

// After returns the status after an event that is about the shipment.
func (s ShipmentStatus) After(event StockEvent) ShipmentStatus {
	switch event.(type) {
	case ShipmentCreated:
		return ShipmentPacked
	case ShipmentCancelled:
		return ShipmentIsCanceled
	case ShipmentDispatched:
		return ShipmentOnItsWay
	case ShipmentReceived:
		return ShipmentArrived
	case ShipmentLost:
		return ShipmentIsLost
	}
	return s
}

// AcceptDelivery puts a registered delivery into the depot's stock; what is of a lot that was recalled by then is set aside at
// once, because the recall may have been dealt with here already. It may be sent twice. It refuses delivery_not_found.
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
		return nil, errSealed
	}
	events := []StockEvent{DeliveryTakenIn{OfStock: OfStock{cmd.Study, cmd.Depot}, Delivery: d.Delivery, Kits: d.Kits, Contents: d.Contents}}
	s = evolveStock(s, events[0])
	for _, lot := range f.Supply.recalled() {
		aside, err := QuarantineKitsOfLot(s, QuarantineLot{AtLocation: AtLocation{Study: cmd.Study, Location: cmd.Depot}, Lot: lot, Reasoned: domain.Because(f.Supply.Lots[lot].Reason)}, call)
		if err != nil {
			return nil, err
		}
		events = append(events, aside...)
	}
	return events, nil
}

// Create sets kits aside for a way to another place. A depot sends what can be given out; a site sends back what nobody
// needs any more. It refuses location_not_found, shipment_to_itself, shipment_between_sites, reason_required, value_too_long, value_out_of_range,
// kit_not_at_location, kit_named_twice, kit_status, enrollment_under_way, lot_not_released, kit_expires_soon and kit_not_reconciled.
func Create(s Stock, f Facts, cmd CreateShipment, call domain.Call) ([]StockEvent, error) {
	if err := domain.First(domain.Reason(cmd.Reason), domain.Between("kits", len(cmd.Kits), 1, 1000), f.mustHave(cmd.To, "to", cmd.Study)); err != nil {
		return nil, err
	}
	if cmd.From == cmd.To {
		return nil, refuse.Because("shipment_to_itself", "%s cannot send kits to itself", cmd.From).At("to").Do("name another place")
	}
	_, fromDepot := f.Supply.Depots[cmd.From]
	may := func(k Kit) bool { return k.Status == KitAvailable }
	if !fromDepot {
		may = func(k Kit) bool {
			return k.Status == KitAvailable || k.Status == KitIsReturned || k.Status == KitExpired || k.Status == KitDamaged
		}
		if _, toDepot := f.Supply.Depots[cmd.To]; !toDepot {
			return nil, refuse.Because("shipment_between_sites", "kits move between a depot and a site").At("to").Do("send them to a depot")
		}
	}
	if err := s.eachOnce("kits", "sending it", cmd.Kits, may); err != nil {
		return nil, err
	}
	contents, err := s.contentsOf(cmd.Kits)
	if err != nil {
		return nil, err
	}
	for _, n := range cmd.Kits {
		k, _ := s.Kits.Get(n)
		switch c := contents[n]; {
		case k.Status == KitAvailable && s.Holds.Len() > 0:
			// Which kits are held is blinded: two that are held together are of different arms. So no kit may leave that could
			// be held, as long as any is.
			return nil, refuse.WrongState("enrollment_under_way", "kits that can be given out do not leave while a patient is being enrolled here").
				At("kits").Do("try again in a few minutes; kits that go to nobody any more may leave")
		case k.Status == KitIsReturned && !k.Reconciled:
			return nil, refuse.WrongState("kit_not_reconciled", "the doses of kit %s are not accounted for", n).At("kits").Do("reconcile it first")
		case fromDepot && !f.Supply.usable(c.Lot):
			return nil, refuse.Because("lot_not_released", "kit %s is of a lot that is not released", n).At("kits").Do("wait for the batch release")
		case fromDepot && c.Expiry.DaysSince(today(call)) <= keepDays(f.Study):
			return nil, refuse.Because("kit_expires_soon", "kit %s expires too soon to be sent", n).At("kits").Do("send another one")
		}
	}
	return []StockEvent{s.packed(OfStock{cmd.Study, cmd.From}, cmd.To, cmd.Kits, contents, cmd.Reason)}, nil
}

// packed returns a new shipment. Its kits are in the order of their numbers, which says nothing of what they hold.
func (s Stock) packed(at OfStock, to LocationID, kits []KitNumber, contents KitContents, reason string) ShipmentCreated {
	return ShipmentCreated{OfStock: at, Shipment: ShipmentID(fmt.Sprintf("%s-%04d", at.Location, s.LastShipment+1)), To: to,
		Kits: slices.Sorted(slices.Values(kits)), Reason: reason, Contents: blind.Of(contents)}
}

// asksFor says whether the rule asks for a shipment to a site that has so many kits of each arm. It looks at all arms
// together: if a shipment were made when one arm is below the trigger, its day would tell of how many kits since the last
// shipment, and of which one last, the arms are the same. As soon as so many kits are missing that all of them could be of
// one arm, and that arm below the trigger, a shipment is made.
func (r ResupplyRule) asksFor(arms []study.Arm, have map[domain.ArmID]int) bool {
	missing := 0
	for _, arm := range arms {
		missing += max(0, r.Target-have[domain.ArmID(arm.ID)])
	}
	return missing > r.Target-r.Trigger
}

// Resupply makes the shipment that a site's rule asks for now, and says so where the depot lacks kits for it. Kits on
// their way count as if they were there. It may be sent at any time: where the rule asks for nothing, it does nothing. The
// depot sends what expires first of what still has some life in it.
func Resupply(s Stock, f Facts, cmd PlanResupply, call domain.Call) ([]StockEvent, error) {
	rule, ruled := f.Supply.Rules[cmd.Site]
	if !ruled || rule.Depot != cmd.Depot || f.Study.Protocol == nil || !f.Study.SiteIsActive(cmd.Site) {
		return nil, nil
	}
	on, keep := today(call), keepDays(f.Study)
	// What is held at the site counts as there: most of it is free again after the draw.
	there, err := f.Other.usable(f.Supply, on, keep, nil)
	if err != nil {
		return nil, err
	}
	have := map[domain.ArmID]int{}
	for arm, kits := range there {
		have[arm] = len(kits)
	}
	to := LocationID(cmd.Site)
	for id, sent := range s.Sent.All() {
		if _, ended := f.Other.Arrived.Get(id); sent.To != to || ended || sent.Status == ShipmentIsCanceled {
			continue
		}
		for _, n := range sent.Kits {
			c, known := s.contents.Get(n)
			if !known {
				return nil, errSealed
			}
			if f.Supply.usable(c.Lot) {
				have[c.Arm]++
			}
		}
	}
	if !rule.asksFor(f.Study.Protocol.Arms, have) {
		return nil, nil
	}
	at := OfStock{cmd.Study, cmd.Depot}
	by, events, err := s.choosing(at, cmd.Seed, f, call)
	if err != nil {
		return nil, err
	}
	here, err := s.usableInOrder(f.Supply, by, nil) // nothing is held at a depot
	if err != nil {
		return nil, err
	}
	var kits []KitNumber
	missing := MissingKits{}
	for _, arm := range f.Study.Protocol.Arms {
		id := domain.ArmID(arm.ID)
		want := max(0, rule.Target-have[id])
		got := min(want, len(here[id]))
		kits = append(kits, here[id][:got]...)
		if got < want {
			missing[id] = want - got
		}
	}
	if len(kits) == 0 {
		events = nil // nothing was chosen, so that no seed is needed yet
	} else {
		contents, err := s.contentsOf(kits)
		if err != nil {
			return nil, err
		}
		shipment := s.packed(at, to, kits, contents, "resupply")
		shipment.Resupply, shipment.Choice = true, blind.Of(by.choice)
		events = append(events, shipment)
	}
	if len(missing) > 0 {
		events = append(events, ResupplyFellShort{OfStock: at, To: to, Missing: blind.Of(missing)})
	}
	return events, nil
}

// Cancel puts the kits of a shipment back that has not left. It refuses reason_required, value_too_long,
// shipment_not_found and shipment_status.
func Cancel(s Stock, cmd CancelShipment, _ domain.Call) ([]StockEvent, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	if _, err := s.sent(cmd.Shipment, ShipmentPacked, "cancelling it"); err != nil {
		return nil, err
	}
	return []StockEvent{ShipmentCancelled{OfStock: OfStock{cmd.Study, cmd.From}, Shipment: cmd.Shipment, Reason: cmd.Reason}}, nil
}

// Dispatch hands a shipment to the carrier. A kit whose lot was recalled, or that was set aside meanwhile, does not leave.
// It refuses shipment_not_found, shipment_status, malformed_date, captured_in_future, value_too_long, kit_status and
// lot_not_released.
func Dispatch(s Stock, f Facts, cmd DispatchShipment, call domain.Call) ([]StockEvent, error) {
	if err := domain.First(cmd.On.NotAfterToday("on", call.At), domain.OptionalText("carrier", cmd.Carrier, 200)); err != nil {
		return nil, err
	}
	sent, err := s.sent(cmd.Shipment, ShipmentPacked, "dispatching it")
	if err != nil {
		return nil, err
	}
	_, fromDepot := f.Supply.Depots[cmd.From]
	for _, n := range sent.Kits {
		k, _ := s.Kits.Get(n)
		if k.Status != KitPacked || k.Shipment != cmd.Shipment { // what expired in it may be on its way back with another
			return nil, refuse.WrongState("kit_status", "kit %s is %s, and not ready to leave with the shipment", n, k.Status).At("shipment").Do("cancel the shipment and make another")
		}
		c, known := s.contents.Get(n)
		if !known {
			return nil, errSealed
		}
		if fromDepot && !f.Supply.usable(c.Lot) {
			return nil, refuse.Because("lot_not_released", "kit %s is of a lot that is not released", n).At("shipment").Do("cancel the shipment and make another")
		}
	}
	return []StockEvent{ShipmentDispatched{OfStock: OfStock{cmd.Study, cmd.From}, Shipment: cmd.Shipment, To: sent.To, On: cmd.On, Carrier: cmd.Carrier}}, nil
}

func (s Stock) sent(id ShipmentID, want ShipmentStatus, what string) (Sent, error) {
	sent, found := s.Sent.Get(id)
	if !found {
		return sent, refuse.NotFound("shipment_not_found", "there is no shipment %.60q from here", string(id)).At("shipment").Do("check id and place")
	}
	if sent.Status != want {
		return sent, refuse.WrongState("shipment_status", "shipment %s is %s; %s is not possible", id, sent.Status, what).At("shipment").Do("check where it stands")
	}
	return sent, nil
}

// arriving returns a shipment that is on its way here.
func (s Stock) arriving(f Facts, id ShipmentID, here LocationID) (Sent, error) {
	sent, found := f.Other.Sent.Get(id)
	if !found || sent.To != here {
		return sent, refuse.NotFound("shipment_not_found", "no shipment %.60q is on its way to %s from there", string(id), here).At("shipment").Do("check id and places")
	}
	if status, ended := s.Arrived.Get(id); ended {
		return sent, refuse.WrongState("shipment_status", "shipment %s is %s already", id, status).At("shipment").Do("nothing is left to do")
	}
	if sent.Status != ShipmentOnItsWay {
		return sent, refuse.WrongState("shipment_status", "shipment %s is %s", id, sent.Status).At("shipment").Do("it has to be dispatched first")
	}
	return sent, nil
}

// Receive takes a shipment in. After an excursion, or where nobody knows, the whole shipment is quarantined until somebody
// releases it (R36; EU GDP 2013/C 343/01, 9.2); so are kits of a lot that was recalled on the way. What comes back to a
// depot goes to nobody any more. It refuses shipment_not_found, shipment_status, malformed_date, captured_in_future,
// received_before_dispatch, value_too_long, unknown_code, kit_not_in_shipment and kit_named_twice.
func Receive(s Stock, f Facts, cmd ReceiveShipment, call domain.Call) ([]StockEvent, error) {
	if err := domain.First(cmd.On.NotAfterToday("on", call.At), domain.OptionalText("note", cmd.Note, 500), cmd.Temperature.validate()); err != nil {
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
				return nil, refuse.Because("kit_not_in_shipment", "kit %.40s is not in shipment %s", n, cmd.Shipment).At(named.field).Do("check the number")
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
	e := ShipmentReceived{OfStock: OfStock{cmd.Study, cmd.Location}, Shipment: cmd.Shipment, From: cmd.From, On: cmd.On,
		Excursion: cmd.Temperature != TemperatureInRange, Note: cmd.Note, Contents: blind.Of(maps.Clone(contents))}
	_, toDepot := f.Supply.Depots[cmd.Location]
	for _, n := range sent.Kits {
		switch {
		case special[n] == "missing":
			e.Missing = append(e.Missing, n)
		case special[n] == "damaged":
			e.Damaged = append(e.Damaged, n)
		case toDepot:
			e.Returned = append(e.Returned, n)
		case e.Excursion || f.Supply.Lots[contents[n].Lot].Recalled:
			e.Quarantined = append(e.Quarantined, n)
		default:
			e.Available = append(e.Available, n)
		}
	}
	return []StockEvent{e}, nil
}

// RecordShipmentLoss ends a shipment that never arrived. It refuses reason_required, value_too_long, shipment_not_found and
// shipment_status.
func RecordShipmentLoss(s Stock, f Facts, cmd ReportShipmentLost, _ domain.Call) ([]StockEvent, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	sent, err := s.arriving(f, cmd.Shipment, cmd.Location)
	if err != nil {
		return nil, err
	}
	return []StockEvent{ShipmentLost{OfStock: OfStock{cmd.Study, cmd.Location}, Shipment: cmd.Shipment, From: cmd.From, Kits: sent.Kits, Reason: cmd.Reason}}, nil
}

func (t Temperature) validate() error {
	switch t {
	case TemperatureInRange, TemperatureExcursion, TemperatureUnknown:
		return nil
	}
	return refuse.Malformed("unknown_code", "%.40q is no finding of a temperature monitor", string(t)).At("temperature").Do("use in_range, excursion or unknown")
}

// mustHave refuses a place that the study does not have (code location_not_found).
func (f Facts) mustHave(l LocationID, field string, in domain.StudyID) error {
	_, depot := f.Supply.Depots[l]
	_, site := f.Study.Sites[domain.SiteID(l)]
	if !depot && !site {
		return refuse.NotFound("location_not_found", "study %s has no depot or site %.40s", in, l).At(field).Do("check the id")
	}
	return nil
}
