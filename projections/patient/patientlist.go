package patient

import (
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/projections"
	patientviews "casebook/readmodels/patient"
)

type row = patientviews.PatientRow

// PatientList makes one document per patient, a line of a list.
var PatientList = projections.New(patientviews.PatientLists, projections.ByPatient,
	ofPatient(func(r *row, e patient.Screened) {
		r.Patient, r.Study, r.Site, r.ScreeningNumber, r.ScreenedOn = e.Patient, e.Study, e.Site, e.ScreeningNumber, e.On
	}),
	ofPatient(func(r *row, e patient.ConsentRecorded) { r.ConsentedOn, r.ConsentVersion = e.On, e.ConsentVersion }),
	ofPatient(func(r *row, e patient.ScreenFailureRecorded) { r.EndedOn, r.EndReason = e.On, e.Reason }),
	ofPatient(func(r *row, _ patient.EnrollmentRequested) { r.EndReason = "" }),
	ofPatient(func(r *row, e patient.Enrolled) { r.EnrolledOn, r.PatientNumber = e.On, e.PatientNumber }),
	ofPatient(func(r *row, e patient.EnrollmentFailed) { r.EndReason = e.Reason }),
	ofPatient(func(*row, patient.VisitRecorded) {}),
	ofPatient(func(r *row, e patient.ConsentWithdrawn) { r.EndedOn, r.EndReason = e.On, e.Reason }),
	ofPatient(func(r *row, e patient.Discontinued) { r.EndedOn, r.EndReason = e.On, e.Reason }),
	ofPatient(func(r *row, e patient.Completed) { r.EndedOn = e.On }),
	projections.On(func(r *row, e diary.Submitted, at projections.Envelope) {
		r.LastActivityAt = at.Metadata.RecordedAt
		if captured := e.CapturedAt.UTC(); r.LastDiaryAt == nil || r.LastDiaryAt.Before(captured) {
			r.LastDiaryAt = &captured
		}
		r.Compliance.Answered(e.Late, e.AfterMissed)
	}),
	projections.On(func(r *row, _ diary.WindowMissed, _ projections.Envelope) { r.Compliance.WasMissed() }),
	projections.On(func(r *row, _ diary.RiskFlagged, _ projections.Envelope) { r.Risks++ }),
).OfPatient(patient.Decider.Stream, diary.Decider.Stream)

// ofPatient is On for the events of a patient's stream. They count as activity of the patient or the site, and they decide
// the status.
func ofPatient[E patient.Event](fold func(*row, E)) projections.Fold[row] {
	return projections.On(func(r *row, e E, at projections.Envelope) {
		r.LastActivityAt, r.Status = at.Metadata.RecordedAt, r.Status.After(e)
		fold(r, e)
	})
}
