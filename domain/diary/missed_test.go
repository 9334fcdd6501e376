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

func closing(through, now time.Time) func(diary.Diary) ([]diary.Event, error) {
	return closingFor(enrolled("Asia/Shanghai"), through, now)
}

func closingFor(who patient.Patient, through, now time.Time) func(diary.Diary) ([]diary.Event, error) {
	cmd := diary.CloseDiaryWindows{OfPatient: domain.ForPatient(anna), Through: through}
	return scenario.SentWithFacts(diary.CloseWindows, who, cmd, call(now))
}

func instantOf(s string) time.Time {
	moment, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return moment
}

func TestCloseWindows(t *testing.T) {
	now := shanghai(t, "2026-03-20 10:00")
	// The window of 1 March takes late entries until noon of 2 March.
	march(t).When(closing(shanghai(t, "2026-03-02 11:59"), now)).Then()
	march(t).When(closing(shanghai(t, "2026-03-02 12:00"), now)).Then(missed(t, "2026-03-01"))
	march(t).Given(submitted(t, "2026-03-02", shanghai(t, "2026-03-02 20:30"))).
		When(closing(shanghai(t, "2026-03-04 12:00"), now)).Then(missed(t, "2026-03-01"), missed(t, "2026-03-03")).
		When(closing(shanghai(t, "2026-03-04 12:00"), now)).Then()
	march(t).When(closing(now.Add(time.Second), now)).ThenRefused("captured_in_future")
	scenario.For(t, diary.Decider).When(closing(now, now)).Then()
}

func TestCloseWindowsAfterALongPause(t *testing.T) {
	long := assigned(instrument.PainDiary())
	long.Until = "2028-12-31"
	d, now := scenario.For(t, diary.Decider).Given(long).State(), shanghai(t, "2029-06-01 10:00")
	total := 0
	for {
		events, err := closing(now, now)(d)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) > diary.MaxMissedPerCall {
			t.Fatalf("%d events in one call", len(events))
		}
		if len(events) == 0 {
			break
		}
		total += len(events)
		for _, e := range events {
			d = diary.Decider.Evolve(d, e)
		}
	}
	if _, due := d.NextDue(enrolled("Asia/Shanghai")); total != 1037 || due {
		t.Errorf("%d windows were recorded as missed, want 1037; a window is still due: %v", total, due)
	}
}

func TestNextDue(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	if _, ok := (diary.Diary{}).NextDue(who); ok {
		t.Error("a window is due without an assignment")
	}
	// A window closes at midnight, accepts late entries for 12 hours, and waits 36 hours for devices that were offline.
	expect := func(d diary.Diary, want time.Time) {
		t.Helper()
		if got, ok := d.NextDue(who); !ok || !got.Equal(want) {
			t.Errorf("due %s, %v; want %s", got, ok, want)
		}
	}
	given := march(t)
	expect(given.State(), shanghai(t, "2026-03-04 00:00"))
	given = given.Given(submitted(t, "2026-03-02", shanghai(t, "2026-03-02 20:30")))
	expect(given.State(), shanghai(t, "2026-03-04 00:00"))
	given = given.Given(missed(t, "2026-03-01"))
	expect(given.State(), shanghai(t, "2026-03-06 00:00"))

	// A command at that time records the window.
	due, _ := given.State().NextDue(who)
	given.When(closing(due.Add(-36*time.Hour), due)).Then(missed(t, "2026-03-03"))
}

func TestWindowsAfterTheEndOfParticipationAreNotMissed(t *testing.T) {
	now := shanghai(t, "2026-04-20 10:00")
	who := withdrawn("2026-03-03")
	given := march(t).When(closingFor(who, now, now)).
		Then(missed(t, "2026-03-01"), missed(t, "2026-03-02"), missed(t, "2026-03-03"))
	given.When(closingFor(who, now, now)).Then()
	if due, ok := given.State().NextDue(who); ok {
		t.Errorf("a window is due at %s, after the end", due)
	}
	if _, ok := given.State().NextDue(enrolled("Asia/Shanghai")); !ok {
		t.Error("no window is due for a patient who still participates")
	}
	march(t).When(closingFor(withdrawn("2026-02-28"), now, now)).Then()
}

// The last day of the participation is a day in the assignment's zone. In Los Angeles, the evening of 3 March begins on
// 4 March in UTC.
func TestLastDayIsLocalToTheAssignment(t *testing.T) {
	far := assigned(instrument.PainDiary())
	far.Zone = "America/Los_Angeles"
	now := instant(t, "2026-04-20T00:00:00Z")
	who := withdrawn("2026-03-03")
	who.Zone = "Asia/Shanghai" // the patient has moved
	events, err := closingFor(who, now, now)(scenario.For(t, diary.Decider).Given(far).State())
	if err != nil || len(events) != 3 || events[2].(diary.WindowMissed).Window.ID != "2026-03-03/evening" {
		t.Errorf("got %v, %v; want the evenings of 1 to 3 March", events, err)
	}
}

