// Package instrument declares the commands on a study's instruments.
package instrument

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/study"
)

// Commands are the commands on a study's instruments.
var Commands = []commands.Command{
	commands.HandleKnowing(instrument.Decider, publication, instrument.Publish).
		In(wellFormed).
		AllowedTo(access.DataManagers, access.Processes).
		Described("Publish a version of an instrument, for protocols to refer to",
			instrument.PublishInstrument{InStudy: domain.ForStudy("PAIN1"), Instrument: Example}),
	commands.HandleKnowing(instrument.Decider, brought, instrument.Record).
		AllowedTo(access.Processes),
}

// brought is what the study's protocols say about an instrument that one of them has brought.
func brought(ctx context.Context, reader commands.Look, c instrument.RecordInstrument) (instrument.Publication, error) {
	s, err := commands.Newest(ctx, reader, study.Decider, string(c.Study))
	return s.Publication(c.Instrument), err
}

// publication is what the study's protocols say about the instrument.
func publication(ctx context.Context, reader commands.Look, c instrument.PublishInstrument) (instrument.Publication, error) {
	s, err := commands.Newest(ctx, reader, study.Decider, string(c.Study))
	return s.Publication(c.Instrument.ID), err
}

// wellFormed is the study's scope, for a definition that is well formed: the instrument's id becomes part of a stream's
// name, so it is checked before any state is read.
func wellFormed(_ context.Context, _ commands.Look, c instrument.PublishInstrument) (domain.Scope, error) {
	return domain.Scope{Study: c.Study}, domain.First(c.Study.Validate(), c.Instrument.Validate())
}

// Example is an instrument that patients answer every evening.
var Example = instrument.Definition{ID: "pain-short", Version: 1, Title: "Pain today", Source: "Own wording",
	Items: []instrument.Item{{ID: "worst", Text: "How strong was your pain today at its worst?", Type: instrument.Integer,
		Min: new(0.0), Max: new(10.0), Required: true}},
	Schedule: instrument.Schedule{EveryDays: 1, Windows: []instrument.DayWindow{{ID: "evening", Opens: "18:00", Closes: "00:00"}},
		Late: instrument.LatePolicy{AcceptHours: 12, SyncHours: 36}}}
