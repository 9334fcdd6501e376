package patient

import (
	"casebook/domain"
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
		r.RescreeningOf, r.Sites = e.RescreeningOf, r.Sites.Since(r.LastActivityAt, e.Site)
		r.Numbers = []string{domain.Folded(e.ScreeningNumber)}
	}),
	ofPatient(func(r *row, e patient.ConsentRecorded) {
		if !e.Superseded {
			r.ConsentedOn, r.ConsentVersion = e.On, e.ConsentVersion
		}
	}),
	ofPatient(func(r *row, e patient.ProtocolVersionApplied) { r.ProtocolVersion = e.To }),
	ofPatient(func(*row, patient.ReconsentRefused) {}),
	ofPatient(func(r *row, e patient.ScreenFailureRecorded) { r.EndedOn, r.EndReason = e.On, string(e.Reason) }),
	ofPatient(func(r *row, e patient.EnrollmentRequested) {
		r.EndReason, r.ProtocolVersion = "", e.Protocol
	}),
	ofPatient(func(r *row, e patient.Enrolled) {
		r.EnrolledOn, r.PatientNumber, r.RandomisedOn = e.On, e.PatientNumber, e.RandomisedOn
		r.Numbers = []string{domain.Folded(r.ScreeningNumber), domain.Folded(e.PatientNumber)}
	}),
	ofPatient(func(*row, patient.RandomisationRequested) {}),
	ofPatient(func(r *row, e patient.RandomisationConfirmed) { r.RandomisedOn, r.Stage = e.On, e.Stage }),
	ofPatient(func(*row, patient.RandomisationNotPossible) {}),
	ofPatient(func(r *row, e patient.EnrollmentFailed) { r.EndReason = string(e.Reason) }),
	ofPatient(func(*row, patient.VisitRecorded) {}),
	ofPatient(func(r *row, e patient.ConsentWithdrawn) {
		r.Withdrawn = append(r.Withdrawn, e.Extent...)
		if e.EndsParticipation {
			ended(r, e.On, patient.EndedBySubject, string(e.Reason))
		}
		treatedUntil(r, e.On, patient.EndedBySubject)
	}),
	ofPatient(func(r *row, e patient.Discontinued) {
		ended(r, e.On, e.CodedReason(), string(e.Reason))
		treatedUntil(r, e.On, e.CodedReason())
	}),
	ofPatient(func(r *row, e patient.Completed) {
		ended(r, e.On, patient.EndedAsPlanned, "")
		treatedUntil(r, e.On, patient.EndedAsPlanned)
	}),
	ofPatient(func(r *row, e patient.ParticipationEnded) {
		ended(r, e.On, e.Reason, string(e.Detail))
		treatedUntil(r, e.On, e.Reason)
	}),
	ofPatient(func(r *row, e patient.TreatmentDiscontinued) { treatedUntil(r, e.On, e.Reason) }),
	ofPatient(func(*row, patient.DoseHeld) {}),
	ofPatient(func(*row, patient.DoseResumed) {}),
	ofPatient(func(r *row, e patient.StepUndone) {
		if r.EndedOn = e.EndedOn; e.EndedOn == "" {
			r.EndCode, r.EndReason = "", ""
		}
		if r.TreatmentEndedOn = e.TreatmentEndedOn; e.TreatmentEndedOn == "" {
			r.TreatmentEndCode = ""
		}
		r.Withdrawn = e.Withdrawn
	}),
	ofPatient(func(r *row, e patient.Unblinded) {
		if at := e.At.UTC(); r.UnblindedAt == nil || r.UnblindedAt.Before(at) {
			r.Unblinded, r.UnblindedAt = e.Kind, &at
		}
	}),
	ofPatient(func(r *row, e patient.RegistrationVoided) { r.EndedOn, r.EndReason = e.ScreenedOn, string(e.Reason) }),
	ofPatient(func(*row, patient.DeviationCandidateDismissed) {}),
	ofPatient(func(r *row, e patient.Transferred) { r.Site, r.Sites = e.To, r.Sites.Since(r.LastActivityAt, e.To) }),
	ofPatient(func(*row, patient.EligibilityOverridden) {}),
	ofPatient(func(r *row, _ patient.ProtocolDeviationRecorded) { r.Deviations++ }),
	ofPatient(func(*row, patient.VisitDateCorrected) {}),
	ofPatient(func(*row, patient.VisitVoided) {}),
	ofPatient(func(*row, patient.VisitSkipped) {}),
	ofPatient(func(*row, patient.DoseChanged) {}),
	ofPatient(func(r *row, e patient.ConsentDateCorrected) {
		if e.ConsentVersion == r.ConsentVersion {
			r.ConsentedOn = e.To
		}
	}),
	ofPatient(func(r *row, e patient.ConsentVoided) { r.ConsentedOn, r.ConsentVersion = e.LastOn, e.Last }),
	ofPatient(func(*row, patient.DeviationCandidateJudgedAgain) {}),
	ofPatient(func(*row, patient.Rescreened) {}),
	ofPatient(func(*row, patient.DosingJudged) {}),
	ofPatient(func(r *row, e patient.EnrollmentDateCorrected) { r.EnrolledOn = e.To }),
	ofPatient(func(r *row, e patient.ScreeningDateCorrected) { r.ScreenedOn = e.To }),
	ofPatient(func(r *row, e patient.EndDateCorrected) {
		r.EndedOn, r.TreatmentEndedOn = e.EndedOn, e.TreatmentEndedOn
	}),
	ofPatient(func(*row, patient.AgeCorrected) {}),
	ofPatient(func(*row, patient.SexCorrected) {}),
	ofPatient(func(*row, patient.ZoneChanged) {}),
	projections.On(func(r *row, e diary.Submitted, at projections.Envelope) {
		r.LastActivityAt = at.Metadata.RecordedAt
		captured := e.CapturedAt.UTC()
		if e.InFuture { // by a wrong clock, so that no later diary would be the newest
			captured = e.Window.Opens.UTC()
		}
		if r.LastDiaryAt == nil || r.LastDiaryAt.Before(captured) {
			r.LastDiaryAt = &captured
		}
		r.Compliance.Answered(e)
	}),
	projections.On(func(r *row, e diary.Voided, at projections.Envelope) {
		r.LastActivityAt = at.Metadata.RecordedAt
		r.Compliance.Void(e)
	}),
	projections.On(func(r *row, _ diary.Held, at projections.Envelope) {
		r.LastActivityAt = at.Metadata.RecordedAt
		r.Compliance.Held++
	}),
	projections.On(func(r *row, _ diary.WindowMissed, _ projections.Envelope) { r.Compliance.WasMissed() }),
	projections.On(func(r *row, _ diary.RiskFlagged, _ projections.Envelope) { r.Risks++ }),
).OfPatient(patient.Decider.Stream, diary.Decider.Stream)

