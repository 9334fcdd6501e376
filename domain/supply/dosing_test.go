package supply_test

import (
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/supply"
)

func heldFrom(on domain.Date) supply.DosingStep {
	return supply.DosingStep{What: supply.DoseHeld, On: on}
}

func resumedOn(on domain.Date) supply.DosingStep {
	return supply.DosingStep{What: supply.DoseResumed, On: on}
}

func givenOn(visit string, kit supply.KitNumber, on domain.Date) supply.DosingStep {
	return supply.DosingStep{What: supply.KitGiven, Kit: kit, Visit: visit, On: on, DosesPerDay: 1}
}

func backOn(kit supply.KitNumber, on domain.Date) supply.DosingStep {
	return supply.DosingStep{What: supply.KitBack, Kit: kit, On: on}
}

func countedAs(kit supply.KitNumber, used int) supply.DosingStep {
	return supply.DosingStep{What: supply.KitCounted, Kit: kit, Used: used}
}

// dosed is how a patient takes the drug after steps.
func dosed(steps ...supply.DosingStep) (d supply.Dosing) {
	for _, s := range steps {
		d = d.After(s)
	}
	return d
}

// Held days are not planned, and a lost kit has a figure once its doses are accounted for.
func TestDosesArePlannedForTheDaysOfTheTreatment(t *testing.T) {
	steps := []supply.DosingStep{heldFrom("2026-02-20"), resumedOn("2026-03-03"), // before the first kit
		givenOn("week-0", "K-1", "2026-03-01"), heldFrom("2026-03-11"), backOn("K-1", "2026-03-31")} // reported lost
	d := dosed(steps...)
	if got := d.Doses("week-0"); got != (supply.IntervalDoses{Until: "2026-03-31", Planned: 8}) {
		t.Errorf("while the dose is held and nothing is counted: %+v", got)
	}
	after := dosed(append(slices.Clone(steps), resumedOn("2026-03-21"), countedAs("K-1", 9))...)
	if got := after.Doses("week-0"); got != (supply.IntervalDoses{Until: "2026-03-31", Planned: 18, Taken: 9, Known: true}) {
		t.Errorf("the interval is %+v", got)
	}
	if got := d.Doses("week-0"); got.Planned != 8 || got.Known {
		t.Errorf("later steps changed what was there before them: %+v", got)
	}
}

// A lost kit that its patient has again goes on: what was counted of it was wrong.
func TestAFoundKitIsCountedAnew(t *testing.T) {
	d := dosed(givenOn("week-0", "K-1", "2026-03-01"), givenOn("week-0", "K-2", "2026-03-01"), backOn("K-1", "2026-03-05"),
		countedAs("K-1", 4), backOn("K-2", "2026-03-03"), countedAs("K-2", 2), supply.DosingStep{What: supply.KitThere, Kit: "K-1"})
	if got := d.Doses("week-0"); got != (supply.IntervalDoses{Until: "2026-03-03", Planned: 2, Taken: 2}) {
		t.Errorf("the interval is %+v", got)
	}
	if !d.Has("K-1") || d.Has("K-3") {
		t.Error("the patient has other kits than were given out")
	}
}

// However many visits and pauses there are, what is kept is bounded.
func TestTheNewestIntervalsAreKept(t *testing.T) {
	var d supply.Dosing
	for n := range 2 * supply.MaxDosingIntervals {
		on := domain.Date("2020-01-01").AddDays(n)
		d = d.After(givenOn(string(on), supply.KitNumber(on), on)).After(heldFrom(on)).After(resumedOn(on))
	}
	if len(d.Intervals) != supply.MaxDosingIntervals || len(d.Held) != supply.MaxDosingIntervals ||
		d.Visits()[0] != string(domain.Date("2020-01-01").AddDays(supply.MaxDosingIntervals)) {
		t.Errorf("%d intervals and %d times are kept, from %s", len(d.Intervals), len(d.Held), d.Visits()[0])
	}
}
