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
	"casebook/domain/refuse"
	"casebook/domain/user"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// zonesAndDays are zones with days just before a change of their clocks, if there is one.
var zonesAndDays = rapid.SampledFrom([]struct {
	zone string
	from domain.Date
}{
	{"Asia/Shanghai", "2026-03-01"},
	{"America/New_York", "2026-10-30"}, {"America/New_York", "2026-03-06"},
	{"Europe/Berlin", "2026-10-23"}, {"Europe/Berlin", "2026-03-27"},
	{"Australia/Lord_Howe", "2026-04-03"}, {"Australia/Lord_Howe", "2026-10-02"},
	{"America/St_Johns", "2010-11-05"}, {"Pacific/Apia", "2011-12-28"},
})

var daysOfWindows = rapid.SampledFrom([][]instrument.DayWindow{
	{{ID: "evening", Opens: "18:00", Closes: "00:00"}},
	{{ID: "night", Opens: "01:00", Closes: "02:00"}},
	{{ID: "gap", Opens: "02:00", Closes: "03:00"}},
	{{ID: "early", Opens: "00:30", Closes: "01:30"}, {ID: "late", Opens: "01:30", Closes: "03:00"},
		{ID: "evening", Opens: "22:00", Closes: "00:30"}},
	{{ID: "whole", Opens: "12:00", Closes: "12:00"}},
	{{ID: "first", Opens: "00:00", Closes: "01:00"}, {ID: "second", Opens: "01:00", Closes: "23:59"}},
})

// trial is one patient's diary under a random protocol.
type trial struct {
	who   patient.Patient
	first diary.InstrumentAssigned
	start time.Time
	hours int
}

func drawTrial(t *rapid.T) trial {
	where := zonesAndDays.Draw(t, "where")
	definition := instrument.PainDiary()
	definition.Schedule = instrument.Schedule{
		EveryDays: rapid.IntRange(1, 3).Draw(t, "every days"),
		Windows:   daysOfWindows.Draw(t, "windows"),
		Late: instrument.LatePolicy{AcceptHours: rapid.SampledFrom([]int{0, 1, 12, 72}).Draw(t, "accept hours"),
			SyncHours: rapid.SampledFrom([]int{0, 24}).Draw(t, "sync hours")},
	}
	days := rapid.IntRange(1, 8).Draw(t, "days")
	start, err := where.from.Time()
	if err != nil {
		t.Fatal(err)
	}
	who := enrolled(where.zone)
	who.EnrolledOn = where.from
	return trial{who: who, start: start.Add(-24 * time.Hour), hours: 24 * (days + 6),
		first: diary.InstrumentAssigned{Patient: anna, Instrument: *definition, Zone: where.zone,
			From: where.from, Until: where.from.AddDays(days)}}
}

// next decides on a random command and returns the result.
func (tr trial) next(t *rapid.T, d diary.Diary, events []diary.Event) ([]diary.Event, error) {
	moment := tr.start.Add(time.Duration(rapid.IntRange(0, tr.hours*4).Draw(t, "quarter")) * 15 * time.Minute)
	now := moment.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "hours until it arrives")) * time.Hour)
	window := rapid.SampledFrom(tr.windows()).Draw(t, "window")
	because := domain.Because("source checked")
	switch rapid.IntRange(0, 8).Draw(t, "what") {
	case 0:
		return closingFor(tr.who, moment, now)(d)
	case 1:
		cmd := diary.AskDiaryCorrection{OfPatient: domain.ForPatient(anna), Instrument: painNRS, Window: window,
			Reasoned: because, Answers: diary.Answers{"worst": rapid.IntRange(0, 11).Draw(t, "worst")}}
		return diary.AskCorrection(d, diary.EntryOf(events, painNRS, window), cmd, call(now))
	case 5:
		asked, _ := d.Request(rapid.IntRange(1, 5).Draw(t, "request"))
		at, of := call(now), domain.ForPatient(anna)
		at.Actor = "dr"
		if rapid.Bool().Draw(t, "declines") {
			return diary.DeclineCorrection(d, diary.DeclineDiaryCorrection{OfPatient: of, Request: asked.Request, Reasoned: because}, at)
		}
		return diary.Correct(d, diary.EntryOf(events, painNRS, asked.Window), diary.CorrectDiary{OfPatient: of, Request: asked.Request,
			Reasoned: because}, at)
	case 2:
		window := rapid.SampledFrom(append(tr.windows(), heldIn(events)...)).Draw(t, "window or held entry")
		cmd := diary.VoidDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, Window: window, Reasoned: because}
		return diary.Void(d, diary.EntryOf(events, painNRS, window), cmd, call(now))
	case 3:
		window := rapid.SampledFrom(append(tr.windows(), heldIn(events)...)).Draw(t, "window or held entry")
		cmd := diary.CorrectDiaryWindow{OfPatient: domain.ForPatient(anna), Instrument: painNRS, From: window,
			To: rapid.SampledFrom(tr.windows()).Draw(t, "to"), Reasoned: because}
		return diary.CorrectWindow(d, diary.Relocation{Patient: tr.who, Entry: diary.EntryOf(events, painNRS, window)}, cmd, call(now))
	case 4:
		cmd := diary.TranscribeDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, AnsweredAt: moment, Answers: mild(),
			Source: diary.SourcePaper, Respondent: diary.RespondentPatient, Reasoned: because}
		if rapid.Bool().Draw(t, "names the window") {
			cmd.Window = window
		}
		return diary.Transcribe(d, tr.who, cmd, call(now))
	default:
		return tr.send(t, d, moment, now)
	}
}

