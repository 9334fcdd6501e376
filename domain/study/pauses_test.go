package study_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"
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

// A cohort is stopped by itself, for what concerns patients whose levels are known.
func TestSuspendedCohorts(t *testing.T) {
	const id = domain.StudyID("PAIN1")
	call := domain.Call{At: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), Actor: "sponsor"}
	because := domain.Because("a signal in women")
	given := scenario.For(t, study.Decider).Strict().Given(study.Created{Study: id}, study.SiteAdded{Study: id, Site: "A", Country: "DE"},
		study.ProtocolVersionPublished{Study: id, Protocol: study.Protocol{Version: 1, Treatment: &study.Treatment{Randomised: true,
			Factors: []study.Factor{{ID: "sex", Levels: []string{"F", "M"}}, {ID: "age", Levels: []string{"young", "old"}}}}}})
	women, all := study.Cohort{"sex": "F"}, []study.Activity{study.ActivityDispensing, study.ActivityRandomisation}
	suspend := func(country string, c study.Cohort, a ...study.Activity) func(study.Study) ([]study.Event, error) {
		return scenario.Sent(study.Suspend, study.SuspendStudy{InStudy: domain.ForStudy(id), Country: country, Cohort: c, Activities: a,
			Reasoned: because}, call)
	}
	goOn := func(c study.Cohort, a ...study.Activity) func(study.Study) ([]study.Event, error) {
		return scenario.Sent(study.GoOn, study.ResumeStudy{InStudy: domain.ForStudy(id), Cohort: c, Activities: a, Reasoned: because}, call)
	}
	given.When(suspend("", women, study.ActivityShipping)).ThenRefused("activity_not_of_cohort")
	given.When(suspend("", study.Cohort{"sex": "X"}, all...)).ThenRefused("unknown_cohort")
	given.When(suspend("DE", women, all...)).ThenRefused("unknown_cohort")
	stopped := given.When(suspend("", women, all...)).Then(study.Suspended{Study: id, Cohort: women, Activities: all, Reason: because.Reason})
	stops := func(s study.Study, sex string, a study.Activity, want bool) {
		t.Helper()
		factors := map[string]string{"sex": sex, "age": "old"}
		if s.PausedFor("A", factors, a) != want || (s.MustNotBePausedFor("A", factors, a, "patient") != nil) != want {
			t.Errorf("%s of %s is stopped: %v", a, sex, !want)
		}
	}
	stops(stopped.State(), "F", study.ActivityDispensing, true)
	stops(stopped.State(), "M", study.ActivityDispensing, false)
	if stopped.State().Paused("A", study.ActivityRandomisation) || stopped.State().PausedFor("A", nil, study.ActivityRandomisation) {
		t.Error("the suspension of a cohort stops everybody")
	}
	stopped.When(suspend("", women, study.ActivityDispensing)).ThenRefused("activity_paused")
	stopped.When(goOn(nil, study.ActivityDispensing)).ThenRefused("activity_not_paused")
	on := stopped.When(goOn(women, study.ActivityDispensing)).Then(study.Resumed{Study: id, Cohort: women,
		Activities: []study.Activity{study.ActivityDispensing}, Reason: because.Reason})
	stops(on.State(), "F", study.ActivityDispensing, false)
	stops(on.State(), "F", study.ActivityRandomisation, true)
}

// A protocol with later draws names arms that it has, and randomises.
func TestStagesOfAProtocol(t *testing.T) {
	for what, change := range map[string]func(*study.Treatment){
		"draws without randomisation": func(t *study.Treatment) { t.Randomised = false },
		"one first arm":               func(t *study.Treatment) { t.FirstArms = []string{"a"} },
		"an unknown first arm":        func(t *study.Treatment) { t.FirstArms = []string{"a", "x"} },
		"a stage without arms":        func(t *study.Treatment) { t.Stages[0].Arms = nil },
		"an arm twice":                func(t *study.Treatment) { t.Stages[0].Arms = []string{"a", "a"} },
		"a stage twice":               func(t *study.Treatment) { t.Stages = append(t.Stages, t.Stages[0]) },
		"":                            func(*study.Treatment) {},
	} {
		treatment := study.Treatment{Randomised: true, DrawnLater: true, FirstArms: []string{"a", "b"},
			Stages: []study.Stage{{ID: "open", Arms: []string{"a"}}}}
		change(&treatment)
		_, err := study.Publish(study.Decider.Fold(study.Created{Study: "S"}), nil, study.PublishProtocolVersion{InStudy: domain.ForStudy("S"),
			Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0", Arms: []study.Arm{{ID: "a"}, {ID: "b"}, {ID: "c"}},
				Treatment: &treatment}}, domain.Call{})
		if r, refused := refuse.As(err); refused != (what != "") || refused && r.Code != "invalid_protocol" {
			t.Errorf("%q: %v", what, err)
		}
	}
}

// A checklist has every item, or there is none.
func TestClosingWithAChecklist(t *testing.T) {
	call := domain.Call{At: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), Actor: "sponsor"}
	given := scenario.For(t, study.Decider).Strict().Given(study.Created{Study: "S"}, study.SiteAdded{Study: "S", Site: "A", Country: "DE"},
		study.SiteActivated{Study: "S", Site: "A", On: "2026-01-01"})
	closing := func(items ...study.ChecklistItem) func(study.Study) ([]study.Event, error) {
		return scenario.Sent(study.Close, study.CloseSite{AtSite: domain.ForSite("S", "A"), On: "2026-03-01", Checklist: items,
			Reasoned: domain.Because("staff has left")}, call)
	}
	both := []study.ChecklistItem{{Item: study.OpenParticipants, Open: 2}, {Item: study.OpenKits}}
	given.When(closing(both[0])).ThenRefused("checklist_incomplete")
	given.When(closing(both[0], both[0])).ThenRefused("checklist_incomplete")
	given.When(closing(both...)).Then(study.SiteClosed{Study: "S", Site: "A", On: "2026-03-01", Reason: "staff has left", Checklist: both})
}
