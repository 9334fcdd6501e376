package diary_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/form"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/scenario"
)

func TestSubmit(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	march(t).
		When(submitting(who, shanghai(t, "2026-03-01 20:30"), mild())).
		Then(submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30")))
}

func TestSubmitFlagsRisksAtOnce(t *testing.T) {
	who, captured := enrolled("Asia/Shanghai"), shanghai(t, "2026-03-01 20:30")
	answers := diary.Answers{"worst": 9.0, "least": 6.0, "average": 7.0, "now": 8.0, "rescue": true, "doses": 4.0}
	march(t).
		When(submitting(who, captured, answers)).
		Then(
			diary.Submitted{Patient: anna, Instrument: painNRS, Version: 1, Window: evening(t, "2026-03-01"), CapturedAt: captured,
				Answers: answers, Scores: intensity(7.5, "severe")},
			diary.RiskFlagged{Patient: anna, Instrument: painNRS, Window: "2026-03-01/evening", Rule: "pain-severe",
				Severity: instrument.SeverityUrgent, Message: "Worst pain of 8 or more in the last 24 hours"},
			diary.RiskFlagged{Patient: anna, Instrument: painNRS, Window: "2026-03-01/evening", Rule: "pain-constant",
				Severity: instrument.SeverityWatch, Message: "Mean pain intensity of 7 or more"},
			diary.RiskFlagged{Patient: anna, Instrument: painNRS, Window: "2026-03-01/evening", Rule: "rescue-doses-high",
				Severity: instrument.SeverityWatch, Message: "Four or more doses of rescue medication in 24 hours"},
		)
}

// Answers are recorded in the form in which they are read back from the log: numbers as float64, without nil.
func TestSubmitNormalisesAnswers(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	answers := diary.Answers{"worst": 3, "least": 1, "average": 2, "now": 2, "rescue": false, "interference": nil}
	march(t).
		When(submitting(who, shanghai(t, "2026-03-01 20:30"), answers)).
		Then(submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30")))
}

func TestSubmitWithoutAnAssignment(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	isHeld(t, scenario.For(t, diary.Decider), submitting(who, shanghai(t, "2026-03-01 20:30"), mild()), diary.WhyNotAssigned)
	isHeld(t, scenario.For(t, diary.Decider).Given(assigned(instrument.PHQ9())), submitting(who, shanghai(t, "2026-03-01 20:30"), mild()),
		diary.WhyNotAssigned)
}

func TestSubmitFromADeviceWithAnotherClock(t *testing.T) {
	who, captured := enrolled("Asia/Shanghai"), shanghai(t, "2026-03-01 20:30")
	march(t).
		When(submittingAt(who, captured, captured.Add(-diary.ClockTolerance), mild())).
		Then(submitted(t, "2026-03-01", captured))
	isHeld(t, march(t), submittingAt(who, captured, captured.Add(-diary.ClockTolerance-time.Second), mild()), diary.WhyInFuture)
	march(t).
		When(submit(who, diary.SubmitDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, Answers: mild()}, call(captured))).
		ThenRefused("value_missing")
	march(t).
		When(submit(who, diary.SubmitDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, CapturedAt: captured,
			Zone: "Mars/Olympus", Answers: mild()}, call(captured))).
		ThenRefused("unknown_zone")
}

