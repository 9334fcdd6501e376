package study_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

func approving(version int, on domain.Date) decision {
	return scenario.Sent(study.ApproveAtSite, study.ApproveProtocolAtSite{AtSite: domain.ForSite(pain, "A"), Version: version,
		ApprovedOn: on, By: "Ethics committee of Berlin", Reference: "EA1/042"}, call)
}

func withdrawing(version int, reason string) decision {
	return scenario.Sent(study.WithdrawApproval, study.WithdrawSiteApproval{AtSite: domain.ForSite(pain, "A"), Version: version,
		Reasoned: domain.Because(reason)}, call)
}

func approved(version int, on domain.Date) study.ProtocolApprovedAtSite {
	return study.ProtocolApprovedAtSite{Study: pain, Site: "A", Version: version, ApprovedOn: on, By: "Ethics committee of Berlin",
		Reference: "EA1/042"}
}

// toApprove is a version that every site needs an approval for.
func toApprove(version int, on domain.Date) study.Protocol {
	p := protocol(version)
	p.PublishedOn, p.SiteApproval = on, true
	return p
}

func TestAVersionReachesASiteWithItsApproval(t *testing.T) {
	given := begun(t).Given(added, published(toApprove(1, "2026-01-10")))
	given.When(activating("A", "2026-02-01")).ThenRefused("protocol_not_approved")
	given.When(approving(2, "2026-01-15")).ThenRefused("protocol_version_not_found")
	given.When(approving(1, "2026-01-09")).ThenRefused("approved_before_publication")
	given.When(approving(1, "2026-03-20")).ThenRefused("captured_in_future")
	given.When(withdrawing(1, "Recorded in error")).ThenRefused("protocol_not_approved")
	given = given.When(approving(1, "2026-01-15")).Then(approved(1, "2026-01-15"))
	given.When(approving(1, "2026-01-16")).ThenRefused("protocol_approved")
	given = given.When(activating("A", "2026-02-01")).Then(study.SiteActivated{Study: pain, Site: "A", On: "2026-02-01"})
	given = given.Given(published(toApprove(2, "2026-02-10")))
	if got := given.State().InForceAt("A", ""); got != 1 {
		t.Errorf("version %d is in force without an approval of version 2", got)
	}
	given = given.When(approving(2, "2026-02-20")).Then(approved(2, "2026-02-20"))
	for on, want := range map[domain.Date]int{"": 2, "2026-01-14": 0, "2026-01-15": 1, "2026-02-19": 1, "2026-02-20": 2} {
		if got := given.State().InForceAt("A", on); got != want {
			t.Errorf("on %q version %d is in force, want %d", on, got, want)
		}
	}
	given.When(withdrawing(2, "")).ThenRefused("reason_required")
	given = given.When(withdrawing(2, "Recorded for the wrong site")).
		Then(study.SiteApprovalWithdrawn{Study: pain, Site: "A", Version: 2, Reason: "Recorded for the wrong site"})
	if got := given.State().InForceAt("A", ""); got != 1 {
		t.Errorf("version %d is in force after the withdrawal of version 2", got)
	}
}

// A log from before sites and patients had versions of their own means what it meant: its amendments were for everybody.
func TestOlderAmendmentsWereForEverybody(t *testing.T) {
	old := func(version int) study.ProtocolVersionPublished {
		return study.ProtocolVersionPublished{Study: pain, Protocol: protocol(version)}
	}
	s := begun(t).Given(added, old(1), old(2), published(protocol(3))).State()
	for version, want := range map[int]int{0: 2, 1: 2, 2: 2, 3: 3} {
		if got := s.Following(version); got != want {
			t.Errorf("who follows version %d follows %d, want %d", version, got, want)
		}
	}
	if got := s.InForceAt("A", "2020-01-01"); got != 2 {
		t.Errorf("version %d was in force", got)
	}
	if got := s.As(2).Protocol.Version; got != 2 || s.As(4).Protocol != nil || s.As(0).Protocol != nil {
		t.Errorf("the study as version 2 has it has version %d", got)
	}
}

func TestConsentFormsAreValidByTheDay(t *testing.T) {
	s := begun(t).Given(added, published(toApprove(1, "2026-01-10")), approved(1, "2026-01-15"), published(toApprove(2, "2026-02-10")),
		approved(2, "2026-02-20")).State()
	for _, x := range []struct {
		consent string
		on      domain.Date
		want    int
		code    string
	}{
		{"1.0", "2026-01-09", 0, "consent_before_publication"},
		{"1.0", "2026-01-14", 0, "consent_before_approval"},
		{"1.0", "2026-01-15", 1, ""},
		{"1.0", "2026-02-20", 1, ""}, // in the morning, before the approval came
		{"1.0", "2026-02-21", 0, "consent_version_not_in_force"},
		{"2.0", "2026-02-09", 0, "consent_before_publication"},
		{"2.0", "2026-02-19", 0, "consent_before_approval"},
		{"2.0", "2026-02-20", 2, ""},
		{"3.0", "2026-02-20", 0, "consent_version_not_in_force"},
	} {
		got, err := s.ConsentOn(x.consent, "A", x.on)
		if code := codeOf(err); got != x.want || code != x.code {
			t.Errorf("consent %s on %s is of version %d, %q; want %d, %q", x.consent, x.on, got, code, x.want, x.code)
		}
	}
}

