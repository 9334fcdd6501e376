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

// attacks is an instrument about attacks: an entry for each, and none is missed.
func attacks() *instrument.Definition {
	d := instrument.PainDiary()
	d.Schedule = instrument.Schedule{Kind: instrument.ByEvent}
	return d
}

// aroundVisits is an instrument that is asked from the day before each visit to two days after it.
func aroundVisits() *instrument.Definition {
	d := instrument.PainDiary()
	d.Schedule = instrument.Schedule{Kind: instrument.ByVisit, AroundVisits: &instrument.AroundVisits{DaysBefore: 1, DaysAfter: 2},
		Late: instrument.LatePolicy{AcceptHours: 12, SyncHours: 24}}
	return d
}

func TestAnEntryForEachAttack(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	attack := func(local, id string) diary.Submitted {
		at := shanghai(t, local)
		e := submitted(t, "2026-03-01", at)
		e.Window = diary.Window{ID: id, Opens: at, Closes: at}
		return e
	}
	g := scenario.For(t, diary.Decider).Given(assigned(attacks())).
		When(submitting(who, shanghai(t, "2026-03-01 08:00"), mild())).Then(attack("2026-03-01 08:00", "2026-03-01/08:00:00+08:00")).
		When(submitting(who, shanghai(t, "2026-03-01 08:10"), mild())).Then(attack("2026-03-01 08:10", "2026-03-01/08:10:00+08:00")).
		When(submitting(who, shanghai(t, "2026-03-01 23:59"), mild())).Then(attack("2026-03-01 23:59", "2026-03-01/23:59:00+08:00"))
	g.When(submitting(who, shanghai(t, "2026-03-01 08:10"), mild())).Then() // the same again
	isHeld(t, g, submitting(who, shanghai(t, "2026-03-01 08:10"), with(mild(), diary.Answers{"worst": 5})), diary.WhyAnswered)
	isHeld(t, g, submitting(who, shanghai(t, "2026-02-28 08:10"), mild()), diary.WhyTooEarly)
	isHeld(t, g, submitting(who, shanghai(t, "2026-04-01 08:10"), mild()), diary.WhyTooLate)
	g.When(closingFor(who, shanghai(t, "2026-05-01 00:00"), shanghai(t, "2026-05-01 00:00"))).Then()
	if at, due := g.State().NextDue(who); due {
		t.Errorf("a window is due at %s", at)
	}
	events := []diary.Event{attack("2026-03-01 08:00", "2026-03-01/08:00:00+08:00")}
	g.When(agreeing(diary.EntryOf(events, painNRS, "2026-03-01/08:00:00+08:00"),
		diary.AskDiaryCorrection{OfPatient: domain.ForPatient(anna), Instrument: painNRS, Window: "2026-03-01/08:00:00+08:00",
			Answers: diary.Answers{"worst": 4.0}, Reasoned: domain.Because("mistyped")}, call(shanghai(t, "2026-03-02 00:00")))).
		Then(diary.Corrected{Patient: anna, Instrument: painNRS, Window: "2026-03-01/08:00:00+08:00", Reason: "mistyped",
			Request: 1, Decision: "the source says so",
			Changes: []diary.Change{{Item: "worst", Old: 3.0, New: 4.0}}, Scores: intensity(2.25, "mild")})
}

