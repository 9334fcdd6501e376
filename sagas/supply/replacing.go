package supply

import (
	"casebook/domain/process"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"
)

// replacing is what the process of a replacement at another site remembers: nothing.
type replacing struct{}

// Replacing is the process that asks the present site of a patient for a kit in place of one that the patient brought along and cannot
// use. If there is none, the patient waits as others do.
var Replacing = sagas.Define("replacing",
	sagas.Sends(supply.AllocateKit{}),
	sagas.On(askedElsewhere, replacing.asked),
).OfPatients()

// askedElsewhere names the instance of a patient who was transferred since the kit was given out.
func askedElsewhere(e supply.KitReplacementAsked, at eventlog.Recorded) []string {
	if e.At == "" {
		return nil
	}
	return sagas.ByPatient(e, at)
}

func (s replacing) asked(e supply.KitReplacementAsked, _ sagas.Occurrence) (sagas.Reaction[replacing], bool) {
	return sagas.Reaction[replacing]{State: s, Stage: "asked for at the patient's site", Outcome: process.Completed,
		Commands: allocate(e.Study, e.At, e.Patient, e.Visit)}, true
}
