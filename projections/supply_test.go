package projections_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/supply"
	supplyprojections "casebook/projections/supply"
	"casebook/readmodels"
	supplyviews "casebook/readmodels/supply"

	"github.com/google/go-cmp/cmp"
)

const secretLot, secretArm, secretDay = "LOT-77", "verum", domain.Date("2031-07-09")

// delivered registers kits with what they hold, and takes them in.
func delivered(kits ...supply.KitNumber) []any {
	contents := supply.KitContents{}
	for _, n := range kits {
		contents[n] = supply.Content{Arm: secretArm, Lot: secretLot, Expiry: secretDay, Units: 4711}
	}
	return []any{
		supply.KitsRegistered{Study: "S", Depot: "D", Delivery: 1, Kits: kits, SHA256: blind.Of("feed"), Contents: blind.Of(contents)},
		supply.DeliveryTakenIn{OfStock: depot, Delivery: 1, Kits: kits, Contents: blind.Of(contents)},
	}
}

func shipped(id supply.ShipmentID, kits ...supply.KitNumber) supply.ShipmentCreated {
	return supply.ShipmentCreated{OfStock: depot, Shipment: id, To: "01", Kits: kits, Reason: "initial supply",
		Contents: blind.Of(supply.KitContents{})}
}

// kitAfter is the document of a kit after a story.
func kitAfter(t *testing.T, number supply.KitNumber, events ...any) *supplyviews.Kit {
	t.Helper()
	return fold(t, supplyprojections.KitInventory, newStory().tell(events...).events)[supplyviews.KitKey("S", number)].(*supplyviews.Kit)
}

// TestAKitIsFollowedFromTheDepotToItsPatientAndBack looks at the kit K-1 after each step of its life.
func TestAKitIsFollowedFromTheDepotToItsPatientAndBack(t *testing.T) {
	site := at("01")
	story := delivered("K-1", "K-2", "K-3")
	for i, step := range []struct {
		event    any
		status   supply.KitStatus
		location supply.LocationID
		shipment supply.ShipmentID
		custody  supplyviews.Custody
	}{
		{shipped("D-0001", "K-1", "K-2"), supply.KitPacked, "D", "D-0001",
			supplyviews.Custody{What: "ShipmentCreated", At: "D", Shipment: "D-0001", Note: "initial supply"}},
		{supply.ShipmentCancelled{OfStock: depot, Shipment: "D-0001", Reason: "too early"}, supply.KitAvailable, "D", "",
			supplyviews.Custody{What: "ShipmentCancelled", At: "D", Shipment: "D-0001", Note: "too early"}},
		{shipped("D-0002", "K-1"), supply.KitPacked, "D", "D-0002",
			supplyviews.Custody{What: "ShipmentCreated", At: "D", Shipment: "D-0002", Note: "initial supply"}},
		{supply.ShipmentDispatched{OfStock: depot, Shipment: "D-0002", To: "01", On: "2026-02-01", Carrier: "van"}, supply.KitInTransit,
			"D", "D-0002",
			supplyviews.Custody{What: "ShipmentDispatched", At: "D", On: "2026-02-01", Shipment: "D-0002", Note: "van"}},
		{supply.ShipmentReceived{OfStock: site, Shipment: "D-0002", From: "D", On: "2026-02-02", Quarantined: []supply.KitNumber{"K-1"},
			Excursion: true, Note: "warm"}, supply.KitQuarantined, "01", "",
			supplyviews.Custody{What: "ShipmentReceived", At: "01", On: "2026-02-02", Shipment: "D-0002", Note: "warm"}},
		{supply.KitsReleased{OfStock: site, Kits: []supply.KitNumber{"K-1"}, Reason: "stable"}, supply.KitAvailable, "01", "",
			supplyviews.Custody{What: "KitsReleased", At: "01", Note: "stable"}},
		{supply.KitAllocated{OfStock: site, Patient: "S.1", Kit: "K-1", Visit: "week-4"}, supply.KitIsAllocated, "01", "",
			supplyviews.Custody{What: "KitAllocated", At: "01"}},
		{supply.KitDispensed{OfStock: site, Patient: "S.1", Kit: "K-1", Visit: "week-4", On: "2026-02-03"}, supply.KitIsDispensed, "01", "",
			supplyviews.Custody{What: "KitDispensed", At: "01", On: "2026-02-03"}},
		{supply.KitReturned{OfStock: site, Patient: "S.1", Kit: "K-1", On: "2026-02-04"}, supply.KitIsReturned, "01", "",
			supplyviews.Custody{What: "KitReturned", At: "01", On: "2026-02-04"}},
		{supply.KitReconciled{OfStock: site, Patient: "S.1", Kit: "K-1", Returned: 3, Used: 25, Lost: 1, Note: "one dropped"},
			supply.KitIsReturned, "01", "", supplyviews.Custody{What: "KitReconciled", At: "01"}},
		{supply.ShipmentReceived{OfStock: depot, Shipment: "01-0001", From: "01", On: "2026-02-05", Returned: []supply.KitNumber{"K-1"}},
			supply.KitSentBack, "D", "",
			supplyviews.Custody{What: "ShipmentReceived", At: "D", On: "2026-02-05", Shipment: "01-0001"}},
		{supply.KitsDestroyed{OfStock: depot, Kits: []supply.KitNumber{"K-1"}, On: "2026-02-06", Certificate: "C"}, supply.KitDestroyed,
			"D", "", supplyviews.Custody{What: "KitsDestroyed", At: "D", On: "2026-02-06", Note: "C"}},
	} {
		story = append(story, step.event)
		k := kitAfter(t, "K-1", story...)
		if k.Status != step.status || k.Location != step.location || k.Shipment != step.shipment ||
			k.Where != (supplyviews.LocationStatus{Location: step.location, Status: step.status}) {
			t.Errorf("after %T it is %+v", step.event, k)
		}
		want := step.custody
		want.By, want.RecordedAt, want.Patient = "crc", recordedAt, k.Patient
		if diff := cmp.Diff(want, k.Custody[len(k.Custody)-1]); diff != "" || len(k.Custody) != i+3 {
			t.Errorf("after %T the custody has %d entries: %s", step.event, len(k.Custody), diff)
		}
	}
	k := kitAfter(t, "K-1", story...)
	if k.Patient != "S.1" || k.Visit != "week-4" || *k.Given != (supplyviews.Given{Patient: "S.1", Site: "01"}) ||
		k.Dispensed != 1 || k.CameBack != 1 || k.Reconciled != 1 || k.Returned != 3 || k.Used != 25 || k.Lost != 1 {
		t.Errorf("it is accounted for as %+v", k)
	}
	if other := kitAfter(t, "K-2", story...); other.Status != supply.KitAvailable || other.Location != "D" || len(other.Custody) != 4 {
		t.Errorf("the kit of the cancelled shipment is %+v", other)
	}
	if third := kitAfter(t, "K-3", story...); third.Status != supply.KitAvailable || len(third.Custody) != 2 {
		t.Errorf("a kit that nothing happened to is %+v", third)
	}
}

