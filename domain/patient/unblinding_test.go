package patient_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

// following is the study with what follows from an unblinding.
func following(after *study.AfterUnblinding) study.Study {
	s := withVisits()
	p := *s.Protocol
	t := *p.Treatment
	t.AfterUnblinding = after
	p.Treatment = &t
	return study.Decider.Evolve(s, study.ProtocolVersionPublished{Study: anna.Study(), Protocol: p})
}

func unblinded(s study.Study, kind study.Unblinding, at time.Time, knownTo ...domain.UserID) decision {
	return scenario.SentWithFacts(patient.Unblind, s, patient.MarkUnblinded{OfPatient: ofAnna, Kind: kind, At: at, KnownTo: knownTo}, call)
}

// The study decides what follows from an unblinding. A protocol that says nothing means what every log of today means: nothing.
func TestWhatFollowsFromAnUnblinding(t *testing.T) {
	at := time.Date(2026, 3, 1, 1, 30, 0, 0, time.FixedZone("", 2*3600)) // the last day of February in UTC
	mark := patient.Unblinded{Patient: anna, Kind: study.UnblindedInEmergency, At: at.UTC(), KnownTo: []domain.UserID{"dr.one"}}
	after := onTreatment(t).When(unblinded(following(nil), study.UnblindedInEmergency, at, "dr.one")).Then(mark)
	is(t, after.State(), patient.StatusEnrolled, patient.TreatmentOn, patient.PhaseTreatment)

	ends := following(&study.AfterUnblinding{EndsTreatment: []study.Unblinding{study.UnblindedInEmergency}})
	ended := onTreatment(t).When(unblinded(ends, study.UnblindedInEmergency, at, "dr.one")).
		Then(mark, patient.TreatmentDiscontinued{Patient: anna, On: "2026-02-28", Reason: patient.EndedByOther, Detail: "unblinded: emergency"})
	is(t, ended.State(), patient.StatusEnrolled, patient.TreatmentEnded, patient.PhaseFollowUp)
	// A second unblinding ends nothing that has ended, and an accident has a setting of its own.
	ended.When(unblinded(ends, study.UnblindedInEmergency, at, "dr.one")).Then(mark)
	onTreatment(t).When(unblinded(ends, study.UnblindedByAccident, at)).
		Then(patient.Unblinded{Patient: anna, Kind: study.UnblindedByAccident, At: at.UTC()})
	// The end can be undone like any other.
	if undone, err := undoing(patient.StepTreatmentEnd, "wrong patient")(ended.State()); err != nil ||
		ended.State().Treatment.After(undone[0]) != patient.TreatmentOn {
		t.Errorf("the end of the treatment is undone by %v, %v", undone, err)
	}
	scenario.For(t, patient.Decider).When(unblinded(ends, study.UnblindedInEmergency, at)).ThenRefused("patient_not_found")
}

func TestAssessmentsByThoseWhoDoNotKnowTheArm(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	visitedBy := func(s study.Study, who domain.UserID) decision {
		by := call
		by.Actor = who
		return scenario.SentWithFacts(patient.RecordAttendance, s, patient.RecordVisit{OfPatient: ofAnna, Visit: "week-4", On: "2026-03-03"}, by)
	}
	visited := patient.VisitRecorded{Patient: anna, Visit: "week-4", On: "2026-03-03", Dispense: true}
	mark := patient.Unblinded{Patient: anna, At: at, KnownTo: []domain.UserID{"dr.one"}}
	for _, c := range []struct {
		kind   study.Unblinding
		others bool
		mayNot bool
	}{{study.UnblindedInEmergency, true, true}, {study.UnblindedByAccident, true, true}, {study.UnblindedAsPlanned, true, false},
		{study.UnblindedInEmergency, false, false}} {
		s := following(&study.AfterUnblinding{AssessmentsByOthers: c.others})
		mark.Kind, mark.AssessmentsByOthers = c.kind, c.mayNot
		after := onTreatment(t).When(unblinded(s, c.kind, at, "dr.one")).Then(mark)
		after.When(visitedBy(s, "crc.one")).Then(visited)
		if c.mayNot {
			after.When(visitedBy(s, "dr.one")).ThenRefused("assessor_unblinded")
		} else {
			after.When(visitedBy(s, "dr.one")).Then(visited)
		}
	}
}
