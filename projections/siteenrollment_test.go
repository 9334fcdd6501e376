package projections_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
	enrollmentprojections "casebook/projections/enrollment"
	enrollmentviews "casebook/readmodels/enrollment"

	"github.com/google/go-cmp/cmp"
)

// TestEnrolmentOverTimeIsCountedByTheDaysThatSitesWroteDown: the day that the site wrote down counts, not the day or the
// order in which it was recorded.
func TestEnrolmentOverTimeIsCountedByTheDaysThatSitesWroteDown(t *testing.T) {
	s := newStory()
	for _, e := range []any{
		patient.Screened{Patient: "S.1", On: "2026-02-10"}, patient.Screened{Patient: "S.2", On: "2026-01-30"},
		patient.ConsentRecorded{Patient: "S.1", On: "2026-02-10"},
		patient.Enrolled{Patient: "S.1", On: "2026-02-11"}, patient.ScreenFailureRecorded{Patient: "S.2", On: "2026-02-11"},
		patient.Screened{Patient: "S.3", On: "2026-03-05"},
		patient.EnrollmentFailed{Patient: "S.3"}, patient.ConsentWithdrawn{Patient: "S.1", On: "2026-03-01", EndsParticipation: true},
	} {
		s.tell(e)
	}
	s.site = "02"
	s.tell(patient.Screened{Patient: "S.4", On: "2026-02-10"}, patient.Discontinued{Patient: "S.4", On: "2026-02-12"},
		patient.Completed{Patient: "S.4", On: "2026-02-13"})
	documents := fold(t, enrollmentprojections.SiteEnrollment, s.events)
	if len(documents) != 2 {
		t.Fatalf("%d documents of two sites", len(documents))
	}
	one := documents[enrollmentviews.EnrollmentKey("S", "01")].(*enrollmentviews.SiteEnrollment)
	type counts = enrollmentviews.Enrolling
	point := func(from domain.Date, n, total counts) enrollmentviews.EnrollmentPoint {
		return enrollmentviews.EnrollmentPoint{From: from, New: n, Total: total}
	}
	january, february := counts{Screened: 1}, counts{Screened: 1, Consented: 1, Enrolled: 1, ScreenFailures: 1}
	march := counts{Screened: 1, EnrollmentsFailed: 1, Withdrawn: 1}
	for _, c := range []struct {
		step     enrollmentviews.Period
		from, to domain.Date
		want     []enrollmentviews.EnrollmentPoint
	}{
		{"", "", "", []enrollmentviews.EnrollmentPoint{point("2026-01-01", january, january),
			point("2026-02-01", february, january.Plus(february)),
			point("2026-03-01", march, january.Plus(february).Plus(march))}},
		{enrollmentviews.ByMonth, "2026-02-01", "2026-02-28",
			[]enrollmentviews.EnrollmentPoint{point("2026-02-01", february, january.Plus(february))}},
		{enrollmentviews.ByDay, "2026-01-31", "2026-02-10", []enrollmentviews.EnrollmentPoint{point("2026-02-10",
			counts{Screened: 1, Consented: 1}, counts{Screened: 2, Consented: 1})}},
		{enrollmentviews.ByDay, "2027-01-01", "", []enrollmentviews.EnrollmentPoint{}},
	} {
		if diff := cmp.Diff(c.want, one.Series(c.step, c.from, c.to).Points); diff != "" {
			t.Errorf("by %q from %s to %s: %s", c.step, c.from, c.to, diff)
		}
	}
	two := documents[enrollmentviews.EnrollmentKey("S", "02")].(*enrollmentviews.SiteEnrollment).Series(enrollmentviews.ByMonth, "",
		"").Points
	if diff := cmp.Diff([]enrollmentviews.EnrollmentPoint{point("2026-02-01", counts{Screened: 1, Discontinued: 1, Completed: 1},
		counts{Screened: 1, Discontinued: 1, Completed: 1})}, two); diff != "" {
		t.Error(diff)
	}
}

// TestDaysAreBoundedAndNoneIsForgotten: what no longer fits is kept as a sum.
func TestDaysAreBoundedAndNoneIsForgotten(t *testing.T) {
	var s enrollmentviews.SiteEnrollment
	day := domain.Date("2000-01-01")
	for range 4100 {
		s.Count(day, func(c *enrollmentviews.Enrolling) { c.Screened++ })
		day = day.AddDays(1)
	}
	s.Count("1999-06-01", func(c *enrollmentviews.Enrolling) { c.Enrolled++ })
	points := s.Series(enrollmentviews.ByMonth, "", "").Points
	if last := points[len(points)-1].Total; len(s.Days) != 4000 || last.Screened != 4100 || last.Enrolled != 1 {
		t.Errorf("%d days, and in all %+v", len(s.Days), last)
	}
}
