package supply_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/supply"
	supplyviews "casebook/readmodels/supply"
)

func held(on domain.Date) supplyviews.DosingStep {
	return supplyviews.DosingStep{What: supplyviews.DoseHeld, On: on}
}

func resumed(on domain.Date) supplyviews.DosingStep {
	return supplyviews.DosingStep{What: supplyviews.DoseResumed, On: on}
}

func given(visit string, kit supply.KitNumber, on domain.Date) supplyviews.DosingStep {
	return supplyviews.DosingStep{What: supplyviews.KitGiven, Kit: kit, Visit: visit, On: on, DosesPerDay: 1}
}

func back(kit supply.KitNumber, on domain.Date) supplyviews.DosingStep {
	return supplyviews.DosingStep{What: supplyviews.KitBack, Kit: kit, On: on}
}

func counted(kit supply.KitNumber, used int) supplyviews.DosingStep {
	return supplyviews.DosingStep{What: supplyviews.KitCounted, Kit: kit, Used: used}
}

// Held days are not planned, and a lost kit has a figure once its doses are accounted for.
func TestDosesArePlannedForTheDaysOfTheTreatment(t *testing.T) {
	var d supplyviews.DosingCompliance
	d.Take(held("2026-02-20")) // before the first kit
	d.Take(resumed("2026-03-03"))
	d.Take(given("week-0", "K-1", "2026-03-01"))
	d.Take(held("2026-03-11"))
	d.Take(back("K-1", "2026-03-31")) // reported lost
	if in := d.Intervals[0]; in.Planned != 8 || in.Percent != nil {
		t.Errorf("while the dose is held and nothing is counted: %+v", in)
	}
	d.Take(resumed("2026-03-21"))
	d.Take(counted("K-1", 9))
	if in := d.Intervals[0]; in.Planned != 18 || in.Percent == nil || *in.Percent != 50 || d.Percent == nil {
		t.Errorf("the interval is %+v", in)
	}
}

// A lost kit that its patient has again goes on: what was counted of it was wrong.
func TestAFoundKitIsCountedAnew(t *testing.T) {
	var d supplyviews.DosingCompliance
	for _, s := range []supplyviews.DosingStep{given("week-0", "K-1", "2026-03-01"), given("week-0", "K-2", "2026-03-01"),
		back("K-1", "2026-03-05"), counted("K-1", 4), back("K-2", "2026-03-03"), {What: supplyviews.KitThere, Kit: "K-1"}} {
		d.Take(s)
	}
	if in := d.Intervals[0]; in.Taken != 0 || in.Until != "2026-03-03" || in.Kits[0].Reconciled || d.Percent != nil {
		t.Errorf("the interval is %+v", in)
	}
}