func TestWindowsAroundVisits(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	seen := who
	seen.Visits = map[string]domain.Date{"week-1": "2026-03-08", "week-2": "2026-03-15", "too-early": "2026-02-21"}
	window := func(visit string, opens, closes domain.Date) diary.Window {
		return diary.Window{ID: "visit/" + visit, Opens: shanghai(t, string(opens)+" 00:00"), Closes: shanghai(t, string(closes)+" 00:00")}
	}
	entry := func(w diary.Window, local string, late bool) diary.Submitted {
		e := submitted(t, "2026-03-01", shanghai(t, local))
		e.Window, e.Late = w, late
		return e
	}
	first, second := window("week-1", "2026-03-07", "2026-03-11"), window("week-2", "2026-03-14", "2026-03-18")
	g := scenario.For(t, diary.Decider).Given(assigned(aroundVisits()))
	isHeld(t, g, submitting(who, shanghai(t, "2026-03-08 12:00"), mild()), diary.WhyNoWindow) // the visit has not taken place
	isHeld(t, g, submitting(seen, shanghai(t, "2026-03-06 23:59"), mild()), diary.WhyNoWindow)
	isHeld(t, g.When(submitting(seen, shanghai(t, "2026-03-07 00:00"), mild())).Then(entry(first, "2026-03-07 00:00", false)),
		submitting(seen, shanghai(t, "2026-03-10 23:59"), mild()), diary.WhyAnswered)
	g.When(submitting(seen, shanghai(t, "2026-03-11 11:59"), mild())).Then(entry(first, "2026-03-11 11:59", true))
	isHeld(t, g, submitting(seen, shanghai(t, "2026-03-11 12:00"), mild()), diary.WhyNoWindow)

	// A window that ran out is missed once; one of a visit that did not take place is not, nor one that had closed when the visit was
	// recorded.
	now := func(local string) func(diary.Diary) ([]diary.Event, error) {
		return scenario.SentWithFacts(diary.OpenWindows, seen, diary.OpenVisitWindows{OfPatient: domain.ForPatient(anna)},
			call(shanghai(t, local)))
	}
	opened := func(w diary.Window) diary.Event {
		return diary.VisitWindowOpened{Patient: anna, Instrument: painNRS, Window: w}
	}
	at := shanghai(t, "2026-03-20 00:00")
	g.When(closingFor(seen, at, at)).Then()
	g.When(now("2026-03-11 00:00")).Then(opened(second))
	g = g.When(now("2026-03-10 23:59")).Then(opened(first), opened(second))
	g.When(now("2026-03-10 23:59")).Then()
	due, ok := g.State().NextDue(seen)
	if want := first.Closes.Add(36 * time.Hour); !ok || !due.Equal(want) {
		t.Errorf("the next window is due at %s, %v; want %s", due, ok, want)
	}
	gone := diary.WindowMissed{Patient: anna, Instrument: painNRS, Window: first}
	missedBoth := g.When(closingFor(seen, at, at)).Then(gone, diary.WindowMissed{Patient: anna, Instrument: painNRS, Window: second})
	missedBoth.When(closingFor(seen, at, at)).Then()
	if n := missedBoth.State().MissedInARow(painNRS, second.ID); n != 2 {
		t.Errorf("%d are missed in a row", n)
	}
	g.When(closingFor(who, at, at)).Then()
	// A corrected day moves a window that is not decided yet; a patient who has left is not asked.
	moved := seen
	moved.Visits = map[string]domain.Date{"week-1": "2026-03-09"}
	g.When(submitting(moved, shanghai(t, "2026-03-11 12:00"), mild())).
		Then(entry(window("week-1", "2026-03-08", "2026-03-12"), "2026-03-11 12:00", false))
	left := seen
	left.Status, left.EndedOn = patient.StatusWithdrawn, "2026-03-10"
	g.When(closingFor(left, at, at)).Then(gone)
	// A transcription names the window.
	e := entry(first, "2026-03-12 09:00", true)
	e.Entered = diary.Entered{Mode: diary.ByInterviewer, Respondent: diary.RespondentPatient, Source: diary.SourceInterview,
		Reason: "Phone broken"}
	g.When(transcribing(t, seen, func(c *diary.TranscribeDiary) {
		c.Source, c.Window, c.AnsweredAt = diary.SourceInterview, "visit/week-1", shanghai(t, "2026-03-12 09:00")
	})).Then(e)
}

// TestNoWindowIsMissedBeforeItExisted: windows count from the assignment, also where its first day lies before.
func TestNoWindowIsMissedBeforeItExisted(t *testing.T) {
	who, at := enrolled("Asia/Shanghai"), shanghai(t, "2026-03-20 00:00")
	g := scenario.For(t, diary.Decider).Given(since(assigned(instrument.PainDiary()), shanghai(t, "2026-03-04 19:00")))
	due, _ := g.State().NextDue(who)
	if want := shanghai(t, "2026-03-06 00:00"); due.Before(want) {
		t.Errorf("a window of before the assignment is due at %s", due)
	}
	// The window of that evening was open already; it can be answered, as those before can be transcribed.
	g.When(submitting(who, shanghai(t, "2026-03-04 20:00"), mild())).Then(submitted(t, "2026-03-04", shanghai(t, "2026-03-04 20:00")))
	g.When(closingFor(who, shanghai(t, "2026-03-06 20:00"), at)).Then(missed(t, "2026-03-05"))
	// On the moment of its opening a window counts.
	scenario.For(t, diary.Decider).Given(since(assigned(instrument.PainDiary()), shanghai(t, "2026-03-04 18:00"))).
		When(closingFor(who, shanghai(t, "2026-03-05 20:00"), at)).Then(missed(t, "2026-03-04"))
}

