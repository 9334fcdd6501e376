package study_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/study"

	"pgregory.net/rapid"
)

const pain = domain.StudyID("PAIN1")

var call = domain.Call{At: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), Actor: "manager"}

type decision = func(study.Study) ([]study.Event, error)

func creating(change func(*study.CreateStudy)) decision {
	cmd := study.CreateStudy{InStudy: domain.ForStudy(pain), Title: "Pain at night", Sponsor: "Nobody", Phase: "II"}
	change(&cmd)
	return scenario.Sent(study.Create, cmd, call)
}

func publishing(p study.Protocol) decision {
	return scenario.SentWithFacts(study.Publish, nil, study.PublishProtocolVersion{InStudy: domain.ForStudy(pain), Protocol: p}, call)
}

func adding(change func(*study.AddSite)) decision {
	cmd := study.AddSite{AtSite: domain.ForSite(pain, "A"), Name: "Charite", Country: "DE", Zone: "Europe/Berlin"}
	change(&cmd)
	return scenario.Sent(study.Add, cmd, call)
}

func activating(site domain.SiteID, on domain.Date) decision {
	return scenario.Sent(study.Activate, study.ActivateSite{AtSite: domain.ForSite(pain, site), On: on}, call)
}

func closing(site domain.SiteID, on domain.Date, reason string) decision {
	return scenario.Sent(study.Close, study.CloseSite{AtSite: domain.ForSite(pain, site), On: on, Reasoned: domain.Because(reason)}, call)
}

func protocol(version int, instruments ...instrument.Definition) study.Protocol {
	return study.Protocol{Version: version, ConsentVersion: fmt.Sprintf("%d.0", version), Instruments: instruments}
}

// published is a version that was recorded at call; an amendment gets the day from it.
func published(p study.Protocol) study.ProtocolVersionPublished {
	if p.Version > 1 && p.PublishedOn == "" {
		p.PublishedOn = "2026-03-10"
	}
	return study.ProtocolVersionPublished{Study: pain, Protocol: p, ByPatient: true}
}

var (
	created = study.Created{Study: pain, Title: "Pain at night", Sponsor: "Nobody", Phase: "II"}
	added   = study.SiteAdded{Study: pain, Site: "A", Name: "Charite", Country: "DE", Zone: "Europe/Berlin"}
	active  = study.SiteActivated{Study: pain, Site: "A", On: "2026-03-01"}
	closed  = study.SiteClosed{Study: pain, Site: "A", On: "2026-03-05", Reason: "no patients"}
)

func begun(t testing.TB) scenario.Given[study.Study, study.Event] {
	return scenario.For(t, study.Decider).Strict().Given(created)
}

func same[T any](*T) {}

func TestCreate(t *testing.T) {
	nothing := scenario.For(t, study.Decider).Strict()
	nothing.When(creating(same)).Then(created).When(creating(same)).ThenRefused("study_exists")
	for code, change := range map[string]func(*study.CreateStudy){
		"malformed_id":   func(c *study.CreateStudy) { c.Study = "no id" },
		"value_missing":  func(c *study.CreateStudy) { c.Title = " " },
		"value_too_long": func(c *study.CreateStudy) { c.Title = strings.Repeat("x", 301) },
	} {
		nothing.When(creating(change)).ThenRefused(code)
	}
	nothing.When(creating(func(c *study.CreateStudy) { c.Sponsor = "" })).ThenRefused("value_missing")
	nothing.When(creating(func(c *study.CreateStudy) { c.Sponsor = strings.Repeat("x", 201) })).ThenRefused("value_too_long")
	nothing.When(creating(func(c *study.CreateStudy) { c.Phase = strings.Repeat("x", 21) })).ThenRefused("value_too_long")
}

