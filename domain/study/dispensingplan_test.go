package study_test

import (
	"fmt"
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/study"
)

// planned is a protocol with a run-in, two steps of two arms, a rescue, weights and levels.
func planned() study.Protocol {
	p := treated()
	p.Visits = append(p.Visits, study.Visit{ID: "run-in", Day: -14}, study.Visit{ID: "end", Day: 70, DaysAfter: 5})
	t := p.Treatment
	t.DispensingVisits = append(t.DispensingVisits, "run-in")
	t.Titration = &study.Titration{Steps: 2, Rescue: true}
	t.DoNotDispense = []study.DoNotDispenseRule{{Type: "a-54", Visit: "week-4", Country: "DE", Days: 20},
		{Country: "FR", Days: 30}, {Type: "p-54", Visit: "week-4", Country: "DE", Days: 20}}
	t.Plan = &study.DispensingPlan{Types: []study.KitType{
		{ID: "a-54", Arm: "active", Strength: "54 mg", Form: "patch", LabelGroup: "patch"}, {ID: "p-54", Arm: "placebo", LabelGroup: "patch"},
		{ID: "a-81", Arm: "active", LabelGroup: "patch"}, {ID: "p-81", Arm: "placebo", LabelGroup: "patch"},
		{ID: "lead-in", Open: true}, {ID: "rescue", Open: true},
	}, Kits: []study.PlannedKits{
		{Visits: []string{"run-in"}, Kits: []study.KitsOf{{Type: "lead-in", Count: 1}}},
		{Rescue: true, Kits: []study.KitsOf{{Type: "rescue", Count: 1}}},
	}}
	for _, arm := range []string{"active", "placebo"} {
		low, high := arm[:1]+"-54", arm[:1]+"-81"
		t.Plan.Kits = append(t.Plan.Kits,
			study.PlannedKits{Arm: arm, Step: 1, BelowKg: 70, DosesPerDay: 1, Kits: []study.KitsOf{{Type: low, Count: 1}}},
			study.PlannedKits{Arm: arm, Step: 1, FromKg: 70, DosesPerDay: 2, Kits: []study.KitsOf{{Type: low, Count: 2}}},
			study.PlannedKits{Arm: arm, Step: 2, DosesPerDay: 1, Kits: []study.KitsOf{{Type: high, Count: 1}},
				Alternatives: []study.KitSet{{Kits: []study.KitsOf{{Type: low, Count: 1}}}}})
	}
	return p
}

func TestPlanSaysWhatPatientsGet(t *testing.T) {
	p := planned()
	s := begun(t).When(publishing(p)).Then(published(p)).State()
	for _, c := range []struct {
		visit  string
		arm    domain.ArmID
		dosing study.Dosing
		want   string
	}{
		{"", "active", study.Dosing{WeightKg: 60}, "[[a-54]] 1"},
		{"", "active", study.Dosing{}, "[] 0"}, // without a weight nobody knows
		{"", "", study.Dosing{WeightKg: 60}, "[] 0"},
		{"week-4", "placebo", study.Dosing{WeightKg: 70}, "[[p-54 p-54]] 2"},
		{"week-4", "active", study.Dosing{Step: 2}, "[[a-81] [a-54]] 1"},
		{"week-8", "placebo", study.Dosing{Step: 2, Rescue: true}, "[[p-81 rescue] [p-54 rescue]] 1"},
		{"run-in", "", study.Dosing{}, "[[lead-in]] 0"},
		{"end", "active", study.Dosing{Step: 2}, "[] 0"},
	} {
		due := s.Due(c.visit, c.arm, c.dosing)
		if got := fmt.Sprint(due.Sets, due.DosesPerDay); got != c.want {
			t.Errorf("at %q, %+v in %q gets %s, want %s", c.visit, c.dosing, c.arm, got, c.want)
		}
	}
	if !s.Gives("") || !s.Gives("run-in") || s.Gives("end") || !s.GivesBeforeDraw("run-in") || s.GivesBeforeDraw("week-4") ||
		!s.NeedsWeight("week-4") || s.NeedsWeight("run-in") || len(s.Protocol.Kinds()) != 6 {
		t.Error("the plan is misread")
	}
	// Without a plan, each patient gets a kit of the own arm, as always.
	old := treated()
	s = begun(t).Given(published(old)).State()
	if got := s.Due("week-4", "active", study.Dosing{Step: 2}); fmt.Sprint(got.Sets) != "[[active]]" || !s.Gives("") || !s.Gives("week-4") ||
		s.Gives("run-in") || s.NeedsWeight("") || !slices.EqualFunc(s.Protocol.Kinds(), old.Arms, func(a, b study.Arm) bool { return a == b }) {
		t.Errorf("without a plan it is %+v", got)
	}
}

