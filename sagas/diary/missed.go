package diary

import (
	"fmt"

	"casebook/domain/diary"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/eventlog"
	"casebook/sagas"
)

// missed is what the follow-up of a missed window remembers: nothing.
type missed struct{}

// Missed is the process that raises an alert about a patient who misses one window after another. How many they were is
// for the decision to count.
var Missed = sagas.Define("missed-diaries",
	sagas.Sends(safety.RaiseAlert{}),
	sagas.On(byNewAlert, missed.windowMissed),
)

func byNewAlert(_ diary.WindowMissed, at eventlog.Recorded) []string {
	return sagas.Instance(sagas.AlertFrom(at.Metadata.Study, at.ID.String()).Alert)
}

func (s missed) windowMissed(e diary.WindowMissed, o sagas.Occurrence) (sagas.Reaction[missed], bool) {
	return sagas.Reaction[missed]{State: s, Stage: "looked at", Outcome: process.Completed, Commands: []any{
		safety.RaiseAlert{OfAlert: sagas.AlertFrom(o.Study, o.ID), Study: o.Study, Site: o.Site, Patient: e.Patient,
			Kind: safety.DiariesMissed, Severity: safety.Routine, Summary: fmt.Sprintf("Patient %s misses one diary after another.", e.Patient),
			Source: o.ID, OccurredAt: o.At, Instrument: e.Instrument, Window: e.Window.ID}}}, true
}
