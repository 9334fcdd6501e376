package randomisation_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/randomisation"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

const (
	pain = domain.StudyID("PAIN1")

	verum, placebo, comparator = domain.ArmID("verum"), domain.ArmID("placebo"), domain.ArmID("comparator")
)

var (
	call    = domain.Call{At: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), Actor: "manager"}
	theSeed = strings.Repeat("01", 32)

	bySex   = study.Factor{ID: "sex", Levels: []string{"f", "m"}}
	byGrade = study.Factor{ID: "grade", Levels: []string{"mild", "severe", "worst"}}
	two     = []domain.ArmID{verum, placebo}
	three   = []domain.ArmID{verum, placebo, comparator}
	equally = map[domain.ArmID]int{verum: 1, placebo: 1}
)

// studyWith is a study with kits whose patients are randomised among the arms.
func studyWith(arms []domain.ArmID, factors ...study.Factor) study.Study {
	return studyTreating(arms, study.Treatment{Randomised: true, Kits: true, Factors: factors})
}

// studyThatForces is the same study with forced allocation.
func studyThatForces(arms []domain.ArmID, factors ...study.Factor) study.Study {
	return studyTreating(arms, study.Treatment{Randomised: true, Kits: true, ForcedAllocation: true, Factors: factors})
}

// studyTreating is a study with this treatment.
func studyTreating(arms []domain.ArmID, treatment study.Treatment) study.Study {
	p := study.Protocol{Version: 1, ConsentVersion: "1.0", Treatment: &treatment}
	for _, a := range arms {
		p.Arms = append(p.Arms, study.Arm{ID: string(a)})
	}
	return study.Decider.Fold(study.Created{Study: pain, Title: "Pain", Sponsor: "Nobody"},
		study.ProtocolVersionPublished{Study: pain, Protocol: p})
}

func patient(n int) domain.PatientID { return domain.NewPatientID(pain, fmt.Sprint(n)) }

type (
	decision = func(randomisation.Randomisation) ([]randomisation.Event, error)
	given    = scenario.Given[randomisation.Randomisation, randomisation.Event]
)

func start(t testing.TB) given { return scenario.For(t, randomisation.Decider).Strict() }

func uploading(s study.Study, scheme string, lines ...string) decision {
	return scenario.SentWithFacts(randomisation.Upload, s,
		randomisation.UploadRandomisationList{InStudy: domain.ForStudy(pain), Scheme: scheme, CSV: strings.Join(lines, "\n") + "\n"}, call)
}

func generating(s study.Study, cmd randomisation.GenerateRandomisationList) decision {
	cmd.Study = pain
	return scenario.SentWithFacts(randomisation.Generate, s, cmd, call)
}

func minimising(s study.Study, cmd randomisation.DefineMinimisation) decision {
	cmd.Study = pain
	return scenario.SentWithFacts(randomisation.Minimise, s, cmd, call)
}

func activating(s study.Study, scheme, hash string) decision {
	cmd := randomisation.ActivateRandomisation{InStudy: domain.ForStudy(pain), Scheme: scheme, SHA256: hash}
	return scenario.SentWithFacts(randomisation.Activate, s, cmd, call)
}

func capping(s study.Study, caps ...randomisation.CohortCap) decision {
	cmd := randomisation.SetCohortCaps{InStudy: domain.ForStudy(pain), Caps: caps, Reasoned: domain.Because("dose cohort")}
	return scenario.SentWithFacts(randomisation.SetCaps, s, cmd, call)
}

func bounding(s study.Study, caps ...randomisation.LevelCap) decision {
	return scenario.SentWithFacts(randomisation.BoundLevels, s,
		randomisation.SetLevelCaps{InStudy: domain.ForStudy(pain), Caps: caps, Reasoned: domain.Because("dose cohort")}, call)
}

func closing(s study.Study, arm domain.ArmID) decision {
	return scenario.SentWithFacts(randomisation.DropArm, s,
		randomisation.CloseArm{InStudy: domain.ForStudy(pain), Arm: arm, Reasoned: domain.Because("board decision")}, call)
}

