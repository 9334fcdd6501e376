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

func reminding(who patient.Patient, now time.Time) func(diary.Diary) ([]diary.Event, error) {
	return scenario.AskedKnowing(diary.Remind, who, diary.RemindOfDiaries{OfPatient: domain.ForPatient(anna)}, call(now))
}

// A patient is reminded once, of what is open and unanswered, and of nothing that nobody asks for.
func TestRemind(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	quiet, now := scenario.For(t, diary.Decider).Given(assigned(instrument.PainDiary())), shanghai(t, "2026-03-02 19:00")
	quiet.When(reminding(who, now)).Then() // the schedule does not ask for it
	if _, ok := quiet.State().NextReminder(who, now); ok {
		t.Error("somebody is to be reminded who is not")
	}
	definition := *instrument.PainDiary()
	definition.Schedule.Remind = true
	given := scenario.For(t, diary.Decider).Given(assigned(&definition))
	next := func(d diary.Diary, now, want time.Time) {
		t.Helper()
		if got, ok := d.NextReminder(who, now); !ok || !got.Equal(want) {
			t.Errorf("at %s the next reminder is due at %s, %v; want %s", now, got, ok, want)
		}
	}
	opens := func(day domain.Date) time.Time { return evening(t, day).Opens }
	next(given.State(), shanghai(t, "2026-02-20 12:00"), opens("2026-03-01"))
	given.When(reminding(who, opens("2026-03-01").Add(-time.Second))).Then()
	reminded := given.When(reminding(who, now)).Then(diary.ReminderDue{Patient: anna, Instrument: painNRS, Window: evening(t, "2026-03-02")})
	reminded.When(reminding(who, now)).Then()
	next(reminded.State(), now, opens("2026-03-03"))
	given.Given(handedIn(t, "2026-03-02", now)).When(reminding(who, now)).Then() // who has answered
	given.When(reminding(withdrawn("2026-03-01"), now)).Then()                   // who has left
	if _, ok := reminded.State().NextReminder(who, shanghai(t, "2026-04-02 12:00")); ok {
		t.Error("there are reminders after the last window")
	}
}