// A traveller's evening is that of the day where the traveller is. The reminder still comes in the evening at home.
func TestSubmitWhileTravelling(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	from := func(zone string, captured time.Time) func(diary.Diary) ([]diary.Event, error) {
		return submit(who, diary.SubmitDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, CapturedAt: captured,
			Zone: zone, Answers: mild()}, call(captured))
	}
	evening := at(t, "America/New_York", "2026-03-04 20:30") // 09:30 of the next day in Shanghai
	march(t).When(from("America/New_York", evening)).Then(submitted(t, "2026-03-04", evening))
	evening = at(t, "Pacific/Auckland", "2026-03-04 20:30") // 15:30 in Shanghai, before the window opens there
	march(t).When(from("Pacific/Auckland", evening)).Then(submitted(t, "2026-03-04", evening))
	// Without an offset, the zone alone says where it was.
	march(t).When(from("Pacific/Auckland", evening.UTC())).Then(submitted(t, "2026-03-04", evening.UTC()))
	reminded := at(t, "America/New_York", "2026-03-01 07:30") // 20:30 in Shanghai
	march(t).When(from("America/New_York", reminded)).Then(submitted(t, "2026-03-01", reminded))
	// Where no zone is named, nobody knows where it was.
	march(t).When(from("", reminded)).Then(submitted(t, "2026-03-01", reminded))

	// An offset that the zone does not have then.
	for zone, contradicts := range map[string]bool{"Asia/Tokyo": true, "Asia/Shanghai": false, "Asia/Singapore": false,
		"Europe/Berlin": true} {
		captured := instant(t, "2026-03-05T20:30:00+08:00")
		if contradicts {
			h := isHeld(t, march(t), from(zone, captured), diary.WhyZoneContradicts)
			if _, offset := h.CapturedAt.Zone(); offset != 8*3600 || h.For != "" {
				t.Errorf("held is %+v", h)
			}
		} else {
			march(t).When(from(zone, captured)).Then(submitted(t, "2026-03-05", captured))
		}
	}
	summer := instant(t, "2026-07-01T20:30:00+01:00") // in Berlin, that was the offset of the winter
	isHeld(t, march(t), from("Europe/Berlin", summer), diary.WhyZoneContradicts)
}

func TestSubmitAroundTheWindow(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	late := func(captured string) diary.Submitted {
		e := submitted(t, "2026-03-01", shanghai(t, captured))
		e.Late = true
		return e
	}
	isHeld(t, march(t), submitting(who, shanghai(t, "2026-03-01 17:59"), mild()), diary.WhyTooEarly)
	march(t).When(submitting(who, shanghai(t, "2026-03-01 18:00"), mild())).Then(submitted(t, "2026-03-01", shanghai(t, "2026-03-01 18:00")))
	march(t).When(submitting(who, shanghai(t, "2026-03-01 23:59"), mild())).Then(submitted(t, "2026-03-01", shanghai(t, "2026-03-01 23:59")))
	march(t).When(submitting(who, shanghai(t, "2026-03-02 00:00"), mild())).Then(late("2026-03-02 00:00"))
	march(t).When(submitting(who, shanghai(t, "2026-03-02 11:59"), mild())).Then(late("2026-03-02 11:59"))
	isHeld(t, march(t), submitting(who, shanghai(t, "2026-03-02 12:00"), mild()), diary.WhyTooLate)
	said := sentence(t, march(t), who, shanghai(t, "2026-03-02 12:00"), "diary_too_late")
	if !strings.Contains(said, "2026-03-01/evening") || !strings.Contains(said, "2026-03-02/evening") {
		t.Errorf("the refusal does not name both windows: %s", said)
	}
	march(t).When(submitting(who, shanghai(t, "2026-04-01 11:59"), mild())).
		Then(func() diary.Event {
			e := submitted(t, "2026-03-31", shanghai(t, "2026-04-01 11:59"))
			e.Late = true
			return e
		}())
	isHeld(t, march(t), submitting(who, shanghai(t, "2026-04-01 18:30"), mild()), diary.WhyTooLate)
}

func TestSubmitWithoutLateEntries(t *testing.T) {
	who, strict := enrolled("Asia/Shanghai"), instrument.PainDiary()
	strict.Schedule.Late = instrument.LatePolicy{}
	given := scenario.For(t, diary.Decider).Given(assigned(strict))
	isHeld(t, given, submitting(who, shanghai(t, "2026-03-02 00:00"), mild()), diary.WhyNoWindow)
	said := sentence(t, given, who, shanghai(t, "2026-03-02 00:00"), "no_window")
	if !strings.Contains(said, "2026-03-01/evening") || !strings.Contains(said, "2026-03-02/evening") {
		t.Errorf("the refusal does not name both windows: %s", said)
	}
	isHeld(t, given, submitting(who, shanghai(t, "2026-04-01 00:00"), mild()), diary.WhyTooLate)
}

