package diary_test

import (
	"testing"
	"time"

	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/scenario"
)

func closing(through, now time.Time) func(diary.Diary) ([]diary.Event, error) {
	return scenario.Asked(diary.CloseWindows, diary.CloseDiaryWindows{Patient: anna, Through: through}, call(now))
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
	march(t).Given(handedIn(t, "2026-03-02", shanghai(t, "2026-03-02 20:30"))).
		When(closing(shanghai(t, "2026-03-04 12:00"), now)).Then(missed(t, "2026-03-01"), missed(t, "2026-03-03")).
		When(closing(shanghai(t, "2026-03-04 12:00"), now)).Then()
	march(t).When(closing(now.Add(time.Second), now)).ThenRefused("captured_in_future")
	scenario.For(t, diary.Decider).When(closing(now, now)).Then()
}

func TestCloseWindowsGoesOnAfterALongPause(t *testing.T) {
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
	if _, due := d.NextDue(); total != 1037 || due {
		t.Errorf("%d windows were recorded as missed, and NextDue says %v", total, due)
	}
}

func TestNextDue(t *testing.T) {
	if _, ok := diary.NextDue(diary.Diary{}); ok {
		t.Error("something is due where nothing is assigned")
	}
	// It closes at midnight, takes late entries for 12 hours, and waits 36 hours for devices that were offline.
	expect := func(d diary.Diary, want time.Time) {
		t.Helper()
		if got, ok := diary.NextDue(d); !ok || !got.Equal(want) {
			t.Errorf("due %s, %v; want %s", got, ok, want)
		}
	}
	given := march(t)
	expect(given.State(), shanghai(t, "2026-03-04 00:00"))
	given = given.Given(handedIn(t, "2026-03-02", shanghai(t, "2026-03-02 20:30")))
	expect(given.State(), shanghai(t, "2026-03-04 00:00"))
	given = given.Given(missed(t, "2026-03-01"))
	expect(given.State(), shanghai(t, "2026-03-06 00:00"))

	// What is due when it is due gets recorded.
	due, _ := diary.NextDue(given.State())
	given.When(closing(due.Add(-36*time.Hour), due)).Then(missed(t, "2026-03-03"))
}