func TestStopInstrument(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	stop := func(until domain.Date, reason string) func(diary.Diary) ([]diary.Event, error) {
		return scenario.SentWithFacts(diary.Stop, who, diary.StopInstrument{OfPatient: domain.ForPatient(anna), Instrument: painNRS, Until: until,
			Reasoned: domain.Because(reason)}, call(shanghai(t, "2026-03-10 10:00")))
	}
	stopped := diary.InstrumentStopped{Patient: anna, Instrument: painNRS, Until: "2026-03-10", Reason: "Too much"}
	g := march(t).When(stop("", "Too much")).Then(stopped)
	march(t).When(stop("2026-03-10", "Too much")).Then(stopped)
	isHeld(t, g, submitting(who, shanghai(t, "2026-03-11 20:30"), mild()), diary.WhyTooLate)
	g.When(submitting(who, shanghai(t, "2026-03-10 20:30"), mild())).Then(submitted(t, "2026-03-10", shanghai(t, "2026-03-10 20:30")))
	g.When(stop("2026-03-10", "again")).ThenRefused("nothing_to_stop")
	// Windows that have run out are missed, and no stop makes them undone. Those from before the patient was given it never count.
	g.When(stop("2026-03-05", "earlier")).ThenRefused("windows_ran_out")
	march(t).When(stop("2026-03-07", "earlier")).ThenRefused("windows_ran_out")
	march(t).When(stop("2026-03-08", "earlier")).Then(diary.InstrumentStopped{Patient: anna, Instrument: painNRS, Until: "2026-03-08",
		Reason: "earlier"})
	given := since(assigned(instrument.PainDiary()), shanghai(t, "2026-03-10 09:00"))
	scenario.For(t, diary.Decider).Given(given).When(stop("2026-03-05", "wrong patient")).
		Then(diary.InstrumentStopped{Patient: anna, Instrument: painNRS, Until: "2026-03-05", Reason: "wrong patient"})
	march(t).When(stop("2026-03-10", "")).ThenRefused("reason_required")
	march(t).When(stop("soon", "x")).ThenRefused("malformed_date")
	march(t).Given(missed(t, "2026-03-10")).When(stop("2026-03-09", "x")).ThenRefused("diaries_recorded")
	answered := submitted(t, "2026-03-10", shanghai(t, "2026-03-10 20:30"))
	march(t).Given(answered).When(stop("2026-03-09", "x")).ThenRefused("diaries_recorded")
	march(t).Given(answered, diary.Voided{Patient: anna, Instrument: painNRS, Window: evening(t, "2026-03-10"), Reason: "Wrong patient"}).
		When(stop("2026-03-09", "x")).Then(diary.InstrumentStopped{Patient: anna, Instrument: painNRS, Until: "2026-03-09", Reason: "x"})

	// It may be assigned again, and another one instead.
	next := since(assigned(instrument.PainDiary()), shanghai(t, "2026-03-10 10:00"))
	next.From = "2026-03-11"
	g.When(assigning(who, instrument.PainDiary(), "2026-03-11", "2026-03-31", shanghai(t, "2026-03-10 10:00"))).Then(next)
	replace := diary.ReplaceInstrument{OfPatient: domain.ForPatient(anna), Replaced: painNRS, Instrument: "phq-9", From: "2026-03-11",
		Until: "2026-03-31", Reasoned: domain.Because("Amendment 2")}
	with := diary.Prescription{Patient: who, Definition: instrument.PHQ9()}
	phq := since(diary.InstrumentAssigned{Patient: anna, Instrument: *instrument.PHQ9(), Zone: "Asia/Shanghai", From: "2026-03-11",
		Until: "2026-03-31"}, shanghai(t, "2026-03-10 10:00"))
	replaced := diary.InstrumentStopped{Patient: anna, Instrument: painNRS, Until: "2026-03-10", Reason: "Amendment 2", ReplacedBy: "phq-9"}
	march(t).When(scenario.SentWithFacts(diary.Replace, with, replace, call(shanghai(t, "2026-03-10 10:00")))).Then(replaced, phq)
	same := replace
	same.Instrument = painNRS
	march(t).When(scenario.SentWithFacts(diary.Replace, with, same, call(shanghai(t, "2026-03-10 10:00")))).ThenRefused("nothing_to_correct")
	march(t).Given(missed(t, "2026-03-12")).
		When(scenario.SentWithFacts(diary.Replace, with, replace, call(shanghai(t, "2026-03-10 10:00")))).ThenRefused("diaries_recorded")
}

