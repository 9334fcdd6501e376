package diary_test

import (
	"fmt"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/localtime"
	"casebook/domain/patient"
	"casebook/domain/scenario"

	"pgregory.net/rapid"
)

// followed is a patient in a zone with one instrument that reminds; quiet are the quiet hours of the instrument.
func followed(t testing.TB, zone, opens, closes string, quiet *instrument.QuietHours,
) (scenario.Given[diary.Diary, diary.Event], patient.Patient) {
	t.Helper()
	definition := *instrument.PainDiary()
	definition.Schedule = instrument.Schedule{EveryDays: 1, Remind: true, Quiet: quiet,
		Windows: []instrument.DayWindow{{ID: "day", Opens: opens, Closes: closes}}}
	return scenario.For(t, diary.Decider).Given(diary.InstrumentAssigned{Patient: anna, Instrument: definition, Zone: zone,
		From: "2026-03-01", Until: "2026-12-31"}), enrolled(zone)
}

func hours(from, until string) *instrument.QuietHours {
	return &instrument.QuietHours{From: from, Until: until}
}

func choosing(email bool, quiet *instrument.QuietHours) func(diary.Diary) ([]diary.Event, error) {
	return scenario.Sent(diary.Choose, diary.ChooseReminders{OfPatient: domain.ForPatient(anna), Email: email, Quiet: quiet},
		call(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)))
}

func TestChooseReminders(t *testing.T) {
	given := march(t)
	given.When(choosing(false, nil)).Then() // as it is without a choice
	chosen := given.When(choosing(true, hours("22:00", "07:00"))).
		Then(diary.RemindersChosen{Patient: anna, Email: true, Quiet: hours("22:00", "07:00")})
	chosen.When(choosing(true, hours("22:00", "07:00"))).Then()
	chosen.When(choosing(true, nil)).Then(diary.RemindersChosen{Patient: anna, Email: true})
	if d := chosen.State(); !d.RemindsByEmail() || *d.QuietHours() != *hours("22:00", "07:00") {
		t.Error("the choice is not in the state")
	}
	for field, wrong := range map[string]*instrument.QuietHours{"quiet.from": hours("25:00", "07:00"), "quiet.until": hours("22:00", "7")} {
		if refusal := given.When(choosing(true, wrong)).ThenRefused("malformed_time"); refusal.Field != field {
			t.Errorf("%v is refused at %q", wrong, refusal.Field)
		}
	}
	for field, half := range map[string]*instrument.QuietHours{"quiet.from": hours("", "07:00"), "quiet.until": hours("22:00", "")} {
		if refusal := given.When(choosing(true, half)).ThenRefused("value_missing"); refusal.Field != field {
			t.Errorf("%v is refused at %q", half, refusal.Field)
		}
	}
}