func TestPublishVersionsFollowOneAnother(t *testing.T) {
	scenario.For(t, study.Decider).Strict().When(publishing(protocol(1))).ThenRefused("study_not_found")
	for _, version := range []int{-1, 0, 2} {
		begun(t).When(publishing(protocol(version))).ThenRefused("protocol_version_order")
	}
	given := begun(t).When(publishing(protocol(1))).Then(published(protocol(1)))
	given.When(publishing(protocol(1))).ThenRefused("protocol_version_order")
	given.When(publishing(protocol(3))).ThenRefused("protocol_version_order")
	given = given.When(publishing(protocol(2))).Then(published(protocol(2)))
	if p := given.State().Protocol; p.Version != 2 || p.ConsentVersion != "2.0" {
		t.Errorf("the protocol in force is %+v", p)
	}
}

func TestPublishChecksTheProtocol(t *testing.T) {
	whole := func() study.Protocol {
		p := protocol(1, *instrument.PainDiary())
		p.Arms = []study.Arm{{ID: "active"}, {ID: "placebo"}}
		p.Criteria = []study.Criterion{{ID: "adult"}, {ID: "pregnant", Exclusion: true}}
		p.Treatment = &study.Treatment{Randomised: true, Kits: true, ForcedAllocation: true, DispensingVisits: []string{"day-7"},
			Factors: []study.Factor{{ID: "age", Levels: []string{"young", "old"}}}}
		p.Alerts = &study.AlertPolicy{ReviewMinutes: 30, MissedInARow: 2}
		p.Forms = []study.Form{{ID: "vitals", Definition: json.RawMessage(`{}`)}, {ID: "labs"}}
		p.Visits = []study.Visit{{ID: "screening", Day: -14, DaysBefore: 3, Forms: []string{"vitals", "labs"}}, {ID: "day-7", Day: 7}}
		return p
	}
	begun(t).When(publishing(whole())).Then(published(whole()))
	for name, x := range map[string]struct {
		code   string
		change func(*study.Protocol)
	}{
		"no consent":        {"value_missing", func(p *study.Protocol) { p.ConsentVersion = "" }},
		"long consent":      {"value_too_long", func(p *study.Protocol) { p.ConsentVersion = strings.Repeat("1", 51) }},
		"an arm twice":      {"invalid_protocol", func(p *study.Protocol) { p.Arms[1].ID = "active" }},
		"an arm without id": {"value_missing", func(p *study.Protocol) { p.Arms[1].ID = "" }},
		"a long id":         {"value_too_long", func(p *study.Protocol) { p.Arms[1].ID = strings.Repeat("x", 51) }},
		"a visit twice":     {"invalid_protocol", func(p *study.Protocol) { p.Visits[1].ID = "screening" }},
		"a form twice":      {"invalid_protocol", func(p *study.Protocol) { p.Forms[1].ID = "vitals" }},
		"an instrument twice": {"invalid_protocol", func(p *study.Protocol) {
			p.Instruments = append(p.Instruments, p.Instruments[0])
		}},
		"an unknown form":      {"invalid_protocol", func(p *study.Protocol) { p.Visits[1].Forms = []string{"x"} }},
		"days before":          {"invalid_protocol", func(p *study.Protocol) { p.Visits[1].DaysBefore = -1 }},
		"days after":           {"invalid_protocol", func(p *study.Protocol) { p.Visits[1].DaysAfter = -1 }},
		"a bad instrument":     {"invalid_instrument", func(p *study.Protocol) { p.Instruments[0].Items = nil }},
		"a large form":         {"invalid_protocol", func(p *study.Protocol) { p.Forms[0].Definition = make(json.RawMessage, 256*1024+1) }},
		"a long title":         {"value_too_long", func(p *study.Protocol) { p.Arms[0].Title = strings.Repeat("x", 301) }},
		"a long visit":         {"value_too_long", func(p *study.Protocol) { p.Visits[0].Title = strings.Repeat("x", 301) }},
		"a long form":          {"value_too_long", func(p *study.Protocol) { p.Forms[0].Title = strings.Repeat("x", 301) }},
		"a far day":            {"value_out_of_range", func(p *study.Protocol) { p.Visits[0].Day = 36_526 }},
		"a day long ago":       {"value_out_of_range", func(p *study.Protocol) { p.Visits[0].Day = -36_526 }},
		"a wide window before": {"value_out_of_range", func(p *study.Protocol) { p.Visits[0].DaysBefore = 36_526 }},
		"a wide window after":  {"value_out_of_range", func(p *study.Protocol) { p.Visits[0].DaysAfter = 36_526 }},
		"one form twice":       {"invalid_protocol", func(p *study.Protocol) { p.Visits[0].Forms = []string{"labs", "labs"} }},
		"too many arms":        {"invalid_protocol", func(p *study.Protocol) { p.Arms = make([]study.Arm, 21) }},
		"too many visits":      {"invalid_protocol", func(p *study.Protocol) { p.Visits = make([]study.Visit, 501) }},
		"too many forms":       {"invalid_protocol", func(p *study.Protocol) { p.Forms = make([]study.Form, 501) }},
		"too many diaries":     {"invalid_protocol", func(p *study.Protocol) { p.Instruments = make([]instrument.Definition, 51) }},
		"a criterion twice":    {"invalid_protocol", func(p *study.Protocol) { p.Criteria[1].ID = "adult" }},
		"too many criteria":    {"invalid_protocol", func(p *study.Protocol) { p.Criteria = make([]study.Criterion, 201) }},
		"one arm to draw":      {"invalid_protocol", func(p *study.Protocol) { p.Arms = p.Arms[:1] }},
		"kits of two arms": {"invalid_protocol", func(p *study.Protocol) {
			p.Treatment.Randomised, p.Treatment.ForcedAllocation = false, false
		}},
		"forced without kits": {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Kits, p.Treatment.DispensingVisits = false, nil }},
		"visits without kits": {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Kits, p.Treatment.ForcedAllocation = false, false }},
		"an unknown visit":    {"invalid_protocol", func(p *study.Protocol) { p.Treatment.DispensingVisits = []string{"x"} }},
		"a long margin":       {"value_out_of_range", func(p *study.Protocol) { p.Treatment.DoNotDispenseDays = 36_526 }},
		"a factor twice": {"invalid_protocol", func(p *study.Protocol) {
			p.Treatment.Factors = append(p.Treatment.Factors, p.Treatment.Factors[0])
		}},
		"a level twice":       {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Factors[0].Levels[1] = "young" }},
		"no level":            {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Factors[0].Levels = nil }},
		"review in 0 minutes": {"value_out_of_range", func(p *study.Protocol) { p.Alerts.ReviewMinutes = 0 }},
		"no missed windows":   {"value_out_of_range", func(p *study.Protocol) { p.Alerts.MissedInARow = 0 }},
		"no instrument's id":  {"value_missing", func(p *study.Protocol) { p.Instruments[0].ID = "" }},
	} {
		p := whole()
		x.change(&p)
		t.Run(name, func(t *testing.T) {
			if r := begun(t).When(publishing(p)).ThenRefused(x.code); !strings.HasPrefix(r.Field, "protocol.") && x.code != "invalid_instrument" {
				t.Errorf("the field is %s", r.Field)
			}
		})
	}
}

