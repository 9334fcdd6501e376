package diary_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/scenario"
)

const (
	anna    = domain.PatientID("PAIN1.S-0001")
	painNRS = instrument.ID("pain-diary")
)

// enrolled is Anna, enrolled and living in the zone.
func enrolled(zone string) patient.Patient {
	return patient.Patient{ID: anna, Study: "PAIN1", Site: "SITE-1", Zone: zone, Status: patient.StatusEnrolled, EnrolledOn: "2026-02-20"}
}

// withdrawn is Anna in Shanghai, withdrawn on the day.
func withdrawn(on domain.Date) patient.Patient {
	who := enrolled("Asia/Shanghai")
	who.Status, who.EndedOn = patient.StatusWithdrawn, on
	return who
}

// assigned is the assignment of an instrument to Anna for March 2026, in Shanghai.
func assigned(definition *instrument.Definition) diary.InstrumentAssigned {
	return diary.InstrumentAssigned{Patient: anna, Instrument: *definition, Zone: "Asia/Shanghai", From: "2026-03-01", Until: "2026-03-31"}
}

// at is the moment at which the clocks of the zone show this local time.
func at(t testing.TB, zone, local string) time.Time {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	moment, err := time.ParseInLocation("2006-01-02 15:04", local, location)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

func shanghai(t testing.TB, local string) time.Time { return at(t, "Asia/Shanghai", local) }

// instant is the moment that is written in UTC or with its offset (RFC 3339).
func instant(t testing.TB, s string) time.Time {
	t.Helper()
	moment, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

// mild are answers that raise no risk.
func mild() diary.Answers {
	return diary.Answers{"worst": 3.0, "least": 1.0, "average": 2.0, "now": 2.0, "rescue": false}
}

// with adds the changed answers to the others.
func with(answers diary.Answers, changed diary.Answers) diary.Answers {
	for id, answer := range changed {
		answers[id] = answer
	}
	return answers
}

func intensity(value float64, band string) []diary.ScoreResult {
	return []diary.ScoreResult{{ID: "intensity", Value: &value, Band: band}}
}

// evening is the window of the pain diary in Shanghai.
func evening(t testing.TB, date domain.Date) diary.Window {
	return diary.Window{
		ID:     string(date) + "/evening",
		Opens:  shanghai(t, string(date)+" 18:00"),
		Closes: shanghai(t, string(date.AddDays(1))+" 00:00"),
	}
}

// submitted is the event of a diary with the mild answers.
func submitted(t testing.TB, date domain.Date, captured time.Time) diary.Submitted {
	return diary.Submitted{Patient: anna, Instrument: painNRS, Version: 1, Window: evening(t, date), CapturedAt: captured,
		Answers: mild(), Scores: intensity(2, "mild")}
}

func missed(t testing.TB, date domain.Date) diary.WindowMissed {
	return diary.WindowMissed{Patient: anna, Instrument: painNRS, Window: evening(t, date)}
}

// march is a diary with the pain diary assigned for March.
func march(t testing.TB) scenario.Given[diary.Diary, diary.Event] {
	return scenario.For(t, diary.Decider).Given(assigned(instrument.PainDiary()))
}

// call is Anna's call at this moment.
func call(now time.Time) domain.Call {
	return domain.Call{At: now.UTC(), Actor: "anna", CommandID: "0190a5d4-0000-7000-8000-000000000001"}
}

// submitting submits a diary an hour after it was captured.
func submitting(who patient.Patient, captured time.Time, answers diary.Answers) func(diary.Diary) ([]diary.Event, error) {
	return submittingAt(who, captured, captured.Add(time.Hour), answers)
}

func submittingAt(who patient.Patient, captured, now time.Time, answers diary.Answers) func(diary.Diary) ([]diary.Event, error) {
	cmd := diary.SubmitDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, CapturedAt: captured, Zone: who.Zone, Answers: answers}
	return submit(who, cmd, call(now))
}

func submit(who patient.Patient, cmd diary.SubmitDiary, call domain.Call) func(diary.Diary) ([]diary.Event, error) {
	return func(d diary.Diary) ([]diary.Event, error) { return diary.Submit(d, who, cmd, call) }
}

// isHeld checks that an entry is held, and why.
func isHeld(t testing.TB, g scenario.Given[diary.Diary, diary.Event], entry func(diary.Diary) ([]diary.Event, error), why diary.Why,
) diary.Held {
	t.Helper()
	events, err := entry(g.State())
	if err != nil || len(events) != 1 {
		t.Fatalf("got %v, %v; want an entry that is held for %s", events, err, why)
	}
	h, is := events[0].(diary.Held)
	if !is || h.Why != why || len(h.Answers) == 0 || h.CapturedAt.IsZero() {
		t.Fatalf("got %+v, want an entry that is held for %s", events[0], why)
	}
	return h
}

// sentence returns what a transcription is refused with.
func sentence(t testing.TB, g scenario.Given[diary.Diary, diary.Event], who patient.Patient, at time.Time, code string) string {
	t.Helper()
	return g.When(scenario.SentWithFacts(diary.Transcribe, who, diary.TranscribeDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS,
		AnsweredAt: at, Answers: mild(), Source: diary.SourcePaper, Respondent: diary.RespondentPatient,
		Reasoned: domain.Because("Phone broken")}, call(at.Add(time.Hour)))).ThenRefused(code).Sentence
}