func superseding(s study.Study, scheme, hash string, counting randomisation.Counting) decision {
	return scenario.SentWithFacts(randomisation.Supersede, s, randomisation.SupersedeScheme{InStudy: domain.ForStudy(pain), Scheme: scheme,
		SHA256: hash, Counting: counting, Reasoned: domain.Because("Amendment 2")}, call)
}

func extending(cmd randomisation.ExtendRandomisationList) decision {
	cmd.Study, cmd.Reason = pain, "more patients"
	return scenario.Sent(randomisation.Extend, cmd, call)
}

func watching(remaining int) decision {
	return scenario.Sent(randomisation.Watch,
		randomisation.SetListAlert{InStudy: domain.ForStudy(pain), Remaining: remaining,
			Reasoned: domain.Because("two weeks of recruitment")}, call)
}

// drawing requests a draw. The levels are given as factor, level, factor, level.
func drawing(s study.Study, inStock []domain.ArmID, who int, levels ...string) decision {
	return scenario.SentWithFacts(randomisation.Randomise, randomisation.Facts{Study: s, InStock: inStock}, randomise(who, levels...), call)
}

func randomise(who int, levels ...string) randomisation.RandomisePatient {
	return randomisation.RandomisePatient{InStudy: domain.ForStudy(pain), Site: "A", OfPatient: domain.ForPatient(patient(who)),
		Factors: factorsOf(levels...)}
}

func factorsOf(levels ...string) map[string]string {
	var factors map[string]string
	for i := 0; i+1 < len(levels); i += 2 {
		if factors == nil {
			factors = map[string]string{}
		}
		factors[levels[i]] = levels[i+1]
	}
	return factors
}

// must returns the events of a decision that has to succeed.
func must(t scenario.Failer, s randomisation.Randomisation, decide decision) []randomisation.Event {
	t.Helper()
	events, err := decide(s)
	if err != nil {
		t.Fatalf("refused or failed: %v", err)
	}
	return events
}

// activated returns the events of a study whose active scheme is the one that decide defines.
func activated(t scenario.Failer, s study.Study, decide decision) []randomisation.Event {
	t.Helper()
	events := must(t, randomisation.Randomisation{}, decide)
	scheme, hash := "", ""
	switch e := events[0].(type) {
	case randomisation.ListUploaded:
		part, _ := e.List.Open()
		scheme, hash = e.Scheme, part.SHA256
	case randomisation.ListGenerated:
		scheme, hash = e.Scheme, e.SHA256
	case randomisation.MinimisationDefined:
		scheme, hash = e.Scheme, e.SeedCommitment
	}
	return append(events, must(t, randomisation.Decider.Fold(events...), activating(s, scheme, hash))...)
}

// opened returns the content of a value, and fails the test if the value is sealed.
func opened[T any](t scenario.Failer, v blind.Value[T]) T {
	t.Helper()
	plain, open := v.Open()
	if !open {
		t.Fatalf("the value is sealed")
	}
	return plain
}

// withoutNotices leaves out what is told after a draw.
func withoutNotices(events []randomisation.Event) []randomisation.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e randomisation.Event) bool {
		switch e.(type) {
		case randomisation.AllocationForced, randomisation.ListRanLow:
			return true
		}
		return false
	})
}

// theDraw returns the draw of a decision, which has to be its last event but for what is told after it.
func theDraw(t scenario.Failer, events []randomisation.Event) (randomisation.PatientRandomised, randomisation.Draw) {
	t.Helper()
	events = withoutNotices(events)
	if len(events) == 0 {
		t.Fatalf("there are no events")
	}
	e, ok := events[len(events)-1].(randomisation.PatientRandomised)
	if !ok {
		t.Fatalf("nobody was drawn: %+v", events)
	}
	return e, opened(t, e.Draw)
}

// refusal returns the code of a refused draw, or "".
func refusal(events []randomisation.Event) string {
	if events = withoutNotices(events); len(events) == 1 {
		if e, ok := events[0].(randomisation.RandomisationRefused); ok {
			return e.Code
		}
	}
	return ""
}