// A version of an instrument never changes its content in a study.
func TestAChangedInstrumentHasAHigherVersion(t *testing.T) {
	first := *instrument.PainDiary()
	changed := *instrument.PainDiary()
	changed.Title = "Another title"
	higher := changed
	higher.Version++
	given := begun(t).Given(published(protocol(1, first)))
	given.When(publishing(protocol(2, first))).Then(published(protocol(2, first)))
	given.When(publishing(protocol(2, changed))).ThenRefused("instrument_version_order")
	amended := given.When(publishing(protocol(2, higher))).Then(published(protocol(2, higher)))
	amended.When(publishing(protocol(3, first))).ThenRefused("instrument_version_order")
	// The same holds if a protocol version in between left the instrument out.
	without := given.Given(published(protocol(2)))
	without.When(publishing(protocol(3, changed))).ThenRefused("instrument_version_order")
	without.When(publishing(protocol(3, first))).Then(published(protocol(3, first)))
	without.When(publishing(protocol(3, higher))).Then(published(protocol(3, higher)))
	if without.State().Instrument(first.ID) != nil {
		t.Error("an instrument that was left out is in force")
	}
	if got := amended.State().Instrument(first.ID); got == nil || got.Version != higher.Version {
		t.Errorf("the instrument in force is %+v", got)
	}
	if (study.Study{}).Instrument(first.ID) != nil {
		t.Error("a study without a protocol has an instrument")
	}
}

