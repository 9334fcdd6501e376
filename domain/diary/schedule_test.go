package diary_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/localtime"
	"casebook/domain/patient"

	"github.com/google/go-cmp/cmp"
)

// spanAt is the span of two days before and after a moment, as the clocks of a zone show it.
func spanAt(t testing.TB, zone string, now time.Time) diary.ScheduleSpan {
	t.Helper()
	z, err := localtime.Load(zone)
	if err != nil {
		t.Fatal(err)
	}
	today := z.DayAt(now)
	return diary.ScheduleSpan{At: now, First: (today - 2).Date(), Last: (today + 2).Date(), From: z.Resolve(today-2, 0, localtime.First),
		Until: z.Resolve(today+3, 0, localtime.First)}
}

// standings are those of the windows of a schedule, by their ids.
func standings(t testing.TB, d diary.Diary, who patient.Patient, now time.Time) map[string]diary.Standing {
	t.Helper()
	all := map[string]diary.Standing{}
	for _, of := range d.Schedule(who, spanAt(t, who.Zone, now)) {
		for _, w := range of.Windows {
			if _, twice := all[w.ID]; twice {
				t.Errorf("%s is there twice", w.ID)
			}
			all[w.ID] = w.Standing
		}
	}
	return all
}

func TestASchedule(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	given := assigned(instrument.PainDiary())
	shows := func(events []diary.Event, who patient.Patient, now string, want map[string]diary.Standing) {
		t.Helper()
		d := diary.Decider.Fold(events...)
		if diff := cmp.Diff(want, standings(t, d, who, shanghai(t, now))); diff != "" {
			t.Errorf("at %s (-want +got):\n%s", now, diff)
		}
	}
	// Each window stands as its time says, until something is recorded.
	plain := []diary.Event{given}
	shows(plain, who, "2026-03-03 17:59", map[string]diary.Standing{"2026-03-01/evening": diary.StandsPassed,
		"2026-03-02/evening": diary.StandsPassed, "2026-03-03/evening": diary.StandsUpcoming, "2026-03-04/evening": diary.StandsUpcoming,
		"2026-03-05/evening": diary.StandsUpcoming})
	shows(plain, who, "2026-03-03 18:00", map[string]diary.Standing{"2026-03-01/evening": diary.StandsPassed,
		"2026-03-02/evening": diary.StandsPassed, "2026-03-03/evening": diary.StandsOpen, "2026-03-04/evening": diary.StandsUpcoming,
		"2026-03-05/evening": diary.StandsUpcoming})
	recorded := []diary.Event{given, missed(t, "2026-03-01"), submitted(t, "2026-03-02", shanghai(t, "2026-03-02 20:00"))}
	shows(recorded, who, "2026-03-03 03:00", map[string]diary.Standing{"2026-03-01/evening": diary.StandsMissed,
		"2026-03-02/evening": diary.StandsSent, "2026-03-03/evening": diary.StandsUpcoming, "2026-03-04/evening": diary.StandsUpcoming,
		"2026-03-05/evening": diary.StandsUpcoming})
	// The last window of a day is open after midnight where late entries are accepted.
	late := instrument.PainDiary()
	late.Schedule.Late.AcceptHours = 12
	shows([]diary.Event{assigned(late)}, who, "2026-03-03 11:59", map[string]diary.Standing{"2026-03-01/evening": diary.StandsPassed,
		"2026-03-02/evening": diary.StandsLate, "2026-03-03/evening": diary.StandsUpcoming, "2026-03-04/evening": diary.StandsUpcoming,
		"2026-03-05/evening": diary.StandsUpcoming})
	// What nobody expects is not shown: windows before the patient had the instrument, and after the end.
	since := given
	since.CountsFrom = shanghai(t, "2026-03-03 09:00")
	shows([]diary.Event{since}, who, "2026-03-03 18:00", map[string]diary.Standing{"2026-03-03/evening": diary.StandsOpen,
		"2026-03-04/evening": diary.StandsUpcoming, "2026-03-05/evening": diary.StandsUpcoming})
	shows(plain, withdrawn("2026-03-03"), "2026-03-04 18:00", map[string]diary.Standing{"2026-03-02/evening": diary.StandsPassed,
		"2026-03-03/evening": diary.StandsPassed})
	// An instrument about doses ends with the treatment.
	doses := instrument.PainDiary()
	doses.Dosing = true
	treated := who
	treated.Treatment, treated.TreatmentEndedOn = patient.TreatmentEnded, "2026-03-03"
	shows([]diary.Event{assigned(doses)}, treated, "2026-03-03 18:00", map[string]diary.Standing{"2026-03-01/evening": diary.StandsPassed,
		"2026-03-02/evening": diary.StandsPassed, "2026-03-03/evening": diary.StandsOpen})
}