func TestSubmitTwice(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	given := march(t).Given(submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30")))
	given.When(submitting(who, shanghai(t, "2026-03-01 20:30"), mild())).Then() // the same again
	// What was recorded first counts, and the other one says which window it is for, and whether it is late there.
	if h := isHeld(t, given, submitting(who, shanghai(t, "2026-03-01 21:00"), mild()), diary.WhyAnswered); h.For != "2026-03-01/evening" ||
		h.Late || h.Version != 1 {
		t.Errorf("held is %+v", h)
	}
	if h := isHeld(t, given, submitting(who, shanghai(t, "2026-03-02 08:00"), mild()), diary.WhyAnswered); h.For != "2026-03-01/evening" ||
		!h.Late {
		t.Errorf("held is %+v", h)
	}
}

// An entry that was captured in time but arrives after its window was recorded as missed is accepted and flagged.
func TestSubmitAfterTheWindowWasRecordedAsMissed(t *testing.T) {
	who, captured := enrolled("Asia/Shanghai"), shanghai(t, "2026-03-01 20:30")
	want := submitted(t, "2026-03-01", captured)
	want.AfterMissed = true
	march(t).Given(missed(t, "2026-03-01")).
		When(submittingAt(who, captured, shanghai(t, "2026-03-09 10:00"), mild())).Then(want).
		When(submittingAt(who, captured, shanghai(t, "2026-03-09 10:01"), mild())).Then()
}

func TestSubmitAfterTheEndOfParticipation(t *testing.T) {
	march(t).
		When(submitting(withdrawn("2026-03-10"), shanghai(t, "2026-03-10 20:30"), mild())).
		Then(submitted(t, "2026-03-10", shanghai(t, "2026-03-10 20:30")))
	isHeld(t, march(t), submitting(withdrawn("2026-03-10"), shanghai(t, "2026-03-11 20:30"), mild()), diary.WhyNotParticipating)
	isHeld(t, march(t), submitting(patient.Patient{ID: anna, Status: patient.StatusScreened}, shanghai(t, "2026-03-11 20:30"), mild()),
		diary.WhyNotParticipating)
}

func TestSubmitChecksTheAnswers(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	tests := []struct {
		code, field string
		answers     diary.Answers
	}{
		{"answer_out_of_range", "answers.worst", with(mild(), diary.Answers{"worst": 11.0})},
		{"answer_wrong_type", "answers.worst", with(mild(), diary.Answers{"worst": "eleven"})},
		{"answer_wrong_type", "answers.worst", with(mild(), diary.Answers{"worst": 2.5})},
		{"item_required", "answers.now", with(mild(), diary.Answers{"now": nil})},
		{"item_required", "answers.doses", with(mild(), diary.Answers{"rescue": true})},
		{"item_not_asked", "answers.doses", with(mild(), diary.Answers{"doses": 2.0})},
		{"unknown_item", "answers.mood", with(mild(), diary.Answers{"mood": 2.0})},
		{"item_required", "answers.worst", nil},
	}
	for _, tt := range tests {
		t.Run(tt.code, func(t *testing.T) {
			r := march(t).When(submitting(who, shanghai(t, "2026-03-01 20:30"), tt.answers)).ThenRefused(tt.code)
			if r.Field != tt.field {
				t.Errorf("the refusal is at %q, want %q", r.Field, tt.field)
			}
		})
	}
}

// In New York the hour from one to two occurs twice on 1 November 2026. Half past one is in the same window both times,
// so the second entry is a duplicate, and neither entry is late.
func TestSubmitInTheRepeatedHour(t *testing.T) {
	night := instrument.PainDiary()
	night.Schedule.Windows = []instrument.DayWindow{{ID: "night", Opens: "01:00", Closes: "02:00"}}
	who := enrolled("America/New_York")
	given := scenario.For(t, diary.Decider).Given(diary.InstrumentAssigned{
		Patient: anna, Instrument: *night, Zone: "America/New_York", From: "2026-10-30", Until: "2026-11-05"})

	first, second := instant(t, "2026-11-01T01:30:00-04:00"), instant(t, "2026-11-01T01:30:00-05:00")
	want := diary.Submitted{Patient: anna, Instrument: painNRS, Version: 1,
		Window:  diary.Window{ID: "2026-11-01/night", Opens: instant(t, "2026-11-01T05:00:00Z"), Closes: instant(t, "2026-11-01T07:00:00Z")},
		Answers: mild(), Scores: intensity(2, "mild")}

	want.CapturedAt = first
	isHeld(t, given.When(submitting(who, first, mild())).Then(want), submitting(who, second, mild()), diary.WhyAnswered)
	want.CapturedAt = second
	isHeld(t, given.When(submitting(who, second, mild())).Then(want), submitting(who, first, mild()), diary.WhyAnswered)
}

// If one window ends and the next begins in the hour that occurs twice, both are open for a while. The patient can
// answer both.
func TestSubmitToTwoWindowsInTheRepeatedHour(t *testing.T) {
	halves := instrument.PainDiary()
	halves.Schedule.Windows = []instrument.DayWindow{
		{ID: "early", Opens: "00:30", Closes: "01:30"}, {ID: "late", Opens: "01:30", Closes: "03:00"},
	}
	who := enrolled("America/New_York")
	given := scenario.For(t, diary.Decider).Given(diary.InstrumentAssigned{
		Patient: anna, Instrument: *halves, Zone: "America/New_York", From: "2026-10-30", Until: "2026-11-05"})

	window := func(events []diary.Event) string { return events[0].(diary.Submitted).Window.ID }
	d := given.State()
	for n, want := range []string{"2026-11-01/early", "2026-11-01/late"} {
		events, err := submitting(who, instant(t, "2026-11-01T05:45:00Z").Add(time.Duration(n)*time.Second), mild())(d)
		if err != nil || window(events) != want {
			t.Fatalf("got %v, %v; want %s", events, err, want)
		}
		d = diary.Decider.Evolve(d, events[0])
	}
	events, err := submitting(who, instant(t, "2026-11-01T05:50:00Z"), mild())(d)
	if _, held := events[0].(diary.Held); err != nil || !held {
		t.Fatalf("a third diary is %v, %v", events, err)
	}
}

// A window in an hour that the clocks skip can neither be answered nor missed.
func TestWindowsThatTheClocksSkip(t *testing.T) {
	night := instrument.PainDiary()
	night.Schedule.Windows = []instrument.DayWindow{{ID: "night", Opens: "02:00", Closes: "03:00"}}
	night.Schedule.Late = instrument.LatePolicy{AcceptHours: 48}
	given := scenario.For(t, diary.Decider).Given(diary.InstrumentAssigned{
		Patient: anna, Instrument: *night, Zone: "Europe/Berlin", From: "2026-03-28", Until: "2026-03-30"})

	later := instant(t, "2026-05-01T00:00:00Z")
	events, err := closingFor(enrolled("Europe/Berlin"), later, later)(given.State())
	if err != nil || len(events) != 2 {
		t.Fatalf("got %v, %v; want the windows of 28 and 30 March", events, err)
	}
	events, err = submitting(enrolled("Europe/Berlin"), instant(t, "2026-03-29T12:00:00Z"), mild())(given.State())
	if err != nil || events[0].(diary.Submitted).Window.ID != "2026-03-28/night" {
		t.Fatalf("got %v, %v; want a late entry for 28 March", events, err)
	}
}

// If this program cannot use a recorded definition or zone, commands on the diary are refused with the reason, but the
// stream can still be read.
func TestUnusableAssignment(t *testing.T) {
	broken, nowhere := assigned(instrument.PainDiary()), assigned(instrument.PainDiary())
	broken.Instrument.RiskRules = []instrument.RiskRule{{ID: "r", Severity: instrument.SeverityWatch, When: "answers.pulse > 3", Message: "m"}}
	nowhere.Zone = "Mars/Olympus"
	for code, e := range map[string]diary.InstrumentAssigned{"invalid_rule": broken, "unknown_zone": nowhere} {
		captured := shanghai(t, "2026-03-01 20:30")
		given := scenario.For(t, diary.Decider).Given(e, submitted(t, "2026-03-02", captured), missed(t, "2026-03-03"))
		if said := sentence(t, given, enrolled("Asia/Shanghai"), captured, "instrument_unusable"); !strings.Contains(said, code) {
			t.Errorf("the refusal does not say why: %s", said)
		}
		isHeld(t, given, submitting(enrolled("Asia/Shanghai"), captured.Add(time.Minute), mild()), diary.WhyUnusable)
		given.When(closing(captured, captured)).Then()
		given.When(correcting(&diary.Entry{Answers: mild()}, diary.Answers{"worst": 1}, "slip")).ThenRefused("instrument_unusable")
		if _, ok := given.State().NextDue(enrolled("Asia/Shanghai")); ok {
			t.Errorf("%s: a window is due", code)
		}
		a := given.State().Assignments()
		if len(a) != 1 || a[0].ID != painNRS || a[0].Instrument != nil && code == "invalid_rule" || a[0].Calendar().Opened(captured) != 0 {
			t.Errorf("%s: the assignments are %v", code, a)
		}
	}
}

// Requests share states, so concurrent decisions must not change them.
func TestSubmitConcurrentlyOnOneState(t *testing.T) {
	who, d := enrolled("Asia/Shanghai"), march(t).State()
	var all sync.WaitGroup
	for day := range 8 {
		all.Go(func() {
			captured := shanghai(t, "2026-03-01 20:30").AddDate(0, 0, day)
			events, err := submitting(who, captured, mild())(d)
			if err != nil {
				t.Error(err)
				return
			}
			next := diary.Decider.Evolve(d, events[0])
			if next.Status(painNRS, events[0].(diary.Submitted).Window.ID) != diary.Answered {
				t.Error("the window is not answered")
			}
		})
	}
	all.Wait()
	if d.Status(painNRS, "2026-03-01/evening") != 0 {
		t.Error("the shared state has changed")
	}
}

// TestAnEmptyQuestionnaireClosesNoWindow: what is sent later counts, and its risk is flagged.
func TestAnEmptyQuestionnaireClosesNoWindow(t *testing.T) {
	who, optional := enrolled("Asia/Shanghai"), instrument.PainDiary()
	for n := range optional.Items {
		optional.Items[n].Required = false
	}
	optional.Checks = []instrument.Check{{ID: "least-above-worst", Item: "least", When: "answers.least > answers.worst", Message: "Look again",
		Effect: form.EffectQuery}}
	g := scenario.For(t, diary.Decider).Given(assigned(optional))
	g.When(submitting(who, shanghai(t, "2026-03-01 20:30"), diary.Answers{})).ThenRefused("too_few_answers")
	captured := shanghai(t, "2026-03-01 21:30")
	g.When(submitting(who, captured, diary.Answers{"worst": 3.0, "least": 4.0, "rescue": false})).
		Then(diary.Submitted{Patient: anna, Instrument: painNRS, Version: 1, Window: evening(t, "2026-03-01"), CapturedAt: captured,
			Answers: diary.Answers{"worst": 3.0, "least": 4.0, "rescue": false}, Scores: []diary.ScoreResult{{ID: "intensity", Missing: 2}},
			Queried: []string{"least-above-worst"}},
			diary.RiskFlagged{Patient: anna, Instrument: painNRS, Window: "2026-03-01/evening", Rule: "answers-implausible",
				Severity: instrument.SeverityWatch,
				Message:  "The answers contradict each other: least, average and present pain cannot be above the worst"})
}