// TestAQuarantineEndsWhereTheKitStoodBefore: a released kit has the status that it had before the quarantine. If its
// shipment was cancelled meanwhile, the kit is available.
func TestAQuarantineEndsWhereTheKitStoodBefore(t *testing.T) {
	aside := supply.KitsQuarantined{OfStock: depot, Kits: []supply.KitNumber{"K-1"}, Cause: supply.CauseOther, Reason: "dented"}
	back := supply.KitsReleased{OfStock: depot, Kits: []supply.KitNumber{"K-1"}, Reason: "only the box"}
	cancelled := supply.ShipmentCancelled{OfStock: depot, Shipment: "D-0001", Reason: "r"}
	for name, c := range map[string]struct {
		events []any
		want   supply.KitStatus
	}{
		"available": {[]any{aside, back}, supply.KitAvailable},
		"packed":    {[]any{shipped("D-0001", "K-1"), aside, back}, supply.KitPacked},
		"cancelled": {[]any{shipped("D-0001", "K-1"), aside, cancelled, back}, supply.KitAvailable},
		"allocated": {[]any{supply.KitAllocated{OfStock: depot, Patient: "S.1", Kit: "K-1"}, aside, back}, supply.KitIsAllocated},
	} {
		if k := kitAfter(t, "K-1", append(delivered("K-1"), c.events...)...); k.Status != c.want {
			t.Errorf("%s: it is %s", name, k.Status)
		}
	}
}

// TestACancelledShipmentLeavesKitsAloneThatWereSentWithAnother: a kit expires in one shipment and is packed into another
// one. Then the first shipment is cancelled.
func TestACancelledShipmentLeavesKitsAloneThatWereSentWithAnother(t *testing.T) {
	k := kitAfter(t, "K-1", append(delivered("K-1"), shipped("D-0001", "K-1"),
		supply.KitsExpired{OfStock: depot, Kits: []supply.KitNumber{"K-1"}},
		shipped("D-0002", "K-1"), supply.ShipmentCancelled{OfStock: depot, Shipment: "D-0001", Reason: "r"})...)
	if k.Status != supply.KitPacked || k.Shipment != "D-0002" {
		t.Errorf("it is shown as %s, with shipment %q", k.Status, k.Shipment)
	}
}