func TestAScheduleShowsEventsVisitsAndHeldEntries(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	who.Visits = map[string]domain.Date{"week-1": "2026-03-08"}
	visits := diary.Decider.Fold(assigned(aroundVisits()))
	if got := standings(t, visits, who, shanghai(t, "2026-03-09 12:00")); got["visit/week-1"] != diary.StandsOpen || len(got) != 1 {
		t.Errorf("around the visit: %v", got)
	}
	moment := shanghai(t, "2026-03-09 08:00")
	attack := submitted(t, "2026-03-09", moment)
	attack.Window = diary.Window{ID: "2026-03-09/08:00:00+08:00", Opens: moment, Closes: moment}
	old := shanghai(t, "2026-01-01 08:00")
	held := diary.Held{Patient: anna, Instrument: painNRS, Version: 1,
		Window:     diary.Window{ID: "held/2026-03-08T04:00:00Z", Opens: old, Closes: old},
		CapturedAt: old}
	got := standings(t, diary.Decider.Fold(assigned(attacks()), attack, held), who, shanghai(t, "2026-03-09 12:00"))
	if got[attack.Window.ID] != diary.StandsSent || got["held/2026-03-08T04:00:00Z"] != diary.StandsHeld || len(got) != 2 {
		t.Errorf("of attacks: %v", got)
	}
	// Nothing has happened yet, and something may.
	if of := diary.Decider.Fold(assigned(attacks())).Schedule(who, spanAt(t, who.Zone, moment)); len(of) != 1 || len(of[0].Windows) != 0 {
		t.Errorf("an assignment without entries is %+v", of)
	}
}

// TestAScheduleAgreesWithWhatIsTaken: whenever an entry is taken, its window was shown as open or late, also when the clocks change.
func TestAScheduleAgreesWithWhatIsTaken(t *testing.T) {
	several := instrument.PainDiary()
	several.Schedule.Late.AcceptHours = 3
	several.Schedule.Windows = []instrument.DayWindow{{ID: "night", Opens: "01:30", Closes: "02:30"},
		{ID: "noon", Opens: "11:00", Closes: "13:00"},
		{ID: "late", Opens: "22:00", Closes: "00:30"}}
	for _, zone := range []string{"Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns", "Asia/Kathmandu"} {
		who := enrolled(zone)
		e := assigned(several)
		e.Zone = zone
		e.From, e.Until = "2026-03-01", "2026-11-30"
		d := diary.Decider.Fold(e)
		taken, open := 0, 0
		for _, day := range []string{"2026-03-28", "2026-04-04", "2026-10-03", "2026-10-24", "2026-11-01", "2026-11-30"} {
			begin := instant(t, day+"T00:00:00Z")
			for now := begin; now.Before(begin.Add(48 * time.Hour)); now = now.Add(17 * time.Minute) {
				shown := standings(t, d, who, now)
				for _, standing := range shown {
					if standing == diary.StandsOpen {
						open++
					}
				}
				events, err := submittingAt(who, now, now, mild())(d)
				if err != nil {
					t.Fatal(err)
				}
				if held, is := events[0].(diary.Held); is {
					for id, standing := range shown {
						if standing == diary.StandsOpen || standing == diary.StandsLate {
							t.Errorf("%s: at %s the window %s is %s, and an entry is held: %s", zone, now, id, standing, held.Why)
						}
					}
					continue
				}
				taken++
				for id, standing := range shown {
					if e, ok := events[0].(diary.Submitted); ok && standing == diary.StandsLate && id != e.Window.ID {
						t.Errorf("%s: at %s the window %s is shown as late, and an entry is one of %s", zone, now, id, e.Window.ID)
					}
				}
				if e, ok := events[0].(diary.Submitted); !ok || shown[e.Window.ID] != diary.StandsOpen && !e.Late ||
					shown[e.Window.ID] != diary.StandsLate && e.Late {
					t.Errorf("%s: at %s an entry is taken for %s, which is shown as %q", zone, now, e.Window.ID, shown[e.Window.ID])
				}
			}
		}
		if taken < 100 || open < 100 {
			t.Errorf("%s: only %d entries were taken, and %d windows open", zone, taken, open)
		}
	}
}
