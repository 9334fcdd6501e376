package projections

import (
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/readmodels"
)

type row = readmodels.PatientRow

// PatientList makes a line a patient for lists.
var PatientList = New(readmodels.PatientLists, byPatient,
	On(func(r *row, e patient.Screened, _ Envelope) {
		r.Patient, r.Study, r.Site, r.ScreeningNumber = e.Patient, e.Study, e.Site, e.ScreeningNumber
		r.Status, r.ScreenedOn = patient.StatusScreened, e.On
	}),
	On(func(r *row, e patient.Consented, _ Envelope) {
		r.ConsentedOn, r.ConsentVersion = e.On, e.ConsentVersion
		if r.Status == patient.StatusScreened {
			r.Status = patient.StatusConsented
		}
	}),
	On(func(r *row, e patient.ScreenFailed, _ Envelope) {
		r.Status, r.EndedOn, r.EndReason = patient.StatusScreenFailed, e.On, e.Reason
	}),
	On(func(r *row, _ patient.EnrollmentRequested, _ Envelope) {
		r.Status, r.EndReason = patient.StatusEnrolling, ""
	}),
	On(func(r *row, e patient.Enrolled, _ Envelope) {
		r.Status, r.EnrolledOn, r.PatientNumber = patient.StatusEnrolled, e.On, e.PatientNumber
	}),
	On(func(r *row, e patient.EnrollmentFailed, _ Envelope) {
		r.Status, r.EndReason = patient.StatusEnrollmentFailed, e.Reason
	}),
	On(func(r *row, e patient.ConsentWithdrawn, _ Envelope) {
		r.Status, r.EndedOn, r.EndReason = patient.StatusWithdrawn, e.On, e.Reason
	}),
	On(func(r *row, e patient.Discontinued, _ Envelope) {
		r.Status, r.EndedOn, r.EndReason = patient.StatusDiscontinued, e.On, e.Reason
	}),
	On(func(r *row, e patient.Completed, _ Envelope) { r.Status, r.EndedOn = patient.StatusCompleted, e.On }),
	On(func(r *row, e diary.Submitted, _ Envelope) {
		if captured := e.CapturedAt.UTC(); r.LastDiaryAt == nil || r.LastDiaryAt.Before(captured) {
			r.LastDiaryAt = &captured
		}
		r.Compliance.Answered(e.Late, e.AfterMissed)
	}),
	On(func(r *row, _ diary.WindowMissed, _ Envelope) { r.Compliance.WasMissed() }),
	On(func(r *row, _ diary.RiskFlagged, _ Envelope) { r.Risks++ }),
).OfPatient(ofPatientAndDiary)