// A kit lasts until the end of the window of the next dispensing visit, or of the next visit after the last of these.
func TestKeepDays(t *testing.T) {
	p := planned()
	p.Visits[1].DaysAfter = 3 // week-8
	keep := func(kind study.Kind, visit, country string, on domain.Date) int {
		return begun(t).Given(published(p)).State().KeepDays(kind, visit, country, on, "2026-01-01")
	}
	for name, c := range map[string][2]int{
		"the base":         {keep("a-81", "week-4", "DE", "2026-01-29"), 7},
		"type and country": {keep("a-54", "week-4", "DE", "2026-01-29"), 20},
		"another visit":    {keep("a-54", "week-8", "DE", "2026-01-29"), 7},
		"another country":  {keep("a-54", "week-4", "FR", "2026-01-29"), 30},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %d days, want %d", name, c[0], c[1])
		}
	}
	p.Treatment.UntilNextVisit = true
	for name, c := range map[string][2]int{
		"the next one that dispenses": {keep("a-81", "week-4", "DE", "2026-01-29"), 56 + 3 - 28},
		"given late":                  {keep("a-81", "week-4", "DE", "2026-02-08"), 56 + 3 - 38},
		"from the enrolment":          {keep("a-81", "", "DE", "2026-01-01"), 28},
		"after the last of these":     {keep("a-81", "week-8", "DE", "2026-02-26"), 70 + 5 - 56},
		"between the visits":          {keep("a-81", "unscheduled-1", "DE", "2026-02-10"), 56 + 3 - 40},
		"nothing follows":             {keep("a-81", "end", "DE", "2026-03-12"), 7},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %d days, want %d", name, c[0], c[1])
		}
	}
	if got := begun(t).Given(published(p)).State().KeepDays("lead-in", "run-in", "DE", "2026-01-01", ""); got != 14+28 {
		t.Errorf("a kit of the run-in lasts %d days", got)
	}
}

