package commands

import (
	"context"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// System is the scope of what belongs to no study: users and grants.
func System[C any](context.Context, Look, C) (domain.Scope, error) { return domain.Scope{}, nil }

// InStudy is the scope of a command on a whole study.
func InStudy[C any](of func(C) domain.StudyID) func(context.Context, Look, C) (domain.Scope, error) {
	return func(_ context.Context, _ Look, c C) (domain.Scope, error) {
		return domain.Scope{Study: of(c)}, of(c).Validate()
	}
}

// AtSite is the scope of a command on one site of a study.
func AtSite[C any](of func(C) (domain.StudyID, domain.SiteID)) func(context.Context, Look, C) (domain.Scope, error) {
	return func(_ context.Context, _ Look, c C) (domain.Scope, error) {
		studyID, siteID := of(c)
		if err := studyID.Validate(); err != nil {
			return domain.Scope{}, err
		}
		return domain.Scope{Study: studyID, Site: siteID}, siteID.Validate()
	}
}

// OfPatient is the scope of a command on a patient, who must exist (code patient_not_found).
func OfPatient[C any](of func(C) domain.PatientID) func(context.Context, Look, C) (domain.Scope, error) {
	return func(ctx context.Context, look Look, c C) (domain.Scope, error) {
		scope, _, err := PatientScope(ctx, look, of(c))
		return scope, err
	}
}

// PatientScope returns the scope of a patient, and the patient's state. It refuses patient_not_found, with
// the study that the id names as scope.
func PatientScope(ctx context.Context, look Look, id domain.PatientID) (domain.Scope, patient.Patient, error) {
	if err := id.Validate(); err != nil {
		return domain.Scope{}, patient.Patient{}, err
	}
	p, err := At(ctx, look, patient.Decider, string(id))
	if err != nil {
		return domain.Scope{}, p, err
	}
	if !p.Exists() {
		return domain.Scope{Study: id.Study()}, p, refuse.NotFound("patient_not_found", "there is no patient %s", id).
			Do("check the id, or screen the patient first")
	}
	return domain.Scope{Study: p.Study, Site: p.Site, Patient: p.ID}, p, nil
}

// PatientScope is the function PatientScope for queries.
func (h *Handler) PatientScope(ctx context.Context, id domain.PatientID) (domain.Scope, error) {
	scope, _, err := PatientScope(ctx, h.Look(), id)
	return scope, err
}

// TheStudy is the fact of a study's present state, for commands that name the study.
func TheStudy[C any](of func(C) domain.StudyID) func(context.Context, Look, C) (study.Study, error) {
	return func(ctx context.Context, look Look, c C) (study.Study, error) {
		return At(ctx, look, study.Decider, string(of(c)))
	}
}

// StudyOfPatient is the fact of the state of the study that the command's patient belongs to.
func StudyOfPatient[C any](of func(C) domain.PatientID) func(context.Context, Look, C) (study.Study, error) {
	return TheStudy(func(c C) domain.StudyID { return of(c).Study() })
}
