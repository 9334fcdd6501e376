package patient

import (
	"casebook/domain/patient"
	"casebook/projections"
	patientviews "casebook/readmodels/patient"
)

type reconsent = patientviews.ReconsentRow

// Reconsents makes one document per patient, with the version that the patient follows, and the consent that the patient was asked to
// sign again last.
var Reconsents = projections.New(patientviews.Reconsents, projections.ByPatient,
	projections.On(func(r *reconsent, e patient.Screened, at projections.Envelope) {
		r.Patient, r.Study, r.Site, r.At = e.Patient, at.Metadata.Study, e.Site, e.Site
		goesOn(r, e)
	}),
	projections.On(func(r *reconsent, e patient.EnrollmentRequested, _ projections.Envelope) {
		r.Follows = e.Protocol
		goesOn(r, e)
	}),
	projections.On(func(r *reconsent, e patient.ProtocolVersionApplied, at projections.Envelope) {
		if r.Follows = e.To; e.Reconsent != nil {
			r.Reconsent = patientviews.Asked(*e.Reconsent)
		}
		r.Remember(at.Metadata.RecordedAt)
	}),
	projections.On(func(r *reconsent, e patient.ConsentRecorded, at projections.Envelope) {
		changed(r, at, e, func() { r.Signed(e) })
	}),
	projections.On(func(r *reconsent, e patient.ConsentVoided, at projections.Envelope) {
		changed(r, at, e, func() { r.Voided(e) })
	}),
	projections.On(func(r *reconsent, e patient.ReconsentRefused, at projections.Envelope) {
		changed(r, at, e, func() { r.Refused(e) })
	}),
	projections.On(func(r *reconsent, e patient.Transferred, at projections.Envelope) {
		r.Site, r.At = e.To, e.To
		r.Remember(at.Metadata.RecordedAt)
	}),
	ends[patient.Enrolled](),
	ends[patient.EnrollmentFailed](),
	ends[patient.ScreenFailureRecorded](),
	ends[patient.RegistrationVoided](),
	ends[patient.ConsentWithdrawn](),
	ends[patient.Discontinued](),
	ends[patient.Completed](),
	ends[patient.ParticipationEnded](),
	ends[patient.StepUndone](),
)

// ends is On for events that may begin or end the participation, or undo its end.
func ends[E patient.Event]() projections.Fold[reconsent] {
	return projections.On(func(r *reconsent, e E, at projections.Envelope) { changed(r, at, e, func() { r.Ended(e) }) })
}

// changed remembers a state that is new.
func changed(r *reconsent, at projections.Envelope, e patient.Event, change func()) {
	state, enrolled := r.State, r.Enrolled
	change()
	if goesOn(r, e); r.State != state || r.Enrolled != enrolled {
		r.Remember(at.Metadata.RecordedAt)
	}
}

// goesOn notes the patient's status after an event.
func goesOn(r *reconsent, e patient.Event) {
	r.Status = r.Status.After(e)
	r.Enrolled = r.Status == patient.StatusEnrolled
}
