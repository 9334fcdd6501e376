package patient

import (
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/projections"
	patientviews "casebook/readmodels/patient"
)

type row = patientviews.PatientRow

// PatientList makes a line a patient for lists.
var PatientList = projections.New(patientviews.PatientLists, projections.ByPatient,
	active(func(r *row, e patient.Screened) {
		r.Patient, r.Study, r.Site, r.ScreeningNumber = e.Patient, e.Study, e.Site, e.ScreeningNumber
		r.Status, r.ScreenedOn = patient.StatusScreened, e.On
	}),
	active(func(r *row, e patient.ConsentRecorded) {
		r.ConsentedOn, r.ConsentVersion = e.On, e.ConsentVersion
		if r.Status == patient.StatusScreened {
			r.Status = patient.StatusConsented
		}
	}),
	active(func(r *row, e patient.ScreenFailureRecorded) {
		r.Status, r.EndedOn, r.EndReason = patient.StatusScreenFailed, e.On, e.Reason
	}),
	active(func(r *row, _ patient.EnrollmentRequested) {
		r.Status, r.EndReason = patient.StatusEnrolling, ""
	}),
	active(func(r *row, e patient.Enrolled) {
		r.Status, r.EnrolledOn, r.PatientNumber = patient.StatusEnrolled, e.On, e.PatientNumber
	}),
	active(func(r *row, e patient.EnrollmentFailed) {
		r.Status, r.EndReason = patient.StatusEnrollmentFailed, e.Reason
	}),
	active(func(*row, patient.VisitRecorded) {}),
	active(func(r *row, e patient.ConsentWithdrawn) {
		r.Status, r.EndedOn, r.EndReason = patient.StatusWithdrawn, e.On, e.Reason
	}),
	active(func(r *row, e patient.Discontinued) {
		r.Status, r.EndedOn, r.EndReason = patient.StatusDiscontinued, e.On, e.Reason
	}),
	active(func(r *row, e patient.Completed) { r.Status, r.EndedOn = patient.StatusCompleted, e.On }),
	active(func(r *row, e diary.Submitted) {
		if captured := e.CapturedAt.UTC(); r.LastDiaryAt == nil || r.LastDiaryAt.Before(captured) {
			r.LastDiaryAt = &captured
		}
		r.Compliance.Answered(e.Late, e.AfterMissed)
	}),
	projections.On(func(r *row, _ diary.WindowMissed, _ projections.Envelope) { r.Compliance.WasMissed() }),
	projections.On(func(r *row, _ diary.RiskFlagged, _ projections.Envelope) { r.Risks++ }),
).OfPatient(patient.Decider.Stream, diary.Decider.Stream)

// active is On for what patient or site have done. That nothing came of a window is not.
func active[E any](fold func(*row, E)) projections.Fold[row] {
	return projections.On(func(r *row, e E, at projections.Envelope) {
		r.LastActivityAt = at.Metadata.RecordedAt
		fold(r, e)
	})
}