func TestHowKitsEnd(t *testing.T) {
	all := []supply.KitNumber{"K-1"}
	for _, c := range []struct {
		event any
		want  supply.KitStatus
	}{
		{supply.ShipmentReceived{OfStock: at("01"), Shipment: "D-0001", Damaged: all}, supply.KitDamaged},
		{supply.ShipmentReceived{OfStock: at("01"), Shipment: "D-0001", Missing: all}, supply.KitLostInTransit},
		{supply.ShipmentLost{OfStock: at("01"), Shipment: "D-0001", Kits: all, Reason: "r"}, supply.KitLostInTransit},
		{supply.KitsExpired{OfStock: depot, Kits: all, Through: secretDay}, supply.KitExpired},
		{supply.KitLost{OfStock: depot, Kit: "K-1", Reason: "r"}, supply.KitLostAtSite},
		{supply.KitsSetAside{OfStock: depot, Patient: "S.1", Kits: all, Reason: "r"}, supply.KitUnavailable},
	} {
		if k := kitAfter(t, "K-1", append(delivered("K-1"), c.event)...); k.Status != c.want || k.Shipment != "" {
			t.Errorf("after %+v it is %+v", c.event, k)
		}
	}
}

func TestAKitThatIsReplacedSaysByWhich(t *testing.T) {
	story := append(delivered("K-1", "K-2"), supply.KitAllocated{OfStock: depot, Patient: "S.1", Kit: "K-1"},
		supply.KitsQuarantined{OfStock: depot, Kits: []supply.KitNumber{"K-1"}, Cause: supply.CauseOther, Reason: "r"},
		supply.KitAllocated{OfStock: depot, Patient: "S.1", Kit: "K-2", Replaces: "K-1"})
	old, next := kitAfter(t, "K-1", story...), kitAfter(t, "K-2", story...)
	if !old.Replaced || old.Status != supply.KitQuarantined || old.Custody[len(old.Custody)-1].Note != "replaced by kit K-2" {
		t.Errorf("the old kit is %+v", old)
	}
	if next.Replaced || next.Status != supply.KitIsAllocated || next.Patient != "S.1" {
		t.Errorf("the new kit is %+v", next)
	}
}

// TestR27_NoViewTellsWhatAKitHolds folds events with open blinded values, which a projection never receives, and searches
// every document for these values, as it is stored and as it is answered.
func TestR27_NoViewTellsWhatAKitHolds(t *testing.T) {
	events := append(delivered("K-1", "K-2"),
		supply.BatchReleased{Study: "S", Lot: secretLot, Certificate: "C"},
		supply.StockHeld{OfStock: depot, Patient: "S.1", Kits: blind.Of(supply.HeldKits{secretArm: "K-1"})},
		shipped("D-0001", "K-2"),
		supply.LotRecalled{Study: "S", Lot: secretLot, Reason: "lot " + secretLot, Locations: []supply.LocationID{"D"}},
		supply.KitsQuarantined{OfStock: depot, Kits: []supply.KitNumber{"K-1"}, Cause: supply.CauseRecall, Reason: "lot " + secretLot,
			Lot: secretLot},
		supply.KitsExpired{OfStock: depot, Kits: []supply.KitNumber{"K-2"}, Through: secretDay},
		supply.ResupplyFellShort{OfStock: depot, To: "01", Missing: blind.Of(supply.MissingKits{secretArm: 4711})})
	s := newStory().tell(events...)
	for _, p := range contexts.Projections() {
		for key, doc := range fold(t, p, s.events) {
			answered, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := readmodels.Encode(doc)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{secretLot, secretArm, string(secretDay), "4711", "feed"} {
				if strings.Contains(string(answered), secret) || strings.Contains(raw.String(), secret) {
					t.Errorf("%s %s tells %s: %s", p.View.Name, key, secret, raw)
				}
			}
		}
	}
	held := newStory().tell(append(delivered("K-1"), events[3])...)
	if k := fold(t, supplyprojections.KitInventory, held.events)["S/K-1"].(*supplyviews.Kit); k.Status != supply.KitAvailable ||
		k.Patient != "" {
		t.Errorf("a held kit is shown as %+v", k)
	}
}