// send sends an entry, perhaps of a second device, whose clock may be in another zone. Nothing is refused but what the app can mend,
// and the same entry again records nothing.
func (tr trial) send(t *rapid.T, d diary.Diary, moment, now time.Time) ([]diary.Event, error) {
	worst := rapid.IntRange(0, 11).Draw(t, "worst")
	cmd := diary.SubmitDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, CapturedAt: moment, Zone: tr.who.Zone,
		Answers: with(mild(), diary.Answers{"worst": worst})}
	if rapid.Bool().Draw(t, "has a zone of its own") {
		cmd.Zone, cmd.CapturedAt = "", drawnZone(t, "Asia/Tokyo").In(moment)
	}
	cmd.Device = user.DeviceID(rapid.SampledFrom([]string{"", "phone-1", "phone-2"}).Draw(t, "device"))
	cmd.Sender.Device = rapid.SampledFrom([]diary.DeviceStanding{diary.DeviceIsTrusted, diary.DeviceIsTrusted, diary.DeviceIsRevoked}).
		Draw(t, "standing")
	events, err := submit(tr.who, cmd, call(now))(d)
	if r, refused := refuse.As(err); refused && !(r.Code == "answer_out_of_range" && worst > 10) {
		t.Fatalf("an entry is refused: %v", err)
	}
	after := d
	for _, e := range events {
		after = diary.Decider.Evolve(after, e)
	}
	if again, err := submit(tr.who, cmd, call(now.Add(time.Hour)))(after); worst <= 10 && (err != nil || len(again) > 0) {
		t.Fatalf("the same entry is recorded twice: %v, %v", again, err)
	}
	return events, err
}

// windows are the ids of all windows, including those that the clocks skip.
func (tr trial) windows() []string {
	var ids []string
	for date := tr.first.From; date <= tr.first.Until; date = date.AddDays(tr.first.Instrument.Schedule.EveryDays) {
		for _, w := range tr.first.Instrument.Schedule.Windows {
			ids = append(ids, string(date)+"/"+w.ID)
		}
	}
	return ids
}

// For any commands in any order: a window never has two entries that count; it is missed at most once and never while it is
// answered; an entry after it was missed is flagged; every entry that nobody has moved or transcribed was captured in its window or
// in the time for late entries; and in the end every window
// is answered or missed.
func TestEveryWindowIsAnsweredOrMissedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := drawTrial(t)
		d, events := diary.Decider.Fold(tr.first), []diary.Event{tr.first}
		add := func(news []diary.Event, err error) int {
			if _, refused := refuse.As(err); err != nil && !refused {
				t.Fatalf("failed: %v", err)
			}
			for _, e := range news {
				d, events = diary.Decider.Evolve(d, e), append(events, e)
			}
			return len(news)
		}
		for range rapid.IntRange(0, 30).Draw(t, "commands") {
			add(tr.next(t, d, events))
		}
		for {
			due, ok := d.NextDue(tr.who)
			if !ok {
				break
			}
			if add(closingFor(tr.who, due, due)(d)) == 0 {
				t.Fatalf("a window is due at %s, but nothing is recorded", due)
			}
		}
		tr.verify(t, d, events)
	})
}