func TestPublishRefusesPlans(t *testing.T) {
	for name, c := range map[string]struct {
		code   string
		change func(*study.Protocol)
	}{
		"no kits":            {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Kits = false }},
		"a visit's name":     {"invalid_protocol", func(p *study.Protocol) { p.Visits[3].ID = study.AtEnrollment }},
		"no types":           {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Types = nil }},
		"a type twice":       {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Types[1].ID = "a-54" }},
		"an arm of a type":   {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Types[0].Arm = "other" }},
		"no entries":         {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Kits = nil }},
		"an unknown visit":   {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Kits[2].Visits = []string{"end"} }},
		"an arm before draw": {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Kits[0].Arm = "active" }},
		"an unknown step":    {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Kits[2].Step = 3 }},
		"an unknown level":   {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Kits[2].Level = "m" }},
		"weights":            {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Kits[2].FromKg = 80 }},
		"another arm's type": {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Kits[2].Kits[0].Type = "p-54" }},
		"none of a type":     {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Kits[2].Kits[0].Count = 0 }},
		"too many":           {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Kits[2].Kits[0].Count = 13 }},
		"two entries":        {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Kits[2].BelowKg = 71 }},
		"a gap": {"invalid_protocol", func(p *study.Protocol) {
			p.Treatment.Plan.Kits = slices.DeleteFunc(p.Treatment.Plan.Kits, func(k study.PlannedKits) bool { return k.Step == 2 })
		}},
		"steps":                 {"value_out_of_range", func(p *study.Protocol) { p.Treatment.Titration.Steps = 21 }},
		"a start":               {"value_out_of_range", func(p *study.Protocol) { p.Treatment.Titration.Start = 3 }},
		"no rescue":             {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Titration.Rescue = false }},
		"an unknown factor":     {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Factor = "height" }},
		"a rule's type":         {"invalid_protocol", func(p *study.Protocol) { p.Treatment.DoNotDispense[0].Type = "b" }},
		"a window policy":       {"invalid_protocol", func(p *study.Protocol) { p.Visits[0].OutOfWindow = "ask" }},
		"doses":                 {"invalid_protocol", func(p *study.Protocol) { p.Treatment.Plan.Kits[2].DosesPerDay = -1 }},
		"other numbers of arms": {"plan_reveals_arms", func(p *study.Protocol) { p.Treatment.Plan.Kits[2].Kits[0].Count = 2 }},
		"other looks of arms":   {"plan_reveals_arms", func(p *study.Protocol) { p.Treatment.Plan.Types[0].LabelGroup = "capsule" }},
		"other doses of arms":   {"plan_reveals_arms", func(p *study.Protocol) { p.Treatment.Plan.Kits[2].DosesPerDay = 3 }},
		"a rule for one arm": {"plan_reveals_arms", func(p *study.Protocol) {
			p.Treatment.DoNotDispense = p.Treatment.DoNotDispense[:2]
		}},
		"other alternatives": {"plan_reveals_arms", func(p *study.Protocol) {
			p.Treatment.Plan.Kits[4].Alternatives[0].Kits[0].Count = 2
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := planned()
			c.change(&p)
			begun(t).When(publishing(p)).ThenRefused(c.code)
		})
	}
	// In a study whose labels say what they hold, arms may get what they need.
	p := planned()
	for i := range p.Treatment.Plan.Types {
		p.Treatment.Plan.Types[i].Open = true
	}
	p.Treatment.Plan.Kits[2].Kits[0].Count = 2
	begun(t).When(publishing(p)).Then(published(p))
	// What depends on a level of a factor.
	p = planned()
	p.Treatment.Plan.Factor = "sex"
	p.Treatment.Plan.Kits = []study.PlannedKits{p.Treatment.Plan.Kits[0]}
	for _, arm := range []string{"active", "placebo"} {
		for i, level := range []string{"m", "f"} {
			p.Treatment.Plan.Kits = append(p.Treatment.Plan.Kits, study.PlannedKits{Arm: arm, Level: level,
				Kits: []study.KitsOf{{Type: arm[:1] + "-54", Count: 2 - i}}})
		}
	}
	s := begun(t).When(publishing(p)).Then(published(p)).State()
	if got := s.Due("", "active", study.Dosing{Levels: map[string]string{"sex": "m"}}).Sets; fmt.Sprint(got) != "[[a-54 a-54]]" {
		t.Errorf("by level it is %v", got)
	}
}

// A drawn arm outlives every amendment: its patients get what the version before it plans, at the visits of their own version.
func TestPlanOfADroppedArmGoesOn(t *testing.T) {
	s := begun(t).When(publishing(planned())).Then(published(planned())).State()
	amended := planned()
	amended.Version, amended.Treatment.DispensingVisits = 2, append(amended.Treatment.DispensingVisits, "end")
	amended.Arms = append(slices.Clone(amended.Arms[1:]), study.Arm{ID: "new"})
	kits := amended.Treatment.Plan.Kits
	amended.Treatment.Plan.Kits = slices.DeleteFunc(kits, func(k study.PlannedKits) bool { return k.Arm == "active" })
	s = study.Decider.Evolve(s, study.ProtocolVersionPublished{Study: pain, Protocol: amended})
	for _, c := range []struct {
		version int
		visit   string
		arm     domain.ArmID
		want    string
	}{
		{1, "week-4", "active", "[[a-54]]"}, {2, "week-4", "active", "[[a-54]]"}, {2, "", "active", "[[a-54]]"},
		{1, "end", "active", "[]"}, {2, "end", "active", "[[a-54]]"}, {2, "week-4", "placebo", "[[p-54]]"}, {2, "week-4", "new", "[]"},
	} {
		if got := fmt.Sprint(s.As(c.version).Due(c.visit, c.arm, study.Dosing{WeightKg: 60}).Sets); got != c.want {
			t.Errorf("by version %d, %s gets %s at %q, want %s", c.version, c.arm, got, c.visit, c.want)
		}
	}
}
