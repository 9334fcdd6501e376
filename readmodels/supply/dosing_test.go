package supply_test

import (
	"testing"

	supplyviews "casebook/readmodels/supply"
)

// Held days are not planned, and a lost kit has a figure once its doses are accounted for.
func TestDosesArePlannedForTheDaysOfTheTreatment(t *testing.T) {
	var d supplyviews.DosingCompliance
	d.Hold("2026-02-20") // before the first kit
	d.Resume("2026-03-03")
	d.Given("week-0", "K-1", "2026-03-01", 1)
	d.Hold("2026-03-11")
	d.Back("K-1", "2026-03-31") // reported lost
	if in := d.Intervals[0]; in.Planned != 8 || in.Percent != nil {
		t.Errorf("while the dose is held and nothing is counted: %+v", in)
	}
	d.Resume("2026-03-21")
	d.Counted("K-1", 9)
	if in := d.Intervals[0]; in.Planned != 18 || in.Percent == nil || *in.Percent != 50 || d.Percent == nil {
		t.Errorf("the interval is %+v", in)
	}
}