func TestLongestSyncWaitAppliesToAllInstruments(t *testing.T) {
	withoutWait := *instrument.PHQ9()
	withoutWait.Schedule.Late.SyncHours = 0
	given := march(t).Given(assigned(&withoutWait))
	if got := given.State().SyncWait(); got != 36*time.Hour {
		t.Errorf("the wait is %s, want 36 hours", got)
	}
	if got := (diary.Diary{}).SyncWait(); got != 0 {
		t.Errorf("without an assignment the wait is %s", got)
	}
}

// After the treatment nobody is asked about doses. The other diaries go on until the end of the participation.
func TestDosesAreAskedUntilTheTreatmentEnds(t *testing.T) {
	dosing := *instrument.PainDiary()
	dosing.ID, dosing.Dosing = "doses", true
	who := enrolled("Asia/Shanghai")
	who.Treatment, who.TreatmentEndedOn = patient.TreatmentEnded, "2026-03-02"
	given := scenario.For(t, diary.Decider).Given(assigned(&dosing), assigned(instrument.PainDiary()))
	call := domain.Call{At: at(t, "Asia/Shanghai", "2026-03-12 12:00")}
	events, err := diary.CloseWindows(given.State(), who, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(anna), Through: call.At}, call)
	if err != nil {
		t.Fatal(err)
	}
	missed := map[instrument.ID]int{}
	for _, e := range events {
		missed[e.(diary.WindowMissed).Instrument]++
	}
	if missed["doses"] != 2 || missed["pain-diary"] < 8 {
		t.Errorf("missed are %v", missed)
	}
	entry := func(id instrument.ID, day string) (why diary.Why) {
		events, err := diary.Submit(given.State(), who, diary.SubmitDiary{OfPatient: domain.ForPatient(anna), Instrument: id,
			CapturedAt: at(t, "Asia/Shanghai", day+" 20:30"), Zone: "Asia/Shanghai",
			Answers: diary.Answers{"worst": 6, "least": 2, "average": 4, "now": 3, "rescue": false}}, call)
		if err != nil {
			t.Fatal(err)
		}
		if h, held := events[0].(diary.Held); held {
			why = h.Why
		}
		return why
	}
	for _, tt := range []struct {
		id  instrument.ID
		day string
		why diary.Why
	}{{"doses", "2026-03-02", ""}, {"doses", "2026-03-03", diary.WhyTreatmentEnded}, {"pain-diary", "2026-03-11", ""}} {
		if why := entry(tt.id, tt.day); why != tt.why {
			t.Errorf("%s on %s is held for %q, want %q", tt.id, tt.day, why, tt.why)
		}
	}
	facts := diary.Prescription{Patient: who, Definition: &dosing}
	if _, err := diary.Assign(diary.Diary{}, facts, diary.AssignInstrument{OfPatient: domain.ForPatient(anna), Instrument: "doses",
		From: "2026-03-11", Until: "2026-03-20"}, call); err == nil {
		t.Error("an instrument about doses is assigned after the treatment")
	}
}

// TestARunOfMissedWindowsGoesOnOverAssignments: a renewal, and an amendment with a newer version, are still the same diary.
func TestARunOfMissedWindowsGoesOnOverAssignments(t *testing.T) {
	first, second, third := assigned(instrument.PainDiary()), assigned(instrument.PainDiary()), assigned(instrument.PainDiary())
	first.Until = "2026-03-02"
	second.From, second.Until = "2026-03-03", "2026-03-04"
	third.From, third.Until, third.Instrument.Version = "2026-03-05", "2026-03-09", 2
	third.CountsFrom = shanghai(t, "2026-03-06 12:00") // the window of the 5th is missed by nobody
	g := scenario.For(t, diary.Decider).Given(first, second, third,
		submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30")), missed(t, "2026-03-02"), missed(t, "2026-03-03"),
		missed(t, "2026-03-04"), missed(t, "2026-03-06"), missed(t, "2026-03-07"))
	for day, want := range map[domain.Date]int{"2026-03-01": 0, "2026-03-02": 1, "2026-03-03": 2, "2026-03-04": 3, "2026-03-06": 4,
		"2026-03-07": 5} {
		if got := g.State().MissedInARow(painNRS, evening(t, day).ID); got != want {
			t.Errorf("up to %s are missed %d in a row, not %d", day, got, want)
		}
	}
	tooOften := func(day domain.Date) bool { return g.State().MissedTooOften(painNRS, evening(t, day).ID, 5, 6) }
	if !tooOften("2026-03-07") || tooOften("2026-03-06") {
		t.Error("the windows of earlier assignments do not count within days")
	}
	answered := g.Given(submitted(t, "2026-03-04", shanghai(t, "2026-03-05 10:30")))
	if got := answered.State().MissedInARow(painNRS, evening(t, "2026-03-07").ID); got != 2 {
		t.Errorf("after a diary %d are missed in a row", got)
	}
}
