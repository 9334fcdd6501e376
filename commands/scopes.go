package commands

import (
	"context"
	"reflect"
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/localtime"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// scopeOf returns the function that finds the scope of a command in what it embeds: its site, else its patient, else
// its study. A command about an account, or about none of these, has an empty scope.
func scopeOf[C any]() func(context.Context, Reader, C) (domain.Scope, error) {
	var blank C
	switch any(blank).(type) {
	case domain.AboutSite:
		return func(_ context.Context, _ Reader, c C) (domain.Scope, error) {
			study, site := any(c).(domain.AboutSite).AboutSite()
			if err := study.Validate(); err != nil {
				return domain.Scope{}, err
			}
			return domain.Scope{Study: study, Site: site}, site.Validate()
		}
	case domain.AboutPatient:
		return func(ctx context.Context, reader Reader, c C) (domain.Scope, error) {
			scope, _, err := PatientScope(ctx, reader, any(c).(domain.AboutPatient).AboutPatient())
			return scope, err
		}
	case domain.AboutStudy:
		return func(_ context.Context, _ Reader, c C) (domain.Scope, error) {
			return wholeStudy(any(c).(domain.AboutStudy))
		}
	}
	return func(context.Context, Reader, C) (domain.Scope, error) { return domain.Scope{}, nil }
}

func wholeStudy(c domain.AboutStudy) (domain.Scope, error) {
	return domain.Scope{Study: c.AboutStudy()}, c.AboutStudy().Validate()
}

// WholeStudy returns the whole study as the scope. It is for commands that name a site or a patient but concern the
// study.
func WholeStudy[C domain.AboutStudy](_ context.Context, _ Reader, c C) (domain.Scope, error) {
	return wholeStudy(c)
}

// PatientScope returns the scope of a patient, and the patient's state. It refuses malformed_id and patient_not_found;
// with patient_not_found it returns the study in the id as the scope.
func PatientScope(ctx context.Context, reader Reader, id domain.PatientID) (domain.Scope, patient.Patient, error) {
	if err := id.Validate(); err != nil {
		return domain.Scope{}, patient.Patient{}, err
	}
	p, err := Read(ctx, reader, patient.Decider, string(id))
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
	scope, _, err := PatientScope(ctx, h.Reader(), id)
	return scope, err
}

// hasDate says whether a command has a day.
func hasDate(t reflect.Type) bool {
	return slices.ContainsFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return f.Type == reflect.TypeFor[domain.Date]() })
}

// todayAt returns the day of a moment at the site of a scope, by the site's own calendar; "" without a site whose zone is known.
func todayAt(ctx context.Context, reader Reader, scope domain.Scope, at time.Time) (domain.Date, error) {
	if scope.Site == "" {
		return "", nil
	}
	s, err := Read(ctx, reader, study.Decider, string(scope.Study))
	if err != nil {
		return "", err
	}
	if zone, err := localtime.Load(s.Sites[scope.Site].Zone); err == nil {
		return domain.DateOf(zone.In(at)), nil
	}
	return "", nil // the record is from before zones were checked
}

// StudyOf reads the state of the study that a command names. It is the facts of decisions that need nothing else.
func StudyOf[C domain.AboutStudy](ctx context.Context, reader Reader, c C) (study.Study, error) {
	return Read(ctx, reader, study.Decider, string(c.AboutStudy()))
}

// StudyOfPatient reads the state of the study that the command's patient belongs to.
func StudyOfPatient[C domain.AboutPatient](ctx context.Context, reader Reader, c C) (study.Study, error) {
	return Read(ctx, reader, study.Decider, string(c.AboutPatient().Study()))
}

// PatientOf reads the state of the command's patient.
func PatientOf[C domain.AboutPatient](ctx context.Context, reader Reader, c C) (patient.Patient, error) {
	return Read(ctx, reader, patient.Decider, string(c.AboutPatient()))
}
