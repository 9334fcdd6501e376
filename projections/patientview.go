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
	On(func(v *view, e patient.ConsentWithdrawn, at Envelope) {
		become(v, patient.StatusWithdrawn, at, e.On, e.Reason)
	}),
	On(func(v *view, e patient.Discontinued, at Envelope) {
		become(v, patient.StatusDiscontinued, at, e.On, e.Reason)
	}),
	On(func(v *view, e patient.Completed, at Envelope) { become(v, patient.StatusCompleted, at, e.On, "") }),

	On(func(v *view, e diary.InstrumentAssigned, at Envelope) {
		v.Assigned(readmodels.AnsweredBy{Instrument: e.Instrument.ID, Version: e.Instrument.Version, Title: e.Instrument.Title,
			Zone: e.Zone, From: e.From, Until: e.Until, Entries: []readmodels.DiaryEntry{}})
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	On(func(v *view, e diary.Submitted, at Envelope) {
		captured := e.CapturedAt.UTC()
		v.Decided(e.Instrument, readmodels.DiaryEntry{Window: e.Window.ID, Opens: e.Window.Opens, Closes: e.Window.Closes,
			CapturedAt: &captured, RecordedAt: at.Metadata.RecordedAt, Late: e.Late, AfterMissed: e.AfterMissed,
			Answers: answersOf(e.Answers), Scores: scoresOf(e.Scores)})
		v.Compliance.Answered(e.Late, e.AfterMissed)
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	On(func(v *view, e diary.RiskFlagged, at Envelope) {
		v.Flag(readmodels.Risk{Instrument: e.Instrument, Window: e.Window, Rule: e.Rule, Severity: e.Severity, Message: e.Message,
			RecordedAt: at.Metadata.RecordedAt})
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	On(func(v *view, e diary.Corrected, at Envelope) {
		if entry := v.Entry(e.Instrument, e.Window); entry != nil {
			if entry.Answers == nil {
				entry.Answers = map[string]any{}
			}
			for _, c := range e.Changes {
				if c.New == nil {
					delete(entry.Answers, string(c.Item))
				} else {
					entry.Answers[string(c.Item)] = c.New
				}
			}
			entry.Scores = scoresOf(e.Scores)
			entry.Corrections = append(entry.Corrections, readmodels.Correction{Changes: e.Changes, Reason: e.Reason,
				By: at.Metadata.Actor, RecordedAt: at.Metadata.RecordedAt})
		}
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	On(func(v *view, e diary.WindowMissed, at Envelope) {
		v.Decided(e.Instrument, readmodels.DiaryEntry{Window: e.Window.ID, Opens: e.Window.Opens, Closes: e.Window.Closes,
			Missed: true, RecordedAt: at.Metadata.RecordedAt})
		v.Compliance.WasMissed()
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
)

func become(v *view, status patient.Status, at Envelope, on domain.Date, note string) {
	v.Status = status
	step(v, at, on, note)
}

func step(v *view, at Envelope, on domain.Date, note string) {
	v.Step(readmodels.Step{What: at.Type, On: on, Note: note, By: at.Metadata.Actor, RecordedAt: at.Metadata.RecordedAt})
	v.UpdatedAt = at.Metadata.RecordedAt
}

func answersOf(answers diary.Answers) map[string]any {
	all := make(map[string]any, len(answers))
	for item, answer := range answers {
		all[string(item)] = answer
	}
	return all
}

func scoresOf(scores []diary.ScoreResult) map[string]float64 {
	all := map[string]float64{}
	for _, s := range scores {
		if s.Value != nil {
			all[s.ID] = *s.Value
		}
	}
	return all
}
