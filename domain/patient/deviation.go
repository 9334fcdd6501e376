package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// DeviationKind is what a protocol deviation is about.
type DeviationKind string

// The kinds of protocol deviations.
const (
	DeviationEligibility   DeviationKind = "eligibility"
	DeviationConsent       DeviationKind = "informed_consent"
	DeviationVisit         DeviationKind = "visit"
	DeviationTreatment     DeviationKind = "treatment"
	DeviationMedication    DeviationKind = "prohibited_medication"
	DeviationProcedure     DeviationKind = "procedure"
	DeviationRandomisation DeviationKind = "randomisation"
	DeviationSafety        DeviationKind = "safety_reporting"
	DeviationOther         DeviationKind = "other"
)

// DeviationKinds are all kinds of protocol deviations.
var DeviationKinds = []DeviationKind{DeviationEligibility, DeviationConsent, DeviationVisit, DeviationTreatment, DeviationMedication,
	DeviationProcedure, DeviationRandomisation, DeviationSafety, DeviationOther}

// Schema implements domain.HasSchema.
func (DeviationKind) Schema() domain.Schema { return domain.OneOf(DeviationKinds...) }

// RecordProtocolDeviation records that the protocol was not followed. The patient stays in the study, as the
// intention-to-treat principle requires (ICH E9 5.2.1).
type RecordProtocolDeviation struct {
	domain.OfPatient
	What      DeviationKind `json:"what" doc:"What the deviation is about"`
	Important bool          `json:"important,omitempty" doc:"Whether it may affect the patient's rights or safety, or the reliability of the data"`
	FoundOn   domain.Date   `json:"foundOn" doc:"Day on which it was found"`
	// Candidate is what is confirmed; "" if somebody has found the deviation otherwise.
	Candidate       CandidateID `json:"candidate,omitempty" doc:"The candidate that is confirmed, by its id; none if it was found otherwise"`
	domain.Reasoned `doc:"What happened, and why"`
}

// ProtocolDeviationRecorded says that the protocol was not followed. Somebody has confirmed it.
type ProtocolDeviationRecorded struct {
	Patient   domain.PatientID `json:"patient"`
	What      DeviationKind    `json:"what"`
	Important bool             `json:"important,omitempty"`
	FoundOn   domain.Date      `json:"foundOn"`
	Candidate CandidateID      `json:"candidate,omitempty"`
	Reason    personal.Text    `json:"reason"`
}

func (ProtocolDeviationRecorded) patientEvent() {}

// AboutPatient returns the patient that the event is about.
func (e ProtocolDeviationRecorded) AboutPatient() domain.PatientID { return e.Patient }

// Deviate decides about RecordProtocolDeviation. It refuses reason_required, value_too_long, unknown_code, malformed_date,
// captured_in_future, patient_not_found, candidate_not_found and found_before_screening.
func Deviate(p Patient, cmd RecordProtocolDeviation, call domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), cmd.FoundOn.NotAfterToday("foundOn", call)); err != nil {
		return nil, err
	}
	if !slices.Contains(DeviationKinds, cmd.What) {
		return nil, refuse.Malformed("unknown_code", "%.40q is no kind of deviation", string(cmd.What)).At("what").
			Do("use a kind that the description lists, such as eligibility or visit")
	}
	if !p.Exists() {
		return nil, patientNotFound()
	}
	if err := cmd.FoundOn.NotBefore(p.ScreenedOn, "found_before_screening", "foundOn", "the deviation", "the screening"); err != nil {
		return nil, err
	}
	if cmd.Candidate != "" {
		if err := p.mustPropose(cmd.Candidate); err != nil {
			return nil, err
		}
	}
	return []Event{ProtocolDeviationRecorded{Patient: cmd.Patient, What: cmd.What, Important: cmd.Important, FoundOn: cmd.FoundOn,
		Candidate: cmd.Candidate, Reason: cmd.Reason}}, nil
}

// OverrideEligibility allows the enrolment of a patient who does not satisfy criteria of the protocol.
type OverrideEligibility struct {
	domain.OfPatient
	Criteria        []string `json:"criteria" minItems:"1" doc:"Ids of the criteria that the patient need not satisfy"`
	domain.Reasoned `doc:"Why the patient is enrolled all the same, and who agreed"`
}

// EligibilityOverridden says that a patient may be enrolled who does not satisfy these criteria.
type EligibilityOverridden struct {
	Patient  domain.PatientID `json:"patient"`
	Criteria []string         `json:"criteria"`
	Reason   personal.Text    `json:"reason"`
}

func (EligibilityOverridden) patientEvent() {}

// AboutPatient returns the patient that the event is about.
func (e EligibilityOverridden) AboutPatient() domain.PatientID { return e.Patient }

// maxOverridden bounds the criteria of an override. It is the bound of a protocol's criteria.
const maxOverridden = 200

// Override decides about OverrideEligibility. It refuses reason_required, value_too_long, value_missing, value_out_of_range,
// patient_not_found, patient_ended and patient_status. A criterion that the protocol does not have changes nothing.
func Override(p Patient, cmd OverrideEligibility, _ domain.Call) ([]Event, error) {
	err := domain.First(domain.Reason(cmd.Reason), domain.Between("criteria", len(cmd.Criteria), 1, maxOverridden),
		p.mustBe("override the eligibility", StatusScreened, StatusConsented, StatusEnrollmentFailed))
	if err != nil {
		return nil, err
	}
	for _, id := range cmd.Criteria {
		if err := domain.Text("criteria", id, 50); err != nil {
			return nil, err
		}
	}
	return []Event{EligibilityOverridden{Patient: cmd.Patient, Criteria: cmd.Criteria, Reason: cmd.Reason}}, nil
}
