package commands_test

import (
	"testing"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/study"
)

// TestProtocolRefersToAPublishedInstrument publishes an instrument by itself, refers to it from an amendment, and assigns
// it to a patient.
func TestProtocolRefersToAPublishedInstrument(t *testing.T) {
	tr := newTrial(t, run(t))
	definition := *instrument.PHQ9()
	publish := instrument.PublishInstrument{InStudy: domain.ForStudy(tr.study), Instrument: definition}
	published := tr.must(tr.manager, publish)
	if want := instrument.StreamOf(tr.study, definition.ID); published.Stream != want {
		t.Errorf("it was recorded in %s, want %s", published.Stream, want)
	}
	if again := tr.must(tr.manager, publish); len(again.Events) != 0 {
		t.Errorf("the same content was recorded again: %+v", again.Events)
	}
	hash := published.Events[0].Data.(instrument.Published).SHA256
	amendment := func(hash string) study.PublishProtocolVersion {
		return study.PublishProtocolVersion{InStudy: domain.ForStudy(tr.study), Protocol: study.Protocol{Version: 2, ConsentVersion: "1.0",
			InstrumentReferences: []instrument.Reference{{ID: definition.ID, Version: definition.Version, SHA256: hash}}}}
	}
	tr.refused("instrument_hash_mismatch", tr.manager, amendment("2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"))
	tr.must(tr.manager, amendment(hash))
	tr.must(tr.crc, patient.ApplyProtocolVersion{OfPatient: domain.ForPatient(tr.patient), Version: 2, On: domain.DateOf(now)})
	assigned := tr.must(tr.crc, diary.AssignInstrument{OfPatient: domain.ForPatient(tr.patient), Instrument: definition.ID,
		From: "2026-03-10", Until: "2026-04-10"})
	if got := assigned.Events[0].Data.(diary.InstrumentAssigned).Instrument; got.Title != definition.Title {
		t.Errorf("%q was assigned, want %q", got.Title, definition.Title)
	}
}

// TestInstrumentsOfAProtocolGetStreamsOfTheirOwn sends what the process of instruments sends.
func TestInstrumentsOfAProtocolGetStreamsOfTheirOwn(t *testing.T) {
	tr := newTrial(t, run(t))
	record := instrument.RecordInstrument{InStudy: domain.ForStudy(tr.study), Instrument: painDiary, Version: instrument.PainDiary().Version}
	recorded := tr.must(access.Process("instrument-recording"), record)
	if len(recorded.Events) != 1 || recorded.Events[0].Type != "InstrumentPublished" {
		t.Errorf("recorded were %+v", recorded.Events)
	}
	if again := tr.must(access.Process("instrument-recording"), record); len(again.Events) != 0 {
		t.Errorf("it was recorded again: %+v", again.Events)
	}
	record.Version = 99
	tr.refused("unknown_instrument_version", access.Process("instrument-recording"), record)
}
