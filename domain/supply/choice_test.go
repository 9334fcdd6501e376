package supply_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// equalKits returns the numbers of kits that are equal for the rules, of both arms, and their contents.
func equalKits(perArm int) ([]supply.KitNumber, supply.Contents) {
	var numbers []supply.KitNumber
	of := supply.KitContents{}
	for i := range 2 * perArm {
		n := supply.KitNumber(fmt.Sprintf("E%03d", i))
		numbers = append(numbers, n)
		of[n] = supply.Content{Arm: []domain.ArmID{x, y}[i%2], Lot: "L1", Expiry: "2027-01-01", Units: 10}
	}
	return numbers, blind.Of(of)
}

// withEqualKits is a stream of the site with equal kits, from before there were seeds.
func withEqualKits(perArm int) []supply.StockEvent {
	numbers, of := equalKits(perArm)
	return []supply.StockEvent{supply.ShipmentReceived{OfStock: site, Shipment: "Z-0001", From: "Z", Available: numbers, Contents: of}}
}

// grown returns the stream with what a decision adds.
func grown(t *testing.T, events []supply.StockEvent, decide stockDecision) []supply.StockEvent {
	t.Helper()
	more, err := decide(supply.StockDecider.Fold(events...))
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.Clip(events), more...)
}

// holdWith and allocateWith decide with a seed of their own, and keep what says how kits were chosen.
func holdWith(p domain.PatientID, seed string) stockDecision {
	return func(s supply.Stock) ([]supply.StockEvent, error) {
		return supply.Hold(s, facts(nil), supply.HoldStock{Study: pain, Site: "A", OfPatient: domain.ForPatient(p), Seed: seed}, call)
	}
}

func allocateWith(p domain.PatientID, visit, seed string) stockDecision {
	return func(s supply.Stock) ([]supply.StockEvent, error) {
		return supply.Allocate(s, inArm(x), supply.AllocateKit{Study: pain, Site: "A", OfPatient: domain.ForPatient(p), Visit: visit,
			Seed: seed}, call)
	}
}

// supplyEvents are those of theSupply.
var supplyEvents = []supply.Event{
	supply.DepotOpened{Study: pain, Depot: "D"}, supply.BatchReleased{Study: pain, Lot: "L1"}, supply.BatchReleased{Study: pain, Lot: "L2"},
}

// The first choice records the location's seed, also in a stream from before there were seeds; later ones do not, whatever
// seed comes with the command.
func TestTheFirstChoiceRecordsTheSeed(t *testing.T) {
	one, two := strings.Repeat("01", 32), strings.Repeat("02", 32)
	past := withEqualKits(10)
	first := grown(t, past, holdWith(anna, one))
	seed, ok := first[len(past)].(supply.StockSeedRecorded)
	if text, _ := seed.Seed.Open(); !ok || text != one || len(first) != len(past)+2 {
		t.Fatalf("the first choice records %v", first[len(past):])
	}
	again := grown(t, past, holdWith(anna, one))
	if fmt.Sprint(kitsOfHold(t, first[len(past)+1])) != fmt.Sprint(kitsOfHold(t, again[len(past)+1])) {
		t.Error("the same seed leads to another choice")
	}
	second := grown(t, first, holdWith(ben, two))
	if len(second) != len(first)+1 {
		t.Errorf("the second choice records %v", second[len(first):])
	}
	if other := grown(t, first, holdWith(ben, one)); fmt.Sprint(kitsOfHold(t, second[len(first)])) != fmt.Sprint(kitsOfHold(t,
		other[len(first)])) {
		t.Error("the choice follows from the command's seed and not from the recorded one")
	}
	if _, err := holdWith(anna, "")(supply.StockDecider.Fold(past...)); err == nil {
		t.Error("a choice without a seed was made")
	}
	// A hold that is answered again is recorded as it was.
	repeated := grown(t, second, holdWith(anna, two))
	if len(repeated) != len(second)+1 || fmt.Sprint(kitsOfHold(t, repeated[len(second)])) != fmt.Sprint(kitsOfHold(t, first[len(past)+1])) {
		t.Errorf("the hold is answered again with %v", repeated[len(second):])
	}
	if err := supply.ReplayStock(supplyEvents, grown(t, repeated, allocateWith(ben, "", two))); err != nil {
		t.Error(err)
	}
}

func kitsOfHold(t *testing.T, e supply.StockEvent) supply.HeldKits {
	t.Helper()
	held, ok := e.(supply.StockHeld)
	kits, open := held.Kits.Open()
	if !ok || !open || len(kits) != 2 {
		t.Fatalf("%T holds %v", e, kits)
	}
	return kits
}

