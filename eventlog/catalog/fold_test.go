package catalog_test

import (
	"reflect"
	"testing"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/projection"
	"casebook/domain/randomisation"
	"casebook/domain/safety"
	"casebook/domain/scenario"
	"casebook/domain/security"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/eventlog/catalog"
)

// changesNothing are the events that are recorded for people to read, and that no decision depends on.
var changesNothing = map[string]bool{
	"BlindBroken": true, "StockRefused": true, "ResupplyFellShort": true, "PlaceRefused": true, "RiskFlagged": true, "DiaryCorrected": true, "AccessRefused": true, "RefusalsDropped": true,
}

// folds are the categories whose streams fold to a state.
var folds = map[string]func(events ...any) string{
	study.Decider.Category:      pictureOf(study.Decider),
	instrument.Decider.Category: pictureOf(instrument.Decider),
	enrollment.Decider.Category: pictureOf(enrollment.Decider),
	patient.Decider.Category:    pictureOf(patient.Decider),
	diary.Decider.Category:      pictureOf(diary.Decider),
	user.Decider.Category:       pictureOf(user.Decider),
	security.Decider.Category:   pictureOf(security.Decider),

	randomisation.Decider.Category: pictureOf(randomisation.Decider),
	supply.Decider.Category:        pictureOf(supply.Decider),
	supply.StockDecider.Category:   pictureOf(supply.StockDecider),
	safety.Decider.Category:        pictureOf(safety.Decider),
	process.Decider.Category:       pictureOf(process.Decider),
	process.ParkedDecider.Category: pictureOf(process.ParkedDecider),
	projection.Decider.Category:    pictureOf(projection.Decider),
}

func pictureOf[S, E any](decider domain.Decider[S, E]) func(...any) string {
	return func(events ...any) string {
		state := decider.Initial
		for _, e := range events {
			state = decider.Evolve(state, e.(E))
		}
		return scenario.Picture(state)
	}
}

// TestR21_EveryEventIsFolded finds for every registered event a past, of no event or of one other, in which it changes
// the state. An event that no Evolve knows of would be recorded and have no effect.
func TestR21_EveryEventIsFolded(t *testing.T) {
	registry := catalog.New()
	samples := map[string][]any{}
	for _, s := range registry.Schemas() {
		samples[s.Category] = append(samples[s.Category], sample(s.GoType()))
	}
	for category, events := range samples {
		fold := folds[category]
		if fold == nil {
			if category != process.Category {
				t.Errorf("nothing folds the category %s", category)
			}
			continue
		}
		for _, e := range events {
			name, _ := registry.NameOf(e)
			changed := fold() != fold(e)
			for _, before := range events {
				changed = changed || fold(before) != fold(before, e)
			}
			if changed == changesNothing[name] {
				t.Errorf("%s changes the state: %v; it should: %v", name, changed, !changed)
			}
		}
	}
}

// sample is an event with all fields filled, the same ones in every event of a stream.
func sample(goType reflect.Type) any {
	const window = "2026-03-02/evening"
	pain := instrument.PainDiary()
	switch goType {
	case reflect.TypeFor[diary.InstrumentAssigned]():
		return diary.InstrumentAssigned{Instrument: *pain, Zone: "Europe/Berlin", From: "2026-03-01", Until: "2026-03-31"}
	case reflect.TypeFor[diary.Submitted]():
		return diary.Submitted{Instrument: pain.ID, Window: diary.Window{ID: window}}
	case reflect.TypeFor[diary.WindowMissed]():
		return diary.WindowMissed{Instrument: pain.ID, Window: diary.Window{ID: window}}
	case reflect.TypeFor[diary.Corrected]():
		return diary.Corrected{Instrument: pain.ID, Window: window}
	case reflect.TypeFor[diary.ReminderDue]():
		return diary.ReminderDue{Instrument: pain.ID, Window: diary.Window{ID: window}}
	case reflect.TypeFor[diary.RiskFlagged]():
		return diary.RiskFlagged{Instrument: pain.ID, Window: window}
	}
	value := reflect.New(goType).Elem()
	fill(value, "", 0)
	return value.Interface()
}
