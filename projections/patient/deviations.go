package patient

import (
	"fmt"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/projections"
	patientviews "casebook/readmodels/patient"
)

type deviation = patientviews.DeviationRow

// Deviations makes one document per recorded deviation, and one per candidate.
var Deviations = projections.New(patientviews.Deviations, projections.KeysOfSome(func(e patient.Event,
	at projections.Envelope) (keys []string) {
	if _, visited := e.(patient.VisitRecorded); visited && patient.ProposalOf(e).What == "" {
		return nil // most visits are as planned
	}
	if voided, is := e.(patient.RegistrationVoided); is {
		for _, id := range voided.Candidates {
			keys = append(keys, patientviews.CandidateKey(projections.PatientOf(at), id))
		}
	}
	if id := patient.ProposalOf(e).ID; id != "" {
		keys = append(keys, patientviews.CandidateKey(projections.PatientOf(at), id))
	}
	if _, recorded := e.(patient.ProtocolDeviationRecorded); recorded {
		keys = append(keys, fmt.Sprintf("%s@%d", projections.PatientOf(at), at.Revision))
	}
	return keys
}),
	proposal(func(e patient.EnrollmentRequested) domain.Date { return e.On }),
	proposal(func(e patient.VisitRecorded) domain.Date { return e.On }),
	proposal(func(patient.VisitSkipped) domain.Date { return "" }),
	proposal(func(e patient.VisitDateCorrected) domain.Date { return e.To }),
	proposal(func(e patient.VisitVoided) domain.Date { return e.On }),
	proposal(func(e patient.ConsentDateCorrected) domain.Date { return e.To }),
	proposal(func(e patient.ConsentVoided) domain.Date { return e.On }),
	proposal(func(e patient.DeviationCandidateJudgedAgain) domain.Date { return e.On }),
	proposal(func(e patient.DosingJudged) domain.Date { return e.On }),
	proposal(func(e patient.EnrollmentDateCorrected) domain.Date { return e.To }),
	proposal(func(patient.AgeCorrected) domain.Date { return "" }),
	proposal(func(patient.SexCorrected) domain.Date { return "" }),
	projections.On(func(d *deviation, e patient.ProtocolDeviationRecorded, at projections.Envelope) {
		status := patientviews.DeviationIsRecorded
		if e.Candidate != "" && d.ID == patientviews.CandidateKey(e.Patient, e.Candidate) {
			status = patientviews.DeviationConfirmed
		}
		d.What, d.Important, d.Candidate, d.Reason = e.What, e.Important, e.Candidate, string(e.Reason)
		noteDeviation(d, at, status, e.FoundOn)
	}),
	projections.On(func(d *deviation, e patient.DeviationCandidateDismissed, at projections.Envelope) {
		d.Reason = string(e.Reason)
		noteDeviation(d, at, patientviews.DeviationDismissed, d.On)
	}),
	projections.On(func(d *deviation, _ patient.RegistrationVoided, at projections.Envelope) {
		noteDeviation(d, at, patientviews.DeviationObsolete, d.On)
	}),
)

// proposal folds an event that may make a candidate, or end one. Nothing is kept of what was never one.
func proposal[E patient.Event](on func(E) domain.Date) projections.Fold[deviation] {
	return projections.On(func(d *deviation, e E, at projections.Envelope) {
		is := patient.ProposalOf(e)
		switch {
		case is.What != "":
			d.Candidate, d.What, d.Important, d.Reason = is.ID, is.What, false, ""
			noteDeviation(d, at, patientviews.DeviationProposed, on(e))
		case d.Status == patientviews.DeviationProposed:
			noteDeviation(d, at, patientviews.DeviationObsolete, on(e))
		}
	})
}

// noteDeviation sets what every line has, and remembers what is known now.
func noteDeviation(d *deviation, at projections.Envelope, status patientviews.DeviationStatus, on domain.Date) {
	d.Study, d.Site, d.Patient = at.Metadata.Study, at.Metadata.Site, projections.PatientOf(at)
	d.Status, d.On, d.By, d.RecordedAt = status, on, at.Metadata.Actor, at.Metadata.RecordedAt
	d.Past = d.Past.Since(d.RecordedAt, d.DeviationState)
}
