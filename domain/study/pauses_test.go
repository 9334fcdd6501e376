package study_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

// What is stopped at a site, in a country or in the study is stopped until whoever stopped it lets it go on.
func TestPauses(t *testing.T) {
	const id = domain.StudyID("PAIN1")
	call := domain.Call{At: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), Actor: "manager"}
	because := domain.Because("a SUSAR is being assessed")
	screening := []study.Activity{study.ActivityScreening}
	both := []study.Activity{study.ActivityScreening, study.ActivityDispensing}
	ordered := []study.Activity{study.ActivityDispensing, study.ActivityScreening}
	given := scenario.For(t, study.Decider).Strict().Given(study.Created{Study: id},
		study.SiteAdded{Study: id, Site: "A", Country: "DE"}, study.SiteActivated{Study: id, Site: "A", On: "2026-01-01"},
		study.SiteAdded{Study: id, Site: "B", Country: "FR"})
	pause := func(site domain.SiteID, a ...study.Activity) func(study.Study) ([]study.Event, error) {
		return scenario.Sent(study.Pause, study.PauseSite{AtSite: domain.ForSite(id, site), Activities: a, Reasoned: because}, call)
	}
	resume := func(a ...study.Activity) func(study.Study) ([]study.Event, error) {
		return scenario.Sent(study.Resume, study.ResumeSite{AtSite: domain.ForSite(id, "A"), Activities: a, Reasoned: because}, call)
	}
	suspend := func(country string, a ...study.Activity) func(study.Study) ([]study.Event, error) {
		return scenario.Sent(study.Suspend, study.SuspendStudy{InStudy: domain.ForStudy(id), Country: country, Activities: a,
			Reasoned: because}, call)
	}
	goOn := func(country string, a ...study.Activity) func(study.Study) ([]study.Event, error) {
		return scenario.Sent(study.GoOn, study.ResumeStudy{InStudy: domain.ForStudy(id), Country: country, Activities: a,
			Reasoned: because}, call)
	}
	stops := func(s study.Study, site domain.SiteID, a study.Activity, want bool) {
		t.Helper()
		if s.Paused(site, a) != want || (s.MustNotBePaused(site, a, "site") != nil) != want {
			t.Errorf("%s at %s is stopped: %v", a, site, !want)
		}
	}
	paused := given.When(pause("A", both...)).Then(study.SitePaused{Study: id, Site: "A", Activities: ordered, Reason: because.Reason})
	stops(paused.State(), "A", study.ActivityScreening, true)
	stops(paused.State(), "A", study.ActivityShipping, false)
	stops(paused.State(), "B", study.ActivityScreening, false)
	paused.When(pause("A", study.ActivityScreening)).ThenRefused("activity_paused")
	paused.When(resume(study.ActivityShipping)).ThenRefused("activity_not_paused")
	given.When(pause("C", study.ActivityScreening)).ThenRefused("site_not_found")
	given.When(pause("A")).ThenRefused("value_out_of_range")
	given.When(pause("A", "holidays")).ThenRefused("unknown_code")
	given.When(pause("A", study.ActivityScreening, study.ActivityScreening)).ThenRefused("unknown_code")
	resumed := paused.When(resume(screening...)).Then(study.SiteResumed{Study: id, Site: "A", Activities: screening, Reason: because.Reason})
	stops(resumed.State(), "A", study.ActivityScreening, false)
	stops(resumed.State(), "A", study.ActivityDispensing, true)

	// The study and a country are stopped by themselves: one that goes on does not end the other.
	suspended := given.When(suspend("", both...)).Then(study.Suspended{Study: id, Activities: ordered, Reason: because.Reason}).
		When(suspend("DE", screening...)).Then(study.Suspended{Study: id, Country: "DE", Activities: screening, Reason: because.Reason})
	stops(suspended.State(), "B", study.ActivityScreening, true)
	on := suspended.When(goOn("", both...)).Then(study.Resumed{Study: id, Activities: ordered, Reason: because.Reason})
	stops(on.State(), "A", study.ActivityScreening, true)
	stops(on.State(), "B", study.ActivityScreening, false)
	on.When(goOn("", screening...)).ThenRefused("activity_not_paused")
	given.When(suspend("IT", screening...)).ThenRefused("country_not_found")
	given.When(suspend("it", screening...)).ThenRefused("malformed_country")
	suspended.When(suspend("DE", screening...)).ThenRefused("activity_paused")

	// A closed site can be opened again.
	reopen := scenario.Sent(study.Reopen, study.ReopenSite{AtSite: domain.ForSite(id, "A"), On: "2026-03-10", Reasoned: because}, call)
	given.When(reopen).ThenRefused("site_not_closed")
	closed := given.Given(study.SiteClosed{Study: id, Site: "A", On: "2026-03-01"})
	if again := closed.When(reopen).Then(study.SiteReopened{Study: id, Site: "A", On: "2026-03-10",
		Reason: because.Reason}).State(); !again.SiteIsActive("A") ||
		again.Sites["A"].ClosedOn != "" {
		t.Errorf("the site is %+v", again.Sites["A"])
	}
	given.Given(study.SiteClosed{Study: id, Site: "A", On: "2026-03-11"}).When(reopen).ThenRefused("reopened_before_closing")
}
