package projections

import (
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/readmodels"
)

type view = readmodels.PatientView

// PatientView makes the whole view of a patient.
var PatientView = New(readmodels.PatientViews, byPatient,
	On(func(v *view, e patient.Screened, at Envelope) {
		v.Patient, v.Study, v.Site, v.ScreeningNumber, v.Zone = e.Patient, e.Study, e.Site, e.ScreeningNumber, e.Zone
		v.Sex, v.AgeYears, v.Status = e.Sex, e.AgeYears, patient.StatusScreened
		v.Instruments, v.Risks = []readmodels.AnsweredBy{}, []readmodels.Risk{}
		step(v, at, e.On, "")
	}),
	On(func(v *view, e patient.Consented, at Envelope) {
		if v.Status == patient.StatusScreened {
			v.Status = patient.StatusConsented
		}
		step(v, at, e.On, e.ConsentVersion)
	}),
	On(func(v *view, e patient.ScreenFailed, at Envelope) {
		become(v, patient.StatusScreenFailed, at, e.On, e.Reason)
	}),
	On(func(v *view, e patient.EnrollmentRequested, at Envelope) {
		become(v, patient.StatusEnrolling, at, e.On, "")
	}),
	On(func(v *view, e patient.Enrolled, at Envelope) {
		v.PatientNumber = e.PatientNumber
		become(v, patient.StatusEnrolled, at, e.On, "")
	}),
	On(func(v *view, e patient.EnrollmentFailed, at Envelope) {
		become(v, patient.StatusEnrollmentFailed, at, "", e.Reason)
	}),
	On(func(v *view, e patient.VisitRecorded, at Envelope) { step(v, at, e.On, e.Visit) }),
	On(func(v *view, e patient.ConsentWithdrawn, at Envelope) {
		become(v, patient.StatusWithdrawn, at, e.On, e.Reason)
	}),
	On(func(v *view, e patient.Discontinued, at Envelope) {
		become(v, patient.StatusDiscontinued, at, e.On, e.Reason)
	}),
	On(func(v *view, e patient.Completed, at Envelope) { become(v, patient.StatusCompleted, at, e.On, "") }),

	On(func(v *view, e diary.InstrumentAssigned, at Envelope) {
		v.Assigned(readmodels.AnsweredBy{Instrument: e.Instrument.ID, Version: e.Instrument.Version, Title: e.Instrument.Title,
			Zone: e.Zone, From: e.From, Until: e.Until, Trend: []readmodels.TrendPoint{}})
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	On(func(v *view, e diary.Submitted, at Envelope) {
		v.Decided(e.Instrument, readmodels.TrendPoint{Window: e.Window.ID, Opens: e.Window.Opens.UTC(), Late: e.Late, Score: firstScore(e.Scores)})
		v.Compliance.Answered(e.Late, e.AfterMissed)
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	On(func(v *view, e diary.RiskFlagged, at Envelope) {
		v.Flag(readmodels.Risk{Instrument: e.Instrument, Window: e.Window, Rule: e.Rule, Severity: e.Severity, Message: e.Message,
			RecordedAt: at.Metadata.RecordedAt})
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	On(func(v *view, e diary.Corrected, at Envelope) {
		if point := v.Point(e.Instrument, e.Window); point != nil {
			point.Score = firstScore(e.Scores)
		}
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	On(func(v *view, e diary.WindowMissed, at Envelope) {
		v.Decided(e.Instrument, readmodels.TrendPoint{Window: e.Window.ID, Opens: e.Window.Opens.UTC(), Missed: true})
		v.Compliance.WasMissed()
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
).OfPatient(ofPatientAndDiary)

func become(v *view, status patient.Status, at Envelope, on domain.Date, note string) {
	v.Status = status
	step(v, at, on, note)
}

func step(v *view, at Envelope, on domain.Date, note string) {
	v.Step(readmodels.Step{What: at.Type, On: on, Note: note, By: at.Metadata.Actor, RecordedAt: at.Metadata.RecordedAt})
	v.UpdatedAt = at.Metadata.RecordedAt
}

func firstScore(scores []diary.ScoreResult) *float64 {
	if len(scores) == 0 {
		return nil
	}
	return scores[0].Value
}
