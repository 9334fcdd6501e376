package patient

import (
	"casebook/domain/patient"
	"casebook/projections"
	patientviews "casebook/readmodels/patient"
)

type reconsent = patientviews.ReconsentRow

// Reconsents makes one document per patient, with the consent that the patient was asked to sign again last.
var Reconsents = projections.New(patientviews.Reconsents, projections.ByPatient,
	projections.On(func(r *reconsent, e patient.ProtocolVersionApplied, at projections.Envelope) {
		if e.Reconsent == nil {
			return
		}
		r.Patient, r.Study, r.Site, r.Reconsent = e.Patient, at.Metadata.Study, at.Metadata.Site, patientviews.Asked(*e.Reconsent)
		r.Remember(at.Metadata.RecordedAt)
	}),
	projections.On(func(r *reconsent, e patient.ConsentRecorded, at projections.Envelope) {
		changed(r, at, func() { r.Signed(e) })
	}),
	projections.On(func(r *reconsent, e patient.ConsentVoided, at projections.Envelope) {
		changed(r, at, func() { r.Voided(e) })
	}),
	projections.On(func(r *reconsent, e patient.ReconsentRefused, at projections.Envelope) {
		changed(r, at, func() { r.Refused(e) })
	}),
	projections.On(func(r *reconsent, e patient.Transferred, _ projections.Envelope) {
		if r.Study != "" {
			r.Site = e.To
		}
	}),
	ends[patient.ConsentWithdrawn](),
	ends[patient.Discontinued](),
	ends[patient.Completed](),
	ends[patient.ParticipationEnded](),
	ends[patient.StepUndone](),
)

// ends is On for events that may end the participation, or undo its end.
func ends[E patient.Event]() projections.Fold[reconsent] {
	return projections.On(func(r *reconsent, e E, at projections.Envelope) { changed(r, at, func() { r.Ended(e) }) })
}

// changed remembers a state that is new.
func changed(r *reconsent, at projections.Envelope, change func()) {
	before := r.State
	if change(); r.State != before {
		r.Remember(at.Metadata.RecordedAt)
	}
}
