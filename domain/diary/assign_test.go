package diary_test

import (
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/scenario"
)

func assigning(who patient.Patient, definition *instrument.Definition, from, until domain.Date,
	now time.Time) func(diary.Diary) ([]diary.Event, error) {
	return scenario.SentWithFacts(diary.Assign, diary.Prescription{Patient: who, Definition: definition},
		diary.AssignInstrument{OfPatient: domain.ForPatient(anna), Instrument: painNRS, From: from, Until: until}, call(now))
}

func TestAssign(t *testing.T) {
	who, now := enrolled("Asia/Shanghai"), shanghai(t, "2026-02-27 10:00")
	scenario.For(t, diary.Decider).
		When(assigning(who, instrument.PainDiary(), "2026-03-01", "2026-03-31", now)).
		Then(since(assigned(instrument.PainDiary()), now))

	// An assignment that is recorded afterwards counts from the day on which the patient was given the instrument.
	later := shanghai(t, "2026-03-05 10:00")
	on := func(day domain.Date) func(diary.Diary) ([]diary.Event, error) {
		return scenario.SentWithFacts(diary.Assign, diary.Prescription{Patient: who, Definition: instrument.PainDiary()},
			diary.AssignInstrument{OfPatient: domain.ForPatient(anna), Instrument: painNRS, From: "2026-03-01", Until: "2026-03-31", On: day},
			call(later))
	}
	scenario.For(t, diary.Decider).When(on("2026-03-02")).
		Then(since(assigned(instrument.PainDiary()), shanghai(t, "2026-03-02 00:00")))
	scenario.For(t, diary.Decider).When(on("2026-03-06")).ThenRefused("captured_in_future")
	scenario.For(t, diary.Decider).When(on("2026-02-19")).ThenRefused("assignment_before_enrollment")
	scenario.For(t, diary.Decider).When(on("soon")).ThenRefused("malformed_date")
}

// since is an assignment that counts from a moment on.
func since(e diary.InstrumentAssigned, from time.Time) diary.InstrumentAssigned {
	e.CountsFrom = from.UTC()
	return e
}

func TestAssignRefusals(t *testing.T) {
	now := shanghai(t, "2026-02-27 10:00")
	who, pain := enrolled("Asia/Shanghai"), instrument.PainDiary()
	screened, nowhere := who, who
	screened.Status, screened.EnrolledOn = patient.StatusScreened, ""
	nowhere.Zone = "Mars/Olympus"
	failed := screened
	failed.Status, failed.EndedOn = patient.StatusScreenFailed, "2026-02-25"
	broken := instrument.PainDiary()
	broken.RiskRules[0].When = "answers.wrost >= 8"

	tests := []struct {
		code        string
		who         patient.Patient
		definition  *instrument.Definition
		from, until domain.Date
	}{
		{"patient_not_enrolled", screened, pain, "2026-03-01", "2026-03-31"},
		{"patient_not_enrolled", failed, pain, "2026-03-01", "2026-03-31"},
		{"patient_not_participating", withdrawn("2026-02-25"), pain, "2026-03-01", "2026-03-31"},
		{"unknown_instrument", who, nil, "2026-03-01", "2026-03-31"},
		{"unknown_instrument", who, instrument.PHQ9(), "2026-03-01", "2026-03-31"},
		{"invalid_rule", who, broken, "2026-03-01", "2026-03-31"},
		{"unknown_zone", nowhere, pain, "2026-03-01", "2026-03-31"},
		{"malformed_date", who, pain, "1 March", "2026-03-31"},
		{"malformed_date", who, pain, "2026-03-01", "2026-03-32"},
		{"invalid_range", who, pain, "2026-03-01", "2026-02-28"},
		{"invalid_range", who, pain, "2026-03-01", "2036-03-01"},
		{"assignment_before_enrollment", who, pain, "2026-02-19", "2026-03-31"},
	}
	for _, tt := range tests {
		t.Run(tt.code, func(t *testing.T) {
			scenario.For(t, diary.Decider).When(assigning(tt.who, tt.definition, tt.from, tt.until, now)).ThenRefused(tt.code)
		})
	}
	scenario.For(t, diary.Decider).When(assigning(who, pain, "2026-03-01", "2036-02-29", now)).
		Then(diary.InstrumentAssigned{Patient: anna, Instrument: *pain, Zone: "Asia/Shanghai", From: "2026-03-01", Until: "2036-02-29",
			CountsFrom: now.UTC()})
}

