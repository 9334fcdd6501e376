package supply_test

import (
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// Whoever has own patients' kits replaced again and again would find out of which arm the site has none left, and who else is of it.
func TestKitsAreNotReplacedAgainAndAgain(t *testing.T) {
	allow := decision(supply.Allow, supply.AllowReplacements{AtLocation: atLocation("A"), Reasoned: domain.Because("r")})
	spoil := map[string]func(supply.KitNumber) stockDecision{
		"lost": func(n supply.KitNumber) stockDecision {
			return decision(supply.RecordKitLoss, supply.ReportKitLost{AtLocation: atLocation("A"), Kit: n, Reasoned: domain.Because("r")})
		},
		"quarantined": func(n supply.KitNumber) stockDecision {
			return decision(supply.Quarantine, supply.QuarantineKits{AtLocation: atLocation("A"), Kits: []supply.KitNumber{n},
				Cause: supply.CauseOther, Reasoned: domain.Because("r")})
		},
		"put back, and lost": func(n supply.KitNumber) stockDecision {
			return func(s supply.Stock) ([]supply.StockEvent, error) {
				back := supply.KitPutBack{OfStock: site, Patient: anna, Kit: n, Reason: "r"}
				lost, err := supply.RecordKitLoss(supply.StockDecider.Evolve(s, back), supply.ReportKitLost{AtLocation: atLocation("A"), Kit: n,
					Reasoned: domain.Because("r")}, call)
				return append([]supply.StockEvent{back}, lost...), err
			}
		},
	}
	again := func(events []supply.StockEvent) []supply.KitNumber {
		switch e := events[len(events)-1].(type) {
		case supply.KitLost:
			return e.Again
		case supply.KitsQuarantined:
			return e.Again
		}
		return nil
	}
	for name, spoil := range spoil {
		t.Run(name, func(t *testing.T) {
			numbers, of := kits("N1", "N2", "N3", "N4", "N5", "N6", "N7"), supply.KitContents{}
			for _, n := range numbers {
				of[n] = supply.Content{Arm: x, Lot: "L1", Expiry: "2027-01-01", Units: 10}
			}
			s := scenario.For(t, supply.StockDecider).Given(supply.ShipmentReceived{OfStock: site, Shipment: "D-0001", From: "D",
				Available: numbers, Contents: blind.Of(of)}).Strict()
			s.When(allow).ThenRefused("no_replacement_waits")
			next := func() supply.KitNumber {
				t.Helper()
				events := decided(t, s, allocate(inArm(x), anna, ""))
				s = s.Given(events...)
				last, _ := events[len(events)-1].(supply.KitAllocated)
				return last.Kit
			}
			var gone []supply.KitNumber
			for range supply.MaxSpoilt + 1 {
				kit := next()
				if kit == "" {
					t.Fatalf("after %v, the patient waits", gone)
				}
				events := decided(t, s, spoil(kit))
				s, gone = s.Given(events...), append(gone, kit)
				if named := again(events); len(gone) > 1 && !slices.Equal(named, gone) || len(gone) == 1 && len(named) > 0 {
					t.Errorf("of %v, the event names %v", gone, named)
				}
			}
			s.When(allocate(inArm(x), anna, "")).Then(supply.AllocationFailed{OfStock: site, Patient: anna, Waits: true,
				Code: "replacement_not_allowed", Reason: "kits were lost before they were given out again and again; supply decides about another one"})
			s.When(allocate(inArm(x), anna, "unscheduled-1")).Then(supply.AllocationFailed{OfStock: site, Patient: anna, Waits: true,
				Visit: "unscheduled-1", Code: "replacement_not_allowed",
				Reason: "kits were lost before they were given out again and again; supply decides about another one"})
			if other := decided(t, s, allocate(inArm(x), "PAIN1.S-9", "")); len(other) != 1 || other[0].(supply.KitAllocated).Kit == "" {
				t.Errorf("another patient gets %v", other)
			}
			waits := s
			if s = waits.Given(supply.ShipmentReceived{OfStock: site, Shipment: "B-0001", From: "B",
				Contents: blind.Of(supply.KitContents{})}); next() != "" {
				t.Error("kits of another site set the bound back")
			}
			if s = waits.When(allow).Then(supply.ReplacementsAllowed{OfStock: site, Kits: gone, Reason: "r"}); next() == "" {
				t.Error("the patient waits although supply allows it")
			}
			if s = waits.Given(supply.ShipmentReceived{OfStock: site, Shipment: "D-0009", From: "D",
				Contents: blind.Of(supply.KitContents{})}); next() == "" {
				t.Error("the patient waits although kits have arrived")
			}
			if n := len(decided(t, waits, allocate(facts(func(f *supply.Facts) {
				f.Study, f.Arm = theStudy(func(t *study.Treatment) { t.Randomised = false }), x
			}), anna, ""))); n == 0 {
				t.Error("in a study without a draw, the patient gets nothing")
			}
		})
	}
}

// Who empties the shelf of a site by quarantining what is free would see who gets the rest. Supply is told of it, and the patient of an
// allocated kit that is spoilt besides waits. Depots, and sites without patients, have nothing to show.
func TestSupplyIsToldOfKitsThatAreTakenFromTheShelf(t *testing.T) {
	kits := []supply.KitNumber{"K1", "K2", "K5", "K6", "K7"}
	s := strictStockAt(t, site, kits...)
	quarantine := func(some ...supply.KitNumber) stockDecision {
		return decision(supply.Quarantine, supply.QuarantineKits{AtLocation: atLocation("A"), Kits: some, Cause: supply.CauseOther,
			Reasoned: domain.Because("r")})
	}
	if e := decided(t, s, quarantine("K2", "K5", "K6"))[0].(supply.KitsQuarantined); e.Again != nil {
		t.Errorf("without patients, the event names %v", e.Again)
	}
	s = s.Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1"})
	free := decided(t, s, quarantine("K2", "K5", "K6"))
	if e := free[0].(supply.KitsQuarantined); !slices.Equal(e.Again, []supply.KitNumber{"K2", "K5", "K6"}) {
		t.Errorf("the event names %v", e.Again)
	}
	s = s.Given(free...)
	released := s.Given(supply.KitsReleased{OfStock: site, Kits: []supply.KitNumber{"K2", "K5", "K6"}})
	for name, c := range map[string]struct {
		at    stock
		waits bool
	}{"in quarantine": {s, true}, "released": {released, false}} {
		got := decided(t, c.at.Given(decided(t, c.at, quarantine("K1"))...), allocate(inArm(x), anna, ""))
		failed, is := got[len(got)-1].(supply.AllocationFailed)
		if waits := is && failed.Code == supply.ReplacementNotAllowed; waits != c.waits {
			t.Errorf("%s: the patient gets %v", name, got)
		}
	}
}

// A kit that is lost, found, released and lost again counts once, also after supply has looked at the first loss.
func TestAKitThatIsLostTwiceCountsOnce(t *testing.T) {
	lost, found := supply.KitLost{OfStock: site, Kit: "K1"}, supply.KitFound{OfStock: site, Kit: "K1"}
	released := supply.KitsReleased{OfStock: site, Kits: []supply.KitNumber{"K1"}}
	losing := func(n supply.KitNumber) stockDecision {
		return decision(supply.RecordKitLoss, supply.ReportKitLost{AtLocation: atLocation("A"), Kit: n, Reasoned: domain.Because("r")})
	}
	s := strictStockAt(t, site, "K1", "K2").Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1"},
		supply.KitAllocated{OfStock: site, Patient: "PAIN1.S-2", Kit: "K2"}, lost, found, released)
	if e := decided(t, s, losing("K1"))[0].(supply.KitLost); e.Again != nil {
		t.Errorf("one kit is named as %v", e.Again)
	}
	s = s.Given(supply.ReplacementsAllowed{OfStock: site, Kits: []supply.KitNumber{"K1"}, Reason: "r"}, lost)
	if e := decided(t, s, losing("K2"))[0].(supply.KitLost); !slices.Equal(e.Again, []supply.KitNumber{"K1", "K2"}) {
		t.Errorf("the event names %v", e.Again)
	}
}