// verify checks the events and the state of a trial that has ended.
func (tr trial) verify(t *rapid.T, d diary.Diary, events []diary.Event) {
	answered, missed, voided := map[string]bool{}, map[string]bool{}, map[string]bool{}
	held, decided := map[string]bool{}, map[string]bool{}
	accept := time.Duration(tr.first.Instrument.Schedule.Late.AcceptHours) * time.Hour
	for _, e := range events {
		switch e := e.(type) {
		case diary.Submitted:
			if answered[e.Window.ID] {
				t.Fatalf("the window %s has two entries", e.Window.ID)
			}
			if e.AfterMissed != missed[e.Window.ID] || e.Again != voided[e.Window.ID] {
				t.Fatalf("the entry of %s has AfterMissed %v, Again %v", e.Window.ID, e.AfterMissed, e.Again)
			}
			inTime := !e.CapturedAt.Before(e.Window.Opens) && e.CapturedAt.Before(e.Window.Closes)
			inLate := !e.CapturedAt.Before(e.Window.Closes) && e.CapturedAt.Before(e.Window.Closes.Add(accept))
			free := e.MovedFrom != "" || e.Mode.ByStaff()
			if !e.Late && !inTime || e.Late && !inLate && !free {
				t.Fatalf("captured at %s, late %v, in the window %+v", e.CapturedAt, e.Late, e.Window)
			}
			answered[e.Window.ID] = true
		case diary.Held:
			if held[e.Window.ID] {
				t.Fatalf("two entries are held as %s", e.Window.ID)
			}
			held[e.Window.ID] = true
		case diary.Voided:
			if e.Held {
				if !held[e.Window.ID] || decided[e.Window.ID] {
					t.Fatalf("the entry %s is decided about, held %v", e.Window.ID, held[e.Window.ID])
				}
				decided[e.Window.ID] = true
				continue
			}
			if !answered[e.Window.ID] || e.AfterMissed != missed[e.Window.ID] {
				t.Fatalf("the diary of %s is voided, AfterMissed %v", e.Window.ID, e.AfterMissed)
			}
			answered[e.Window.ID], voided[e.Window.ID] = false, true
		case diary.WindowMissed:
			if answered[e.Window.ID] || missed[e.Window.ID] {
				t.Fatalf("the window %s is missed after it was answered or missed", e.Window.ID)
			}
			if !e.Window.Opens.Before(e.Window.Closes) {
				t.Fatalf("the window %+v is missed, but the clocks skip it", e.Window)
			}
			missed[e.Window.ID] = true
		}
	}
	compiled, err := instrument.Compile(&tr.first.Instrument)
	if err != nil {
		t.Fatal(err)
	}
	calendar := mustCalendar(t, compiled, tr.first)
	if calendar.Len() != len(tr.windows()) {
		t.Fatalf("%d windows, want %d", calendar.Len(), len(tr.windows()))
	}
	for number, id := range tr.windows() {
		if ended := answered[id] || missed[id]; ended == calendar.Empty(number) {
			t.Fatalf("the window %s: answered or missed %v, skipped by the clocks %v", id, ended, calendar.Empty(number))
		}
		want := diary.Status(0)
		if answered[id] {
			want |= diary.Answered
		}
		if missed[id] {
			want |= diary.Missed
		}
		if got := d.Status(painNRS, id); got != want {
			t.Fatalf("the window %s has the status %d, want %d", id, got, want)
		}
	}
}

// Evolve does not change the state that it gets, and the same events always fold to the same state.
func TestEvolveIsPure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := drawTrial(t)
		d, events := diary.Decider.Fold(tr.first), []diary.Event{tr.first}
		var states []diary.Diary
		var seen []string
		for range rapid.IntRange(1, 20).Draw(t, "commands") {
			news, _ := tr.next(t, d, events)
			for _, e := range news {
				states, seen = append(states, d), append(seen, picture(tr, d))
				d, events = diary.Decider.Evolve(d, e), append(events, e)
			}
		}
		for i, old := range states {
			if diff := cmp.Diff(seen[i], picture(tr, old)); diff != "" {
				t.Fatalf("the state %d has changed:\n%s", i, diff)
			}
		}
		if diff := cmp.Diff(picture(tr, d), picture(tr, diary.Decider.Fold(events...))); diff != "" {
			t.Fatalf("the same events fold to another state:\n%s", diff)
		}
	})
}

// picture is a text of everything that a state shows.
func picture(tr trial, d diary.Diary) string {
	due, ok := d.NextDue(tr.who)
	s := fmt.Sprintf("due %s %v", due, ok)
	for _, a := range d.Assignments() {
		s += fmt.Sprintf("\n%s %s %s", a.Zone, a.From, a.Until)
	}
	for _, id := range tr.windows() {
		s += fmt.Sprintf("\n%s %d", id, d.Status(painNRS, id))
	}
	return s
}

// heldIn are the ids of entries that were held.
func heldIn(events []diary.Event) (ids []string) {
	for _, e := range events {
		if h, is := e.(diary.Held); is {
			ids = append(ids, h.Window.ID)
		}
	}
	return ids
}

func mustCalendar(t *rapid.T, compiled *instrument.Instrument, e diary.InstrumentAssigned) instrument.Calendar {
	zone := drawnZone(t, e.Zone)
	calendar, err := compiled.Calendar(zone, e.From, e.Until)
	if err != nil {
		t.Fatal(err)
	}
	return calendar
}

func drawnZone(t *rapid.T, name string) *localtime.Zone {
	zone, err := localtime.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}
