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
	return scenario.SentWithFacts(diary.Remind, who, diary.RemindOfDiaries{OfPatient: domain.ForPatient(anna)}, call(now))
}

// A patient is reminded once of each open window without an entry, if the instrument's schedule has reminders.
func TestRemind(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	withoutReminders, now := march(t), shanghai(t, "2026-03-02 19:00")
	withoutReminders.When(reminding(who, now)).Then()
	if _, ok := withoutReminders.State().NextReminder(who, now); ok {
		t.Error("a reminder is due, but the schedule has none")
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
	given.Given(submitted(t, "2026-03-02", now)).When(reminding(who, now)).Then() // the window is answered
	given.When(reminding(withdrawn("2026-03-01"), now)).Then()                    // the patient has withdrawn
	if _, ok := reminded.State().NextReminder(who, shanghai(t, "2026-04-02 12:00")); ok {
		t.Error("a reminder is due after the last window")
	}
}