func TestMissedTooOften(t *testing.T) {
	g := march(t).Given(missed(t, "2026-03-01"), submitted(t, "2026-03-02", shanghai(t, "2026-03-02 20:30")), missed(t, "2026-03-03"),
		submitted(t, "2026-03-04", shanghai(t, "2026-03-04 20:30")), missed(t, "2026-03-05"), missed(t, "2026-03-06"),
		missed(t, "2026-03-20"), missed(t, "2026-03-21"), missed(t, "2026-03-22"))
	for _, tt := range []struct {
		day          domain.Date
		missed, days int
		want         bool
	}{
		{"2026-03-05", 3, 5, true}, {"2026-03-05", 3, 4, false}, {"2026-03-03", 3, 5, false}, {"2026-03-04", 1, 5, false},
		{"2026-03-06", 3, 5, false}, // the site was told about the window before
		{"2026-03-06", 4, 6, true}, {"2026-03-20", 3, 5, false}, {"2026-03-22", 3, 5, true}, {"2026-03-20", 1, 5, true},
	} {
		if got := g.State().MissedTooOften(painNRS, string(tt.day)+"/evening", tt.missed, tt.days); got != tt.want {
			t.Errorf("%d missed in %d days until %s: %v", tt.missed, tt.days, tt.day, got)
		}
	}
}

func TestInstrumentsFollowThePhase(t *testing.T) {
	treated := enrolled("Asia/Shanghai")
	treated.Treatment = patient.TreatmentOn
	followed := treated
	followed.Treatment, followed.TreatmentEndedOn = patient.TreatmentEnded, "2026-03-08"
	over := withdrawn("2026-03-09")
	pain := diary.Planned{Definition: instrument.PainDiary()}
	phq := diary.Planned{Definition: instrument.PHQ9(), Days: 28}
	plan := func(who patient.Patient, now string, all ...diary.Planned) func(diary.Diary) ([]diary.Event, error) {
		return scenario.SentWithFacts(diary.Follow, diary.Plan{Patient: who, Instruments: all},
			diary.FollowPhase{OfPatient: domain.ForPatient(anna)},
			call(shanghai(t, now)))
	}
	began := since(assigned(instrument.PainDiary()), shanghai(t, "2026-03-01 15:00"))
	began.Until, began.Phase = domain.Date("2026-03-01").AddDays(3649), patient.PhaseTreatment
	stopped := diary.InstrumentStopped{Patient: anna, Instrument: painNRS, Until: "2026-03-08", Reason: "The phase treatment has ended",
		Phase: patient.PhaseTreatment}
	next := since(diary.InstrumentAssigned{Patient: anna, Instrument: *instrument.PHQ9(), Zone: "Asia/Shanghai", From: "2026-03-10",
		Until: "2026-04-06", Phase: patient.PhaseFollowUp}, shanghai(t, "2026-03-10 09:00"))

	g := scenario.For(t, diary.Decider).When(plan(treated, "2026-03-01 15:00", pain)).Then(began)
	g.When(plan(treated, "2026-03-02 15:00", pain)).Then()
	after := g.When(plan(followed, "2026-03-10 09:00", phq)).Then(stopped, next)
	after.When(plan(followed, "2026-06-10 09:00", phq)).Then() // its days are over
	after.When(plan(over, "2026-03-11 09:00")).Then()          // what was captured may still come in
	// It goes on until the last diary that is recorded.
	late := stopped
	late.Until = "2026-03-09"
	g.Given(submitted(t, "2026-03-09", shanghai(t, "2026-03-09 20:30"))).When(plan(followed, "2026-03-10 09:00", phq)).Then(late, next)
	// The end of the treatment was recorded in error: it begins again. What a person has stopped does not.
	again := since(began, shanghai(t, "2026-03-11 09:00"))
	again.From, again.Until = "2026-03-11", domain.Date("2026-03-11").AddDays(3649)
	back := next
	after.When(plan(treated, "2026-03-11 09:00", pain)).Then(diary.InstrumentStopped{Patient: anna, Instrument: back.Instrument.ID,
		Until: "2026-03-11", Reason: "The phase follow_up has ended", Phase: patient.PhaseFollowUp}, again)
	g.Given(diary.InstrumentStopped{Patient: anna, Instrument: painNRS, Until: "2026-03-05", Reason: "Too much"}).
		When(plan(treated, "2026-03-08 09:00", pain)).Then()
	// What a person has assigned is left alone.
	march(t).When(plan(treated, "2026-03-02 15:00", pain)).Then()
	march(t).When(plan(followed, "2026-03-10 09:00", phq)).Then(next)
}