// An empty list and no list are the same in the log, so the comparison must not distinguish them.
func TestAStoredInstrumentIsUnchanged(t *testing.T) {
	sent := *instrument.PainDiary()
	sent.RiskRules = []instrument.RiskRule{}
	raw, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	var stored instrument.Definition
	if err := json.Unmarshal(raw, &stored); err != nil {
		t.Fatal(err)
	}
	begun(t).Given(published(protocol(1, stored))).When(publishing(protocol(2, sent))).Then(published(protocol(2, sent)))
}

func TestAddSite(t *testing.T) {
	scenario.For(t, study.Decider).Strict().When(adding(same)).ThenRefused("study_not_found")
	given := begun(t).When(adding(same)).Then(added)
	given.When(adding(same)).ThenRefused("site_exists")
	if given.State().SiteIsActive("A") || given.State().SiteIsActive("B") {
		t.Error("a site is active before its activation")
	}
	for _, code := range []string{"FR", "FRA"} {
		want := added
		want.Country = code
		begun(t).When(adding(func(c *study.AddSite) { c.Country = code })).Then(want)
	}
	inCountry := func(code string) func(*study.AddSite) {
		return func(c *study.AddSite) { c.Country = code }
	}
	for code, changes := range map[string][]func(*study.AddSite){
		"malformed_id":      {func(c *study.AddSite) { c.Site = "a b" }},
		"value_missing":     {func(c *study.AddSite) { c.Name = "" }, func(c *study.AddSite) { c.Country = "" }},
		"value_too_long":    {func(c *study.AddSite) { c.Name = strings.Repeat("x", 201) }, func(c *study.AddSite) { c.Country = "DEUT" }},
		"malformed_country": {inCountry("D"), inCountry("de"), inCountry("Ö"), inCountry("D1")},
		"unknown_zone":      {func(c *study.AddSite) { c.Zone = "Mars/Olympus" }, func(c *study.AddSite) { c.Zone = "" }},
	} {
		for _, change := range changes {
			begun(t).When(adding(change)).ThenRefused(code)
		}
	}
}

func TestR34_ASiteIsActivatedUnderAProtocol(t *testing.T) {
	scenario.For(t, study.Decider).Strict().When(activating("A", "2026-03-01")).ThenRefused("study_not_found")
	given := begun(t).Given(added)
	given.When(activating("A", "2026-03-01")).ThenRefused("no_protocol")
	given = given.Given(published(protocol(1)))
	given.When(activating("B", "2026-03-01")).ThenRefused("site_not_found")
	given.When(activating("A", "2026-03-12")).ThenRefused("captured_in_future")
	given.When(activating("A", "1 March")).ThenRefused("malformed_date")
	activated := given.When(activating("A", "2026-03-01")).Then(active)
	activated.When(activating("A", "2026-03-02")).ThenRefused("site_active")
	activated.Given(closed).When(activating("A", "2026-03-06")).ThenRefused("site_closed")
	if s := activated.State(); !s.SiteIsActive("A") || s.Sites["A"].ActivatedOn != "2026-03-01" || s.Sites["A"].Zone != "Europe/Berlin" {
		t.Errorf("the site is %+v", s.Sites["A"])
	}
}