func TestAssignAgain(t *testing.T) {
	who, pain, now := enrolled("Asia/Shanghai"), instrument.PainDiary(), shanghai(t, "2026-03-05 10:00")
	march(t).When(assigning(who, pain, "2026-03-01", "2026-03-31", now)).ThenRefused("instrument_assigned")
	march(t).When(assigning(who, pain, "2026-03-31", "2026-04-30", now)).ThenRefused("instrument_assigned")

	next := diary.InstrumentAssigned{Patient: anna, Instrument: *pain, Zone: "Asia/Shanghai", From: "2026-04-01", Until: "2026-04-30",
		CountsFrom: now.UTC()}
	march(t).When(assigning(who, pain, "2026-04-01", "2026-04-30", now)).Then(next).
		When(submitting(who, shanghai(t, "2026-04-01 09:00"), mild())).
		Then(func() diary.Event {
			e := submitted(t, "2026-03-31", shanghai(t, "2026-04-01 09:00"))
			e.Late = true
			return e
		}()).
		When(submitting(who, shanghai(t, "2026-04-01 20:30"), mild())).
		Then(submitted(t, "2026-04-01", shanghai(t, "2026-04-01 20:30")))
}

// After an amendment, a newer version can be assigned; the older one ends the day before the newer one begins.
func TestAssignANewerVersion(t *testing.T) {
	who, now := enrolled("Asia/Shanghai"), shanghai(t, "2026-03-05 10:00")
	newer := instrument.PainDiary()
	newer.Version = 2
	next := diary.InstrumentAssigned{Patient: anna, Instrument: *newer, Zone: "Asia/Shanghai", From: "2026-03-10", Until: "2026-04-30",
		CountsFrom: now.UTC()}
	version := func(date domain.Date, n int) diary.Submitted {
		e := submitted(t, date, shanghai(t, string(date)+" 20:30"))
		e.Version = n
		return e
	}
	march(t).
		When(assigning(who, newer, "2026-03-10", "2026-04-30", now)).Then(next).
		When(submitting(who, shanghai(t, "2026-03-09 20:30"), mild())).Then(version("2026-03-09", 1)).
		When(submitting(who, shanghai(t, "2026-03-10 20:30"), mild())).Then(version("2026-03-10", 2))

	march(t).When(assigning(who, newer, "2026-03-05", "2026-04-30", now)).ThenRefused("instrument_assigned")
	march(t).When(assigning(who, newer, "2026-03-01", "2026-04-30", shanghai(t, "2026-02-27 10:00"))).
		ThenRefused("instrument_assigned")
}

// Between two assignments of an instrument, a diary is too late for the first one. The refusal says when the second
// begins.
func TestSubmitBetweenTwoAssignments(t *testing.T) {
	next := assigned(instrument.PainDiary())
	next.From, next.Until = "2026-05-01", "2026-05-31"
	who, between := enrolled("Asia/Shanghai"), shanghai(t, "2026-04-15 20:30")
	isHeld(t, march(t).Given(next), submitting(who, between, mild()), diary.WhyTooLate)
	said := sentence(t, march(t).Given(next), who, between, "diary_too_late")
	if !strings.Contains(said, "2026-03-31/evening") || !strings.Contains(said, "2026-05-01/evening") {
		t.Errorf("the refusal does not name both windows: %s", said)
	}
}

// A newer version cannot replace an older one for days with recorded diaries.
func TestAssignANewerVersionOverRecordedDays(t *testing.T) {
	newer := instrument.PainDiary()
	newer.Version = 2
	march(t).Given(submitted(t, "2026-03-10", shanghai(t, "2026-03-10 20:30"))).
		When(assigning(enrolled("Asia/Shanghai"), newer, "2026-03-10", "2026-04-30", shanghai(t, "2026-03-05 10:00"))).
		ThenRefused("instrument_assigned")
}

// A patient can have several instruments at the same time.
func TestAssignAnotherInstrument(t *testing.T) {
	who, now := enrolled("Asia/Shanghai"), shanghai(t, "2026-03-05 10:00")
	phq := diary.InstrumentAssigned{Patient: anna, Instrument: *instrument.PHQ9(), Zone: "Asia/Shanghai",
		From: "2026-03-01", Until: "2026-06-30", CountsFrom: now.UTC()}
	cmd := diary.AssignInstrument{OfPatient: domain.ForPatient(anna), Instrument: "phq-9", From: "2026-03-01", Until: "2026-06-30"}
	given := march(t).
		When(scenario.SentWithFacts(diary.Assign, diary.Prescription{Patient: who, Definition: instrument.PHQ9()}, cmd, call(now))).
		Then(phq)
	given.When(submitting(who, shanghai(t, "2026-03-05 20:30"), mild())).Then(submitted(t, "2026-03-05", shanghai(t, "2026-03-05 20:30")))
	if a := given.State().Assignments(); len(a) != 2 || a[1].ID != "phq-9" || a[1].Calendar().Len() != 9 {
		t.Errorf("the assignments are %+v", a)
	}
	if diary.StreamOf(anna) != "diary-PAIN1.S-0001" {
		t.Errorf("the stream's name is %s", diary.StreamOf(anna))
	}
}
