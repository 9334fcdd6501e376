package study

import (
	"slices"

	"casebook/domain"
)

// Unblinding is a kind of unblinding: why somebody learns a patient's arm before the study has been analysed.
type Unblinding string

// The kinds of unblinding.
const (
	// UnblindedInEmergency is for the treatment of the patient, who needs it at once (ICH E6(R3) 2.11.2).
	UnblindedInEmergency Unblinding = "emergency"
	// UnblindedForSafetyReport is for the report of a suspected unexpected serious adverse reaction (SUSAR). Only the sponsor's
	// safety role learns the arm. The blind stays for everybody else who conducts or analyses the trial, and so for the site
	// (Regulation (EU) 536/2014, Annex III, 2.4).
	UnblindedForSafetyReport Unblinding = "safety_report"
	// UnblindedByAccident is an unblinding that nobody wanted. It is reported afterwards, and nobody is shown anything.
	UnblindedByAccident Unblinding = "accidental"
	// UnblindedAsPlanned is for patients whose participation has ended, after the end of the enrolment.
	UnblindedAsPlanned Unblinding = "planned"
)

// Unblindings are all kinds of unblinding.
var Unblindings = []Unblinding{UnblindedInEmergency, UnblindedForSafetyReport, UnblindedByAccident, UnblindedAsPlanned}

// Schema implements domain.HasSchema.
func (Unblinding) Schema() domain.Schema { return domain.OneOf(Unblindings...) }

// ChangesTrial says whether the study has to decide what follows from an unblinding of this kind. What nobody at the site may
// learn of has no consequence there, and a planned unblinding comes after the participation.
func (u Unblinding) ChangesTrial() bool { return u == UnblindedInEmergency || u == UnblindedByAccident }

// AfterUnblinding says what follows from the unblinding of a patient.
type AfterUnblinding struct {
	EndsTreatment []Unblinding `json:"endsTreatment,omitempty" doc:"Kinds of unblinding that end the treatment with study drug: emergency, accidental; after the others, and where it is left out, the treatment goes on"`
	// AssessmentsByOthers keeps the assessment of the patient blinded.
	AssessmentsByOthers bool `json:"assessmentsByOthers,omitempty" doc:"Whether those who know the arm may no longer record visits and interviews of the patient"`
}

// Unblinding returns what follows from the unblinding of a patient; nothing where the protocol does not say it.
func (t Treatment) Unblinding() AfterUnblinding {
	if t.AfterUnblinding == nil {
		return AfterUnblinding{}
	}
	return *t.AfterUnblinding
}

// validate refuses invalid_protocol.
func (a AfterUnblinding) validate() error {
	for i, kind := range a.EndsTreatment {
		if !kind.ChangesTrial() {
			return invalidProtocol("treatment.afterUnblinding.endsTreatment", "an unblinding of the kind %.40q ends no treatment", kind).
				Do("use emergency or accidental")
		}
		if slices.Contains(a.EndsTreatment[:i], kind) {
			return invalidProtocol("treatment.afterUnblinding.endsTreatment", "%s is there twice", kind).Do("give every kind once")
		}
	}
	return nil
}