// Every one of the equal kits is chosen about as often, and not always the same one by the same location.
func TestEqualKitsAreEquallyLikely(t *testing.T) {
	const perArm, locations = 5, 500
	chosen := map[supply.KitNumber]int{}
	for i := range locations {
		events := grown(t, withEqualKits(perArm), allocateWith(anna, "", fmt.Sprintf("%064x", i+1)))
		chosen[events[len(events)-1].(supply.KitAllocated).Kit]++
	}
	chiSquared := 0.0
	for i := range perArm {
		off := float64(chosen[supply.KitNumber(fmt.Sprintf("E%03d", 2*i))]) - locations/perArm
		chiSquared += off * off / (locations / perArm)
	}
	if len(chosen) != perArm || chiSquared > 23.5 { // chance exceeds 23.5 once in ten thousand times, with 4 degrees of freedom
		t.Errorf("the kits were chosen so often: %v", chosen)
	}
}

// A resupply takes equal kits by chance as well. Its list is in the order of the numbers, not by what the kits hold.
func TestResupplyChoosesByChance(t *testing.T) {
	numbers, of := equalKits(20)
	rule := supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 5, OverdueDays: 5}
	f := facts(func(f *supply.Facts) { f.Supply = theSupply(supply.ResupplyRuleSet{Study: pain, Rule: rule}) })
	past := []supply.StockEvent{supply.DeliveryTakenIn{OfStock: depot, Delivery: 1, Kits: numbers, Contents: of}}
	seen := map[string]bool{}
	for i := range 20 {
		events := grown(t, past, func(s supply.Stock) ([]supply.StockEvent, error) {
			return supply.Resupply(s, f, supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: fmt.Sprintf("%064x", i+1)}, call)
		})
		shipment := events[len(events)-1].(supply.ShipmentCreated)
		if len(shipment.Kits) != 10 || !slices.IsSorted(shipment.Kits) {
			t.Fatalf("the shipment is of %v", shipment.Kits)
		}
		seen[fmt.Sprint(shipment.Kits)] = true
		if err := supply.ReplayStock(append(slices.Clip(supplyEvents), supply.ResupplyRuleSet{Study: pain, Rule: rule}), events); err != nil {
			t.Fatal(err)
		}
		shipment.Kits = slices.Clone(shipment.Kits)
		for _, n := range numbers {
			if !slices.Contains(shipment.Kits, n) {
				shipment.Kits[0] = n
				break
			}
		}
		of, _ := shipment.Contents.Open()
		of[shipment.Kits[0]] = supply.Content{Arm: of[events[len(events)-1].(supply.ShipmentCreated).Kits[0]].Arm, Lot: "L1",
			Expiry: "2027-01-01", Units: 10}
		events[len(events)-1] = shipment
		if supply.ReplayStock(supplyEvents, events) == nil {
			t.Fatal("another kit was sent, and the replay does not notice")
		}
	}
	if len(seen) < 18 {
		t.Errorf("20 depots made only %d different shipments", len(seen))
	}
}

// ReplayStock notices every change of what follows from the seed.
func TestReplayNoticesOtherChoices(t *testing.T) {
	seed := strings.Repeat("07", 32)
	events := grown(t, withEqualKits(10), holdWith(anna, seed))
	events = grown(t, events, allocateWith(anna, "", seed))
	events = grown(t, events, allocateWith(anna, "week-4", seed))
	if err := supply.ReplayStock(supplyEvents, events); err != nil {
		t.Fatal(err)
	}
	const seeding, holding, allocating, visiting = 1, 2, 3, 4
	for what, change := range map[string]func([]supply.StockEvent){
		"another seed": func(all []supply.StockEvent) {
			e := all[seeding].(supply.StockSeedRecorded)
			e.Seed = blind.Of(strings.Repeat("08", 32))
			all[seeding] = e
		},
		"a second seed": func(all []supply.StockEvent) { all[holding] = all[seeding] },
		"another held kit": func(all []supply.StockEvent) {
			e := all[holding].(supply.StockHeld)
			kits := kitsOfHold(t, e)
			e.Kits = blind.Of(supply.HeldKits{x: otherThan(kits[x], 0), y: kits[y]})
			all[holding] = e
		},
		"not the held kit": func(all []supply.StockEvent) {
			e := all[allocating].(supply.KitAllocated)
			e.Kit = otherThan(e.Kit, 0)
			all[allocating] = e
		},
		"another kit of a visit": func(all []supply.StockEvent) {
			e := all[visiting].(supply.KitAllocated)
			e.Kit = otherThan(e.Kit, 4)
			all[visiting] = e
		},
		"another number": func(all []supply.StockEvent) {
			e := all[visiting].(supply.KitAllocated)
			choice, _ := e.Choice.Open()
			choice.Number++
			e.Choice = blind.Of(choice)
			all[visiting] = e
		},
		"no record of the choice": func(all []supply.StockEvent) {
			e := all[visiting].(supply.KitAllocated)
			e.Choice = blind.Value[supply.Choice]{}
			all[visiting] = e
		},
		"a supply that nobody knew": func(all []supply.StockEvent) {
			e := all[visiting].(supply.KitAllocated)
			choice, _ := e.Choice.Open()
			choice.Supply = 99
			e.Choice = blind.Of(choice)
			all[visiting] = e
		},
		"a sealed seed": func(all []supply.StockEvent) {
			e := all[seeding].(supply.StockSeedRecorded)
			e.Seed = blind.Value[string]{}
			all[seeding] = e
		},
	} {
		changed := slices.Clone(events)
		change(changed)
		if supply.ReplayStock(supplyEvents, changed) == nil {
			t.Errorf("%s: the replay does not notice", what)
		}
	}
}