func TestCloseSite(t *testing.T) {
	scenario.For(t, study.Decider).Strict().When(closing("A", "2026-03-05", "no patients")).ThenRefused("study_not_found")
	given := begun(t).Given(published(protocol(1)), added)
	given.When(closing("B", "2026-03-05", "no patients")).ThenRefused("site_not_found")
	given.When(closing("A", "2026-03-05", "")).ThenRefused("reason_required")
	given.When(closing("A", "2026-03-12", "no patients")).ThenRefused("captured_in_future")
	given.When(closing("A", "", "no patients")).ThenRefused("malformed_date")
	given.When(closing("A", "2026-03-05", "no patients")).Then(closed) // although it was never active
	given.Given(active).When(closing("A", "2026-02-28", "no patients")).ThenRefused("closed_before_activation")
	shut := given.Given(active).When(closing("A", "2026-03-05", "no patients")).Then(closed)
	shut.When(closing("A", "2026-03-05", "no patients")).ThenRefused("site_closed")
	if s := shut.State(); s.SiteIsActive("A") || s.Sites["A"].Status != study.SiteIsClosed || s.Sites["A"].ClosedOn != "2026-03-05" {
		t.Errorf("the site is %+v", s.Sites["A"])
	}
}

// In every order of commands: Evolve does not change old states, protocol versions have no gaps, no version of an
// instrument has two contents, and a closed site is never active again.
func TestAStudyKeepsItsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, versions := study.Study{}, 0
		contents, closed := map[string]string{}, map[domain.SiteID]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			events, err := drawn(t, s)(s)
			if _, refused := refuse.As(err); err != nil && !refused {
				t.Fatalf("an error that is not a refusal: %v", err)
			}
			for _, e := range events {
				switch e := e.(type) {
				case study.ProtocolVersionPublished:
					if versions++; e.Protocol.Version != versions {
						t.Fatalf("version %d was published as number %d", e.Protocol.Version, versions)
					}
					for _, d := range e.Protocol.Instruments {
						key := fmt.Sprintf("%s %d", d.ID, d.Version)
						if title, seen := contents[key]; seen && title != d.Title {
							t.Fatalf("instrument %s was %q, and is %q", key, title, d.Title)
						}
						contents[key] = d.Title
					}
				case study.SiteClosed:
					closed[e.Site] = true
				}
				s = scenario.Evolve(t, study.Decider, s, e)
			}
			for site := range closed {
				if s.SiteIsActive(site) {
					t.Fatalf("the closed site %s is active", site)
				}
			}
		}
	})
}

func drawn(t *rapid.T, s study.Study) decision {
	site := rapid.SampledFrom([]domain.SiteID{"A", "B"}).Draw(t, "site")
	switch rapid.IntRange(0, 6).Draw(t, "command") {
	case 0:
		return creating(same)
	case 1:
		return adding(func(c *study.AddSite) { c.Site = site })
	case 2:
		return activating(site, "2026-03-01")
	case 3:
		return closing(site, "2026-03-05", "no patients")
	default:
		version := 1
		if s.Protocol != nil {
			version = s.Protocol.Version + rapid.IntRange(0, 1).Draw(t, "step")
		}
		p := protocol(version)
		if rapid.Bool().Draw(t, "with a diary") {
			d := *instrument.PainDiary()
			d.Version, d.Title = rapid.IntRange(1, 3).Draw(t, "version"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "title")
			p.Instruments = append(p.Instruments, d)
		}
		return publishing(p)
	}
}

func TestR15_AStudyAsksForASecondFactor(t *testing.T) {
	asking := func(required bool, reason string) decision {
		return scenario.Sent(study.SetSecondFactor, study.RequireSecondFactor{InStudy: domain.ForStudy(pain), Required: required,
			Reasoned: domain.Because(reason)}, call)
	}
	start := scenario.For(t, study.Decider)
	start.When(asking(true, "protocol")).ThenRefused("study_not_found")
	given := start.Given(study.Created{Study: pain, Title: "Pain at night", Sponsor: "Nobody"})
	given.When(asking(true, " ")).ThenRefused("reason_required")
	given.When(asking(false, "protocol")).ThenRefused("second_factor_set")
	asked := given.When(asking(true, "protocol")).Then(study.SecondFactorRequired{Study: pain, Required: true, Reason: "protocol"})
	asked.When(asking(true, "protocol")).ThenRefused("second_factor_set")
	asked.When(asking(false, "amendment")).Then(study.SecondFactorRequired{Study: pain, Reason: "amendment"})
}