// ofPatient is On for the events of a patient's stream. They count as activity of the patient or the site, and they decide
// the status, the treatment and the phase.
func ofPatient[E patient.Event](fold func(*row, E)) projections.Fold[row] {
	return projections.On(func(r *row, e E, at projections.Envelope) {
		before := r.Treatment
		r.LastActivityAt, r.Status, r.Treatment = at.Metadata.RecordedAt, r.Status.After(e), r.Treatment.After(e)
		if r.Treatment == patient.TreatmentEnded && before != patient.TreatmentEnded {
			r.TreatmentEndedOn = "" // the fold sets it
		}
		r.Extended = patient.Extended(r.Extended, e)
		r.Phase = patient.PhaseOf(r.Status, r.Treatment, r.Extended)
		r.Open = r.Open.After(e)
		r.Candidates = len(r.Open)
		fold(r, e)
	})
}

// ended notes the end of the participation.
func ended(r *row, on domain.Date, code patient.EndReason, reason string) {
	r.EndedOn, r.EndCode, r.EndReason = on, code, reason
}

// treatedUntil notes the end of the treatment, if it has just ended.
func treatedUntil(r *row, on domain.Date, code patient.EndReason) {
	if r.Treatment == patient.TreatmentEnded && r.TreatmentEndedOn == "" {
		r.TreatmentEndedOn, r.TreatmentEndCode = on, code
	}
}