// otherThan returns a kit of the same arm, x.
func otherThan(n supply.KitNumber, from int) supply.KitNumber {
	for i := from; ; i += 2 {
		if other := supply.KitNumber(fmt.Sprintf("E%03d", i)); other != n {
			return other
		}
	}
}

// TestR27_SealedSizesTellNoArm seals contents with arms of the shortest and the longest name, in ASCII and in other letters,
// and with lots in other letters. Longer ones are refused when the protocol is published and when the kits are registered.
func TestR27_SealedSizesTellNoArm(t *testing.T) {
	for _, letter := range []string{"a", "é", "試", "💊", "<"} {
		t.Run(letter, func(t *testing.T) { sealedSizesTellNoArm(t, letter) })
	}
}

func codeOf(err error) string {
	r, ok := refuse.As(err)
	if !ok {
		return ""
	}
	return r.Code
}

func sealedSizesTellNoArm(t *testing.T, letter string) {
	name := ""
	for domain.SealedText("arm", name+letter, 50) == nil {
		name += letter
	}
	for id, want := range map[string]string{name: "", name + letter: "value_too_long"} {
		_, err := study.Publish(theStudy(nil), study.PublishedInstruments{}, study.PublishProtocolVersion{
			InStudy: domain.ForStudy(pain), Protocol: study.Protocol{
				Version: 2, ConsentVersion: "1", Arms: []study.Arm{{ID: id, Title: "t"}, {ID: "b", Title: "b"}}}}, call)
		if got := codeOf(err); got != want {
			t.Errorf("an arm %q: %v", id, err)
		}
	}
	withDepot(t).When(registering(theStudy(nil), "D", "kit,arm,lot,expiry\n1,XQ-7,"+name+letter+",2027-01-01\n")).ThenRefused("value_too_long")
	if _, err := registering(theStudy(nil), "D", "kit,arm,lot,expiry\n1,XQ-7,"+name+",2027-01-01\n")(withDepot(t).State()); err != nil {
		t.Error(err)
	}
	long := domain.ArmID(name)
	kit := func(arm domain.ArmID) supply.KitContents {
		return supply.KitContents{supply.KitNumber(strings.Repeat("9", 32)): {Arm: arm, Lot: name, Expiry: "2027-01-01",
			Units: 10_000}}
	}
	types := supply.KitTypes{}
	for range 100 {
		types = append(types, long)
	}
	scenario.SealedAlike(t, map[string][2]blind.Sealer{
		"contents": {blind.Of(kit("a")), blind.Of(kit(long))},
		"arms":     {blind.Of(domain.ArmID("a")), blind.Of(long)},
		"type":     {blind.Of("a"), blind.Of(name)},
		"types":    {blind.Of(supply.KitTypes{"a"}), blind.Of(types)},
		"holds":    {blind.Of(supply.HeldKits{"a": "1"}), blind.Of(supply.HeldKits{long: "1", "b": "2"})},
		"missing":  {blind.Of(supply.MissingKits{"a": 1}), blind.Of(supply.MissingKits{long: 1000, "b": 10})},
		"choices": {blind.Of(supply.Choice{Number: 1}), blind.Of(supply.Choice{Number: 1_000_000, On: "2027-01-01", KeepDays: 36_525,
			Supply: 1_000_000})},
	})
}