func TestShipments(t *testing.T) {
	way := []any{shipped("D-0001", "K-1", "K-2"), supply.ShipmentDispatched{OfStock: depot, Shipment: "D-0001", To: "01", On: "2026-02-01",
		Carrier: "van"}}
	begun := supplyviews.Shipment{Shipment: "D-0001", Study: "S", From: "D", To: "01", Kits: []supply.KitNumber{"K-1", "K-2"},
		Status: supply.ShipmentPacked,
		Reason: "initial supply", CreatedAt: recordedAt, CreatedBy: "crc"}
	on := begun
	on.Status, on.DispatchedOn, on.Carrier = supply.ShipmentOnItsWay, "2026-02-01", "van"
	received, lost, cancelled := on, on, begun
	received.End(supply.ShipmentArrived, "warm", "crc", recordedAt)
	received.ReceivedOn, received.Excursion, received.Damaged, received.Missing, received.Quarantined = "2026-02-02", true, 1, 1, 0
	lost.End(supply.ShipmentIsLost, "gone", "crc", recordedAt)
	cancelled.End(supply.ShipmentIsCancelled, "too early", "crc", recordedAt)
	for _, c := range []struct {
		events []any
		want   supplyviews.Shipment
	}{
		{way[:1], begun}, {way, on},
		{append(way[:2:2], supply.ShipmentReceived{OfStock: at("01"), Shipment: "D-0001", From: "D", On: "2026-02-02",
			Damaged: []supply.KitNumber{"K-1"},
			Missing: []supply.KitNumber{"K-2"}, Excursion: true, Note: "warm"}), received},
		{append(way[:2:2], supply.ShipmentLost{OfStock: at("01"), Shipment: "D-0001", From: "D", Kits: []supply.KitNumber{"K-1", "K-2"},
			Reason: "gone"}), lost},
		{append(way[:1:1], supply.ShipmentCancelled{OfStock: depot, Shipment: "D-0001", Reason: "too early"}), cancelled},
	} {
		s := newStory().tell(c.events...)
		c.want.Header = readmodels.Header{ID: "S/D-0001", Position: int64(s.position)}
		if diff := cmp.Diff(map[string]readmodels.Document{"S/D-0001": &c.want},
			fold(t, supplyprojections.Shipments, s.events)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestKitsFollowTheirShipmentHoweverTheLogIsCut stops and starts the engine within the way of shipments, and compares
// with an engine that folds all of it at once.
func TestKitsFollowTheirShipmentHoweverTheLogIsCut(t *testing.T) {
	w := newWorld(t)
	place := supply.OfStock{Study: w.study, Location: "D"}
	record := func(events ...any) { w.record("stock-"+string(w.study)+".D", "", events...) }
	var kits []supply.KitNumber
	for n := range 8 {
		kits = append(kits, supply.KitNumber(fmt.Sprint("K-", n)))
	}
	sealed := blind.Of(supply.KitContents{})
	steps := []func(){
		func() {
			w.record("supply-"+string(w.study), "", supply.KitsRegistered{Study: w.study, Depot: "D", Delivery: 1, Kits: kits,
				SHA256: blind.Of(""), Contents: sealed})
		},
		func() {
			record(supply.DeliveryTakenIn{OfStock: place, Delivery: 1, Kits: kits, Contents: sealed})
			for n := range 4 {
				record(supply.ShipmentCreated{OfStock: place, Shipment: supply.ShipmentID(fmt.Sprint("D-", n)), To: "01",
					Kits: kits[2*n : 2*n+2], Reason: "r", Contents: sealed})
			}
			record(supply.ShipmentDispatched{OfStock: place, Shipment: "D-0", To: "01", On: "2026-02-01"}) // in one batch with its making
		},
		func() {
			record(supply.ShipmentDispatched{OfStock: place, Shipment: "D-1", To: "01", On: "2026-02-01"})
			record(supply.ShipmentCancelled{OfStock: place, Shipment: "D-2", Reason: "r"})
		},
		func() {
			record(supply.ShipmentCreated{OfStock: place, Shipment: "D-4", To: "01", Kits: kits[4:5], Reason: "again", Contents: sealed})
			record(supply.ShipmentDispatched{OfStock: place, Shipment: "D-4", To: "01", On: "2026-02-02"},
				supply.ShipmentDispatched{OfStock: place, Shipment: "D-3", To: "01", On: "2026-02-02"})
		},
	}
	for _, step := range steps {
		step()
		stop := w.run()
		for _, v := range contexts.Views() {
			w.wait(v)
		}
		stop()
	}
	got, err := supplyviews.ListKits(t.Context(), readmodels.Request{Store: w.store}, supplyviews.KitsQuery{Study: w.study})
	if err != nil {
		t.Fatal(err)
	}
	var standing []string
	for _, k := range got.Items {
		standing = append(standing, fmt.Sprint(k.Kit, " ", k.Status, " ", k.Shipment))
	}
	want := []string{"K-0 in_transit D-0", "K-1 in_transit D-0", "K-2 in_transit D-1", "K-3 in_transit D-1", "K-4 in_transit D-4",
		"K-5 available ",
		"K-6 in_transit D-3", "K-7 in_transit D-3"}
	if diff := cmp.Diff(want, standing); diff != "" {
		t.Error(diff)
	}
	w.sameAsFresh()
}
