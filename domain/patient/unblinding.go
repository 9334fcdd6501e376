package patient

import (
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Unblinded says that the patient's arm has become known to somebody who takes part in the trial. It does not hold the arm. An
// unblinding for a safety report marks nobody: the site and those who analyse the trial stay blinded, and do not hear of it.
type Unblinded struct {
	Patient domain.PatientID `json:"patient"`
	Kind    study.Unblinding `json:"kind"`
	// At is when the arm became known. Of two unblindings, the earlier one may be recorded later.
	At time.Time `json:"at"`
	// KnownTo are the accounts of those who know the arm, as far as they have one.
	KnownTo []domain.UserID `json:"knownTo,omitempty"`
	// AssessmentsByOthers says that they record no more visits and interviews of the patient, as the patient's version of the protocol has it.
	AssessmentsByOthers bool `json:"assessmentsByOthers,omitempty"`
}

func (Unblinded) patientEvent() {}

// MarkUnblinded records that the patient's arm has become known, and what follows from it. The unblinding process sends it.
type MarkUnblinded struct {
	domain.OfPatient
	Kind study.Unblinding `json:"kind"`
	// At is when the arm became known.
	At      time.Time       `json:"at"`
	KnownTo []domain.UserID `json:"knownTo,omitempty"`
}

// Unblind decides about MarkUnblinded. The patient's version of the protocol says what follows: the treatment ends or goes on, and
// visits are recorded by others or by anybody. The end of the treatment can be undone like any other. It refuses patient_not_found.
func Unblind(p Patient, s study.Study, cmd MarkUnblinded, _ domain.Call) ([]Event, error) {
	if !p.Exists() {
		return nil, patientNotFound()
	}
	after, on := p.Follows(s).Treatment().Unblinding(), domain.DateOf(cmd.At.In(time.UTC))
	events := []Event{Unblinded{Patient: p.ID, Kind: cmd.Kind, At: cmd.At.UTC(), KnownTo: cmd.KnownTo,
		AssessmentsByOthers: after.AssessmentsByOthers && cmd.Kind.ChangesTrial()}}
	if slices.Contains(after.EndsTreatment, cmd.Kind) && p.Treatment.underWay() {
		// The day in UTC may lie before the day of the enrolment at the site.
		events = append(events, TreatmentDiscontinued{Patient: p.ID, On: max(on, p.EnrolledOn), Reason: EndedByOther,
			Detail: personal.Text("unblinded: " + string(cmd.Kind))})
	}
	return events, nil
}

// MayAssess refuses (code assessor_unblinded) somebody who knows the patient's arm, if others have to assess the patient.
func (p Patient) MayAssess(who domain.UserID) error {
	if !slices.Contains(p.unblindedAssessors, who) {
		return nil
	}
	return refuse.WrongState("assessor_unblinded",
		"%s knows the arm of patient %s, and the protocol has others assess the patient", who, p.ID).
		At("patient").Do("have the patient assessed, and that recorded, by a person who does not know the arm")
}
