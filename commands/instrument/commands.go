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
	commands.HandleWithFacts(instrument.Decider, publication, instrument.Publish).
		AllowedTo(access.DataManagers, access.Processes).
		PreparedBy(wellFormed).
		Described("Publish a version of an instrument, for protocols to refer to",
			instrument.PublishInstrument{InStudy: domain.ForStudy("PAIN1"), Instrument: Example}),
	commands.HandleWithFacts(instrument.ImageDecider, ofStudy, instrument.BringImage).
		AllowedTo(access.DataManagers).
		Described("Bring an image into a study, for instruments to refer to by its SHA-256",
			instrument.PublishImage{InStudy: domain.ForStudy("PAIN1"), Content: exampleImage, Alt: "A grey dot"}),
	commands.HandleWithFacts(instrument.Decider, brought, instrument.Record).
		AllowedTo(access.Processes),
}

// brought is what the study's protocols say about an instrument that one of them has brought.
func brought(ctx context.Context, reader commands.Reader, c instrument.RecordInstrument) (instrument.Publication, error) {
	s, err := commands.ReadNewest(ctx, reader, study.Decider, string(c.Study))
	return s.Publication(c.Instrument), err
}

// publication is what the study's protocols say about the instrument.
func publication(ctx context.Context, reader commands.Reader, c instrument.PublishInstrument) (instrument.Publication, error) {
	s, err := commands.ReadNewest(ctx, reader, study.Decider, string(c.Study))
	facts := s.Publication(c.Instrument.ID)
	for _, hash := range c.Instrument.Images() {
		if err != nil {
			break
		}
		var image instrument.StudyImage
		if image, err = commands.Read(ctx, reader, instrument.ImageDecider, instrument.ImageStreamID(c.Study, hash)); image.Exists() {
			facts.Images = append(facts.Images, hash)
		}
	}
	return facts, err
}

// ofStudy is whether the study exists into which an image is brought.
func ofStudy(ctx context.Context, reader commands.Reader, c instrument.PublishImage) (instrument.Publication, error) {
	s, err := commands.Read(ctx, reader, study.Decider, string(c.Study))
	return instrument.Publication{StudyExists: s.Exists()}, err
}

// wellFormed refuses a definition that is not well formed. The instrument's id becomes part of a stream's name, so it is
// checked before the stream is read.
func wellFormed(_ context.Context, c *instrument.PublishInstrument) error {
	return c.Instrument.Validate()
}

// exampleImage is a PNG of one grey pixel.
var exampleImage = []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\b\x00\x00\x00\x00:~\x9bU" +
	"\x00\x00\x00\nIDATx\x9cch\x00\x00\x00\x82\x00\x81w\xcdr\xb6\x00\x00\x00\x00IEND\xaeB`\x82")

// Example is an instrument that patients answer every evening.
var Example = instrument.Definition{ID: "pain-short", Version: 1, Title: "Pain today", Source: "Own wording",
	Items: []instrument.Item{{ID: "worst", Text: "How strong was your pain today at its worst?", Type: instrument.Integer,
		Min: new(0.0), Max: new(10.0), Required: true}},
	Schedule: instrument.Schedule{EveryDays: 1, Windows: []instrument.DayWindow{{ID: "evening", Opens: "18:00", Closes: "00:00"}},
		Late: instrument.LatePolicy{AcceptHours: 12, SyncHours: 36}}}
