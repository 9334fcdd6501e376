package patient_test

import (
	"testing"

	"casebook/domain/patient"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

// withDosingLimits is a study in which patients are to take 80 to 120 percent of their doses.
func withDosingLimits() study.Study {
	s := withVisits()
	p := *s.Protocol
	p.Treatment = &study.Treatment{DosingLimits: &study.DosingLimits{MinPercent: 80, MaxPercent: 120}}
	p.Version++
	return study.Decider.Evolve(s, study.ProtocolVersionPublished{Study: s.ID, Protocol: p})
}

func judging(s study.Study, visit string, planned float64, taken int) func(patient.Patient) ([]patient.Event, error) {
	return scenario.SentWithFacts(patient.JudgeDoses, s, patient.JudgeDosing{OfPatient: ofAnna, Visit: visit, Planned: planned, Taken: taken,
		On: "2026-03-08"}, call)
}

// Who takes too little or too much may have deviated from the protocol; a person decides.
func TestDosesOutsideOfTheLimitsAreProposed(t *testing.T) {
	s := withDosingLimits()
	enrolled := in(t, patient.StatusEnrolled)
	for _, taken := range []int{8, 10, 12} {
		enrolled.When(judging(s, "week-1", 10, taken)).Then()
	}
	enrolled.When(judging(withVisits(), "week-1", 10, 0)).Then() // no limits
	few := enrolled.When(judging(s, "week-1", 10, 7)).Then(patient.DosingJudged{Patient: anna, Visit: "week-1",
		Candidate: patient.DeviationTreatment, Planned: 10, Taken: 7, On: "2026-03-08"})
	many := few.When(judging(s, "", 10, 13)).Then(patient.DosingJudged{Patient: anna, Candidate: patient.DeviationTreatment, Planned: 10,
		Taken: 13, On: "2026-03-08"})
	candidates(t, many.State(), "dosing/week-1", "dosing/enrollment")

	// A recount, or a kit that is found again, ends the proposal.
	recounted := many.When(judging(s, "week-1", 10, 9)).Then(patient.DosingJudged{Patient: anna, Visit: "week-1", Planned: 10, Taken: 9,
		On: "2026-03-08"})
	candidates(t, recounted.State(), "dosing/enrollment")
	found := recounted.When(judging(s, "", 0, 0)).Then(patient.DosingJudged{Patient: anna, On: "2026-03-08"})
	candidates(t, found.State())

	// What somebody has decided about is proposed again only if the doses change, of which alone the record is told.
	confirmed := few.Given(patient.ProtocolDeviationRecorded{Patient: anna, What: patient.DeviationTreatment, FoundOn: "2026-03-09",
		Candidate: "dosing/week-1", Reason: "forgot the second week"})
	candidates(t, confirmed.State())
	confirmed.When(judging(s, "week-1", 10, 9)).Then()
	// Another count is proposed, and the one that was decided about is not when it comes back.
	other := confirmed.When(judging(s, "week-1", 10, 0)).Then(patient.DosingJudged{Patient: anna, Visit: "week-1",
		Candidate: patient.DeviationTreatment, Planned: 10, On: "2026-03-08"})
	candidates(t, other.State(), "dosing/week-1")
	back := other.When(judging(s, "week-1", 10, 7)).Then(patient.DosingJudged{Patient: anna, Visit: "week-1", Planned: 10, Taken: 7,
		On: "2026-03-08"})
	candidates(t, back.State())

	// After the participation, kits still come back. Nobody took doses in a record that is about nobody.
	ended := enrolled.Given(patient.ParticipationEnded{Patient: anna, On: "2026-03-08", Reason: patient.EndedByLossToFollowUp})
	if events, err := judging(s, "week-1", 10, 0)(ended.State()); err != nil || len(events) != 1 {
		t.Errorf("after the participation: %v, %v", events, err)
	}
	in(t, patient.StatusScreenFailed).Given(patient.RegistrationVoided{Patient: anna, ScreenedOn: "2026-02-01"}).
		When(judging(s, "week-1", 10, 0)).Then()
	in(t, "").When(judging(s, "week-1", 10, 0)).ThenRefused("patient_not_found")
}

// candidates fails unless these candidates wait for a decision.
func candidates(t *testing.T, p patient.Patient, want ...patient.CandidateID) {
	t.Helper()
	var got []patient.CandidateID
	for _, c := range p.Candidates {
		got = append(got, c.ID)
	}
	if len(got) != len(want) {
		t.Fatalf("the candidates are %v, not %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("the candidates are %v, not %v", got, want)
		}
	}
}