// TestRemindersWaitForTheEndOfQuietHours: in each zone by its own clocks, also in the nights in which they change.
func TestRemindersWaitForTheEndOfQuietHours(t *testing.T) {
	for name, c := range map[string]struct {
		zone, opens, closes string
		study, own          *instrument.QuietHours
		now, want           string // local
	}{
		"none": {"Europe/Berlin", "18:00", "00:00", nil, nil,
			"2026-03-10 12:00", "2026-03-10T18:00:00+01:00"},
		"the window opens outside": {"Europe/Berlin", "18:00", "00:00", hours("22:00", "07:00"), nil,
			"2026-03-10 12:00", "2026-03-10T18:00:00+01:00"},
		"the window opens in them": {"Asia/Shanghai", "00:00", "00:00", hours("22:00", "07:00"), nil,
			"2026-03-09 23:30", "2026-03-10T07:00:00+08:00"},
		"before midnight": {"America/New_York", "23:00", "12:00", hours("22:00", "07:30"), nil,
			"2026-03-10 22:59", "2026-03-11T07:30:00-04:00"},
		"by day": {"Europe/Berlin", "13:30", "20:00", hours("13:00", "15:00"), nil,
			"2026-03-10 12:00", "2026-03-10T15:00:00+01:00"},
		"it closes before": {"Europe/Berlin", "04:00", "06:00", hours("22:00", "07:00"), nil,
			"2026-03-10 03:00", "2026-03-10T04:00:00+01:00"},
		"it closes just then": {"Europe/Berlin", "04:00", "07:00", hours("22:00", "07:00"), nil,
			"2026-03-10 03:00", "2026-03-10T04:00:00+01:00"},
		"the patient has others": {"Europe/Berlin", "00:00", "00:00", hours("22:00", "07:00"), hours("23:00", "09:15"),
			"2026-03-09 23:30", "2026-03-10T09:15:00+01:00"},
		"the patient has none": {"Europe/Berlin", "00:00", "00:00", hours("22:00", "07:00"), hours("08:00", "08:00"),
			"2026-03-09 23:30", "2026-03-10T00:00:00+01:00"},
		"noticed late, in quiet hours": {"Europe/Berlin", "20:00", "12:00", hours("22:00", "07:00"), nil,
			"2026-03-10 22:30", "2026-03-11T07:00:00+01:00"},
		"the clocks go forward": {"Europe/Berlin", "00:00", "00:00", hours("22:00", "02:30"), nil,
			"2026-03-28 23:30", "2026-03-29T03:00:00+02:00"},
		"a shorter night": {"Europe/Berlin", "00:00", "00:00", hours("22:00", "07:00"), nil,
			"2026-03-28 23:30", "2026-03-29T07:00:00+02:00"},
		"the clocks go back": {"Europe/Berlin", "00:00", "00:00", hours("22:00", "02:30"), nil,
			"2026-10-24 23:30", "2026-10-25T02:30:00+01:00"},
		"a longer night": {"America/New_York", "00:00", "00:00", hours("22:00", "07:00"), nil,
			"2026-10-31 23:30", "2026-11-01T07:00:00-05:00"},
		"a zone of half an hour": {"Australia/Lord_Howe", "00:00", "00:00", hours("22:00", "07:00"), nil,
			"2026-04-04 23:30", "2026-04-05T07:00:00+10:30"},
		"noticed late, the last evening": {"Europe/Berlin", "20:00", "06:00", hours("22:00", "07:00"), nil,
			"2026-03-10 22:30", "2026-03-10T20:00:00+01:00"},
	} {
		given, who := followed(t, c.zone, c.opens, c.closes, c.study)
		if c.own != nil {
			given = given.Given(diary.RemindersChosen{Patient: anna, Quiet: c.own})
		}
		now := at(t, c.zone, c.now)
		given = reminded(t, given, who, now.Add(-4*time.Hour))
		got, ok := given.State().NextReminder(who, now)
		if want := instant(t, c.want); !ok || !got.Equal(want) {
			t.Errorf("%s: the reminder is due at %s, want %s", name, got.In(now.Location()), want)
			continue
		}
		if got.After(now) {
			given.When(reminding(who, got.Add(-time.Second))).Then()
		}
		if events, err := reminding(who, laterOf(got, now))(given.State()); err != nil || len(events) != 1 {
			t.Errorf("%s: at that moment, %v, %v", name, events, err)
		}
	}
}

// reminded has reminded of all windows that have opened.
func reminded(t testing.TB, given scenario.Given[diary.Diary, diary.Event], who patient.Patient, until time.Time,
) scenario.Given[diary.Diary, diary.Event] {
	t.Helper()
	for day := until.AddDate(0, 0, -2); !day.After(until); day = day.Add(time.Hour) {
		events, err := reminding(who, day)(given.State())
		if err != nil {
			t.Fatal(err)
		}
		given = given.Given(events...)
	}
	return given
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// TestNobodyIsRemindedInQuietHours: in any zone, on any day, whenever the program looks. The only exception is a window that closes before
// they end. A reminder comes while its window is open, and the program that looks then finds it due.
func TestNobodyIsRemindedInQuietHours(t *testing.T) {
	clock := rapid.Custom(func(t *rapid.T) string {
		return fmt.Sprintf("%02d:%02d", rapid.IntRange(0, 23).Draw(t, "hour"), rapid.SampledFrom([]int{0, 15, 30}).Draw(t, "minute"))
	})
	rapid.Check(t, func(r *rapid.T) {
		name := rapid.SampledFrom([]string{"Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns",
			"Pacific/Apia", "UTC", "America/Santiago"}).Draw(r, "zone")
		quiet := hours(clock.Draw(r, "from"), clock.Draw(r, "until"))
		given, who := followed(t, name, clock.Draw(r, "opens"), clock.Draw(r, "closes"), quiet)
		zone, err := localtime.Load(name)
		if err != nil {
			r.Fatal(err)
		}
		now := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 290*24*4).Draw(r, "quarters")) * 15 * time.Minute)
		due, ok := given.State().NextReminder(who, now)
		if !ok {
			r.Fatal("no reminder is left")
		}
		events, err := reminding(who, laterOf(due, now))(given.State())
		if err != nil || len(events) == 0 {
			r.Fatalf("due at %s, and then there is none: %v", due, err)
		}
		window := events[0].(diary.ReminderDue).Window
		sent := laterOf(due, now)
		if sent.Before(window.Opens) || !sent.Before(window.Closes) {
			r.Fatalf("sent at %s for the window %v", sent, window)
		}
		if end, is := quiet.EndAfter(sent, zone); is && end.Before(window.Closes) {
			r.Fatalf("sent at %s, quiet until %s, and the window closes at %s", zone.In(sent), zone.In(end), zone.In(window.Closes))
		}
		if end, is := quiet.EndAfter(sent, zone); is && !end.After(sent) {
			r.Fatalf("quiet hours at %s end at %s", sent, end)
		}
	})
}
