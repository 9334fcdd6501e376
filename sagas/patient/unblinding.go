package patient

import (
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/study"
	"casebook/eventlog"
	"casebook/sagas"
)

// unblinding is what the process remembers of a patient: nothing.
type unblinding struct{}

// Unblinding is the process that marks a patient whose arm has become known to somebody at the site or in the trial, so that what
// the protocol has follow is decided on the patient's stream. An unblinding for a safety report marks nobody: the site must not
// hear of it (Regulation (EU) 536/2014, Annex III, 2.4).
var Unblinding = sagas.Define("unblinding",
	sagas.Sends(patient.MarkUnblinded{}),
	sagas.On(notForSafetyReport, unblinding.broken),
).OfPatients()

func notForSafetyReport(e randomisation.BlindBroken, at eventlog.Recorded) []string {
	if e.Kind == study.UnblindedForSafetyReport {
		return nil
	}
	return sagas.ByPatient(e, at)
}

func (s unblinding) broken(e randomisation.BlindBroken, o sagas.Occurrence) (sagas.Reaction[unblinding], bool) {
	mark := patient.MarkUnblinded{OfPatient: domain.ForPatient(e.Patient), Kind: e.Kind, At: o.At, KnownTo: e.KnownTo}
	if e.Envelope != nil {
		mark.At = e.Envelope.OpenedAt
	}
	return sagas.Reaction[unblinding]{State: s, Stage: "marked", Outcome: process.Completed, Commands: []any{mark}}, true
}
