package readmodels_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/supply"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
	randomisationviews "casebook/readmodels/randomisation"
	supplyviews "casebook/readmodels/supply"

	gocmp "github.com/google/go-cmp/cmp"
)

// Deviations are shown with what was known of them at a moment, and filters are about that.
func TestDeviationsAsOf(t *testing.T) {
	s := connect(t, newDatabase())
	row := func(n int, states ...patientviews.DeviationState) patientviews.DeviationRow {
		r := patientviews.DeviationRow{Header: key(n), Study: "S", Patient: "S.1"}
		for _, state := range states {
			r.DeviationState = state
			r.Past = r.Past.Since(state.RecordedAt, state)
		}
		return r
	}
	at := func(n int, site domain.SiteID, status patientviews.DeviationStatus) patientviews.DeviationState {
		return patientviews.DeviationState{Site: site, Status: status, RecordedAt: minuteOf(n)}
	}
	put(t, s, patientviews.Deviations, row(1, at(0, "A", patientviews.DeviationProposed), at(10, "B", patientviews.DeviationDismissed)))
	put(t, s, patientviews.Deviations, row(2, at(5, "A", patientviews.DeviationProposed)))
	for name, c := range map[string]struct {
		query patientviews.DeviationsQuery
		want  []patientviews.DeviationStatus
	}{
		"now":                    {patientviews.DeviationsQuery{}, []patientviews.DeviationStatus{"dismissed", "proposed"}},
		"before all":             {patientviews.DeviationsQuery{AsOf: minuteOf(0).Add(-time.Second)}, nil},
		"before the second":      {patientviews.DeviationsQuery{AsOf: minuteOf(4)}, []patientviews.DeviationStatus{"proposed"}},
		"before the dismissal":   {patientviews.DeviationsQuery{AsOf: minuteOf(9)}, []patientviews.DeviationStatus{"proposed", "proposed"}},
		"dismissed then":         {patientviews.DeviationsQuery{AsOf: minuteOf(9), Status: "dismissed"}, nil},
		"at a site that it left": {patientviews.DeviationsQuery{AsOf: minuteOf(4), Site: "A"}, nil},
		"at the site of today":   {patientviews.DeviationsQuery{AsOf: minuteOf(9), Site: "B"}, nil},
		"at the dismissal":       {patientviews.DeviationsQuery{AsOf: minuteOf(10), Site: "B"}, []patientviews.DeviationStatus{"dismissed"}},
		"of the patient before":  {patientviews.DeviationsQuery{AsOf: minuteOf(4), Patient: "S.1"}, []patientviews.DeviationStatus{"proposed"}},
	} {
		c.query.Study = "S"
		list, err := patientviews.ListDeviations(t.Context(), everything(s), c.query)
		if err != nil {
			t.Fatal(err)
		}
		var got []patientviews.DeviationStatus
		for _, r := range list.Items {
			got = append(got, r.Status)
		}
		if diff := gocmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A stratum that has entries again was on the list, with the number of that time.
func TestEndingListsAsOf(t *testing.T) {
	s := connect(t, newDatabase())
	l := randomisationviews.EndingList{Header: key(1), Study: "S", Scheme: "list"}
	for n, left := range []int{4, 2, 400} {
		l.EntriesLeft = randomisationviews.EntriesLeft{Remaining: left, Few: left < 10, UpdatedAt: minuteOf(n)}
		l.Past = l.Past.Since(minuteOf(n), l.EntriesLeft)
	}
	put(t, s, randomisationviews.EndingLists, l)
	remaining := func(asOf time.Time) (all []int) {
		list, err := randomisationviews.ListEndingLists(t.Context(), everything(s), randomisationviews.EndingListsQuery{Study: "S", AsOf: asOf})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range list.Items {
			all = append(all, l.Remaining)
		}
		return all
	}
	got := [][]int{remaining(time.Time{}), remaining(minuteOf(-1)), remaining(minuteOf(0)), remaining(minuteOf(1)), remaining(minuteOf(2))}
	if diff := gocmp.Diff([][]int{nil, nil, {4}, {2}, nil}, got); diff != "" {
		t.Error(diff)
	}
}

// The doses that a patient has taken are those that were counted by then, at the site that had given out kits by then.
func TestDosingAsOf(t *testing.T) {
	s := connect(t, newDatabase())
	d := supplyviews.DosingDocument{Header: readmodels.Header{ID: "S.1"}, Patient: "S.1", Study: "S"}
	for n, step := range []supply.DosingStep{
		{What: supply.KitGiven, Kit: "K1", Visit: "week-0", Site: "A", On: "2026-03-01", DosesPerDay: 1},
		{What: supply.KitBack, Kit: "K1", On: "2026-03-11"},
		{What: supply.KitCounted, Kit: "K1", Used: 10},
		{What: supply.KitGiven, Kit: "K2", Visit: "week-4", Site: "B", On: "2026-03-11", DosesPerDay: 1},
		{What: supply.KitCounted, Kit: "K1", Used: 5},
	} {
		d.Take(supplyviews.DosingStep{At: minuteOf(n), DosingStep: step})
	}
	put(t, s, supplyviews.DosingCompliances, d)
	type line struct {
		Percent float64
		Kits    supply.KitNumber
	}
	lines := func(q supplyviews.DosingComplianceQuery) (all []line) {
		q.Study = "S"
		list, err := supplyviews.ListDosing(t.Context(), everything(s), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list.Items {
			of := line{}
			if d.Percent != nil {
				of.Percent = *d.Percent
			}
			for _, in := range d.Intervals {
				for _, k := range in.Kits {
					of.Kits += k.Kit
				}
			}
			all = append(all, of)
		}
		return all
	}
	query := func(n int, site domain.SiteID) supplyviews.DosingComplianceQuery {
		return supplyviews.DosingComplianceQuery{AsOf: minuteOf(n), Site: site}
	}
	got := [][]line{lines(supplyviews.DosingComplianceQuery{}), lines(query(-1, "")), lines(query(1, "")), lines(query(2, "A")),
		lines(query(2, "B")), lines(query(3, "B")), lines(query(3, "A")), lines(query(4, ""))}
	want := [][]line{{{50, "K1K2"}}, nil, {{0, "K1"}}, nil, nil, {{100, "K1K2"}}, nil, {{50, "K1K2"}}}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	then, err := supplyviews.LoadDosing(t.Context(), everything(s), supplyviews.PatientDosingQuery{Patient: "S.1", AsOf: minuteOf(1)})
	if err != nil || then.Percent != nil || len(then.Intervals) != 1 {
		t.Errorf("the patient's doses were %+v (%v)", then, err)
	}
}

func minuteOf(n int) time.Time { return moment(0).Add(time.Duration(n) * time.Minute) }