func TestPublishChecksWhoSignsAgain(t *testing.T) {
	again := func(change func(*study.Protocol)) study.Protocol {
		p := protocol(2)
		p.Reconsent = &study.Reconsent{Who: study.ReconsentEverybody, WithinDays: 14, Blocks: []study.Blocked{study.BlocksVisits}}
		p.Minors = &study.Minors{AgeOfMajority: 18, AssentFrom: 7}
		change(&p)
		return p
	}
	given := begun(t).Given(published(protocol(1)))
	given.When(publishing(again(same[study.Protocol]))).Then(published(again(same[study.Protocol])))
	for name, x := range map[string]struct {
		code   string
		change func(*study.Protocol)
	}{
		"the same form":    {"invalid_protocol", func(p *study.Protocol) { p.ConsentVersion = "1.0" }},
		"nobody":           {"invalid_protocol", func(p *study.Protocol) { p.Reconsent.Who = "" }},
		"an unknown block": {"invalid_protocol", func(p *study.Protocol) { p.Reconsent.Blocks = []study.Blocked{"lunch"} }},
		"a block twice": {"invalid_protocol", func(p *study.Protocol) {
			p.Reconsent.Blocks = append(p.Reconsent.Blocks,
				study.BlocksVisits)
		}},
		"too late":          {"value_out_of_range", func(p *study.Protocol) { p.Reconsent.WithinDays = 366 }},
		"no day":            {"malformed_date", func(p *study.Protocol) { p.PublishedOn = "soon" }},
		"a day to come":     {"captured_in_future", func(p *study.Protocol) { p.PublishedOn = "2026-03-20" }},
		"nobody is a minor": {"value_out_of_range", func(p *study.Protocol) { p.Minors.AgeOfMajority = 0 }},
		"adults assent":     {"value_out_of_range", func(p *study.Protocol) { p.Minors.AssentFrom = 18 }},
	} {
		t.Run(name, func(t *testing.T) { given.When(publishing(again(x.change))).ThenRefused(x.code) })
	}
	first := again(func(p *study.Protocol) { p.Version = 1 })
	begun(t).When(publishing(first)).ThenRefused("invalid_protocol")
	later := protocol(3)
	later.PublishedOn = "2026-03-01"
	given.Given(published(protocol(2))).When(publishing(later)).ThenRefused("invalid_protocol")
}

// Patients of an arm that a later version drops are still supplied.
func TestArmsOfAllVersions(t *testing.T) {
	one, two := protocol(1), protocol(2)
	one.Arms, two.Arms = []study.Arm{{ID: "a"}, {ID: "b"}}, []study.Arm{{ID: "c"}, {ID: "a", Title: "A, renamed"}}
	arms := begun(t).Given(published(one), published(two)).State().Arms()
	if len(arms) != 3 || arms[0].ID != "c" || arms[1].Title != "A, renamed" || arms[2].ID != "b" {
		t.Errorf("the arms are %+v", arms)
	}
}

func codeOf(err error) string {
	if r, refused := refuse.As(err); refused {
		return r.Code
	}
	return ""
}

// A version waits for the patients of the sites that work by it, and for nobody else. Nobody waits for one that was in force for everybody.
func TestVersionsThatAreToBeApplied(t *testing.T) {
	s := study.Decider.Fold(
		study.ProtocolVersionPublished{Protocol: study.Protocol{Version: 1}},
		study.ProtocolVersionPublished{Protocol: study.Protocol{Version: 2}},
		study.ProtocolVersionPublished{ByPatient: true, Protocol: study.Protocol{Version: 3, PublishedOn: "2026-03-01"}},
		study.ProtocolVersionPublished{ByPatient: true, Protocol: study.Protocol{Version: 4, PublishedOn: "2026-03-10", SiteApproval: true,
			Reconsent: &study.Reconsent{Who: study.ReconsentEverybody, WithinDays: 5}}},
		study.ProtocolApprovedAtSite{Site: "01", Version: 4, ApprovedOn: "2026-03-20"})
	third := study.ToApply{Version: 3, Since: "2026-03-01", By: "2026-03-15"}
	fourth := study.ToApply{Version: 4, Since: "2026-03-20", By: "2026-03-25"}
	for _, c := range []struct {
		site    domain.SiteID
		follows int
		want    study.ToApply
	}{
		{"01", 0, fourth}, {"01", 3, fourth}, {"01", 4, study.ToApply{}},
		{"02", 1, third}, {"02", 3, study.ToApply{}}, {"02", 4, study.ToApply{}}, // who was transferred stays on the newer one
	} {
		if got := s.ToApply(c.site, c.follows); got != c.want {
			t.Errorf("at site %s, who follows version %d waits for %+v, want %+v", c.site, c.follows, got, c.want)
		}
	}
	before := study.Decider.Fold(study.ProtocolVersionPublished{Protocol: study.Protocol{Version: 1}},
		study.ProtocolVersionPublished{Protocol: study.Protocol{Version: 2}})
	if got := before.ToApply("01", 1); got != (study.ToApply{}) {
		t.Errorf("an amendment of the time for everybody waits: %+v", got)
	}
}
