// Package instrument holds the process that gives instruments streams of their own.
package instrument

import (
	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/eventlog"
	"casebook/sagas"
)

// Processes are the processes of this context.
var Processes = []sagas.Process{Recording}

// recording is what the process remembers of a study: nothing.
type recording struct{}

// Recording is the process that publishes the instruments which a protocol has brought itself, each in a stream of its own.
var Recording = sagas.Define("instrument-recording",
	sagas.Sends(instrument.RecordInstrument{}),
	sagas.On(func(e study.ProtocolVersionPublished, _ eventlog.Recorded) []string { return sagas.Instance(e.Study) }, recording.published),
	sagas.OnRefusal[instrument.RecordInstrument](recording.refused),
)

func (s recording) published(e study.ProtocolVersionPublished, _ sagas.Occurrence) (sagas.Reaction[recording], bool) {
	if len(e.Protocol.Instruments) == 0 {
		return sagas.Reaction[recording]{}, false
	}
	r := sagas.Reaction[recording]{State: s, Stage: "recorded", Outcome: process.Completed}
	for _, d := range e.Protocol.Instruments {
		r.Commands = append(r.Commands, instrument.RecordInstrument{InStudy: domain.ForStudy(e.Study), Instrument: d.ID, Version: d.Version})
	}
	return r, true
}

// refused notes that the instrument's stream has other content under the version, which only an older program allowed.
func (s recording) refused(why *refuse.Refusal, _ sagas.Occurrence) (sagas.Reaction[recording], bool) {
	return sagas.Reaction[recording]{State: s, Stage: "recorded in part", Note: why.Sentence, Outcome: process.Failed}, true
}
