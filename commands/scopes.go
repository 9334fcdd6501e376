package commands

import (
	"context"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// scopeOf returns how the scope of a command follows from what it embeds: the site, else the patient, else the study. A
// command about an account, or about nothing of these, touches no study.
func scopeOf[C any]() func(context.Context, Look, C) (access.Scope, error) {
	var blank C
	switch any(blank).(type) {
	case domain.AboutSite:
		return func(_ context.Context, _ Look, c C) (access.Scope, error) {
			study, site := any(c).(domain.AboutSite).AboutSite()
			if err := study.Validate(); err != nil {
				return access.Scope{}, err
			}
			return access.Scope{Study: study, Site: site}, site.Validate()
		}
	case domain.AboutPatient:
		return func(ctx context.Context, look Look, c C) (access.Scope, error) {
			scope, _, err := PatientScope(ctx, look, any(c).(domain.AboutPatient).AboutPatient())
			return scope, err
		}
	case domain.AboutStudy:
		return func(_ context.Context, _ Look, c C) (access.Scope, error) {
			return wholeStudy(any(c).(domain.AboutStudy))
		}
	}
	return func(context.Context, Look, C) (access.Scope, error) { return access.Scope{}, nil }
}

func wholeStudy(c domain.AboutStudy) (access.Scope, error) {
	return access.Scope{Study: c.AboutStudy()}, c.AboutStudy().Validate()
}

// WholeStudy is the scope of a command that names a site or a patient and yet is about the study as a whole.
func WholeStudy[C domain.AboutStudy](_ context.Context, _ Look, c C) (access.Scope, error) {
	return wholeStudy(c)
}

// PatientScope returns the scope of a patient, and the patient's state. It refuses patient_not_found, with
// the study that the id names as scope.
func PatientScope(ctx context.Context, look Look, id domain.PatientID) (access.Scope, patient.Patient, error) {
	if err := id.Validate(); err != nil {
		return access.Scope{}, patient.Patient{}, err
	}
	p, err := At(ctx, look, patient.Decider, string(id))
	if err != nil {
		return access.Scope{}, p, err
	}
	if !p.Exists() {
		return access.Scope{Study: id.Study()}, p, refuse.NotFound("patient_not_found", "there is no patient %s", id).
			Do("check the id, or screen the patient first")
	}
	return access.Scope{Study: p.Study, Site: p.Site, Patient: p.ID}, p, nil
}

// TheStudy is the fact of the present state of the study that a command names.
func TheStudy[C domain.AboutStudy](ctx context.Context, look Look, c C) (study.Study, error) {
	return At(ctx, look, study.Decider, string(c.AboutStudy()))
}

// StudyOfPatient is the fact of the present state of the study that a command's patient belongs to.
func StudyOfPatient[C domain.AboutPatient](ctx context.Context, look Look, c C) (study.Study, error) {
	return At(ctx, look, study.Decider, string(c.AboutPatient().Study()))
}

// ThePatient is the fact of the present state of a command's patient.
func ThePatient[C domain.AboutPatient](ctx context.Context, look Look, c C) (patient.Patient, error) {
	return At(ctx, look, patient.Decider, string(c.AboutPatient()))
}
