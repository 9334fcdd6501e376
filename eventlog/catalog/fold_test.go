package catalog_test

import (
	"reflect"
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/domain/build"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/scenario"
	"casebook/domain/user"
)

// TestR21_EveryEventIsFolded folds every registered event into the state of an empty stream, and of a stream with one
// other event. In one of these cases it has to change the state, unless it is declared as stateless. An event that
// Evolve ignores would be recorded and have no effect.
func TestR21_EveryEventIsFolded(t *testing.T) {
	for _, stream := range contexts.Streams() {
		if stream.State == nil {
			continue
		}
		picture := func(events ...any) string {
			state, err := stream.State(events...)
			if err != nil {
				t.Fatal(err)
			}
			return scenario.Picture(state)
		}
		var samples []any
		for _, event := range stream.Events {
			samples = append(samples, sample(event.Go))
		}
		for i, event := range stream.Events {
			changed := picture() != picture(samples[i])
			for _, before := range samples {
				changed = changed || picture(before) != picture(before, samples[i])
			}
			if changed == event.Stateless {
				t.Errorf("%s changes the state: %v, want %v: fold it in Evolve, or declare it with ForReaders if no decision needs it",
					event.Name, changed, !changed)
			}
		}
	}
}

// sample returns an event with all fields filled. The ids are the same in every event of a stream.
func sample(goType reflect.Type) any {
	const window = "2026-03-02/evening"
	pain := instrument.PainDiary()
	switch goType {
	case reflect.TypeFor[diary.InstrumentAssigned]():
		return diary.InstrumentAssigned{Instrument: *pain, Zone: "Europe/Berlin", From: "2026-03-01", Until: "2026-03-31"}
	case reflect.TypeFor[patient.ProtocolDeviationRecorded](): // of a corrected age
		return patient.ProtocolDeviationRecorded{Candidate: "age"}
	case reflect.TypeFor[patient.DeviationCandidateDismissed]():
		return patient.DeviationCandidateDismissed{Candidate: "age"}
	case reflect.TypeFor[build.FormPut]():
		return build.FormPut{Form: build.Form{ID: "VS"}}
	case reflect.TypeFor[build.PartRemoved]():
		return build.PartRemoved{Kind: build.PartForm, Part: "VS"}
	case reflect.TypeFor[diary.Submitted]():
		return diary.Submitted{Instrument: pain.ID, Window: diary.Window{ID: window}}
	case reflect.TypeFor[instrument.ImageContentRecorded]():
		return instrument.ImageContentRecorded{Content: "aW1hZ2U="}
	case reflect.TypeFor[diary.WindowMissed]():
		return diary.WindowMissed{Instrument: pain.ID, Window: diary.Window{ID: window}}
	case reflect.TypeFor[diary.VisitWindowOpened]():
		return diary.VisitWindowOpened{Instrument: pain.ID, Window: diary.Window{ID: "visit/week-4"}}
	case reflect.TypeFor[diary.Voided]():
		return diary.Voided{Instrument: pain.ID, Window: diary.Window{ID: window}}
	case reflect.TypeFor[diary.Held]():
		return diary.Held{Instrument: pain.ID, Version: pain.Version, Window: diary.Window{ID: "held/2026-03-02T08:00:00Z"}}
	case reflect.TypeFor[diary.Corrected]():
		return diary.Corrected{Instrument: pain.ID, Window: window, Request: 1}
	case reflect.TypeFor[diary.CorrectionAsked]():
		return diary.CorrectionAsked{Instrument: pain.ID, Window: window, Request: 1}
	case reflect.TypeFor[diary.CorrectionDeclined]():
		return diary.CorrectionDeclined{Instrument: pain.ID, Window: window, Request: 1}
	case reflect.TypeFor[diary.ReminderDue]():
		return diary.ReminderDue{Instrument: pain.ID, Window: diary.Window{ID: window}}
	case reflect.TypeFor[diary.RiskFlagged]():
		return diary.RiskFlagged{Instrument: pain.ID, Window: window}
	case reflect.TypeFor[user.RecoveryCodeUsed]():
		enrolled := sample(reflect.TypeFor[user.SecondFactorEnrolled]()).(user.SecondFactorEnrolled)
		return user.RecoveryCodeUsed{Digest: enrolled.RecoveryCodes[0]}
	}
	value := reflect.New(goType).Elem()
	scenario.Fill(value, "")
	return value.Interface()
}
