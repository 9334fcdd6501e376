package sagas

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/eventlog"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

var (
	painDiary = instrument.PainDiary().ID
	phq9      = instrument.PHQ9().ID
)

// berlin is a moment of February 2026.
func berlin(day, hour, minute, second int) time.Time {
	return time.Date(2026, 2, day, hour-1, minute, second, 0, time.UTC)
}

// due is when the pain diary of a day's evening is recorded as missed: it closes at midnight, takes late entries for 12
// hours, and waits 36 hours for devices.
func due(day int) time.Time { return berlin(day+3, 0, 0, 0) }

// assign asks a new patient the instruments from 3 to 5 February, on 3 February.
func (w *world) assign(ids ...instrument.ID) domain.PatientID {
	w.t.Helper()
	who := w.enroll()
	for _, id := range ids {
		w.must(crc, diary.AssignInstrument{OfPatient: domain.ForPatient(who), Instrument: id, From: "2026-02-03", Until: "2026-02-05"})
	}
	return who
}

func (w *world) submit(who domain.PatientID, day int) {
	w.t.Helper()
	w.must(crc, diary.SubmitDiary{OfPatient: domain.ForPatient(who), Instrument: painDiary, CapturedAt: berlin(day, 20, 0, 0),
		Answers: diary.Answers{"worst": 3, "least": 1, "average": 2, "now": 2, "rescue": false}})
}

// missed lists the windows that are recorded as missed, in their order.
func (w *world) missed(who domain.PatientID) []string {
	w.t.Helper()
	var ids []string
	for _, e := range ofType[diary.WindowMissed](w.events(diary.Decider.Stream(string(who)))) {
		ids = append(ids, e.Window.ID)
	}
	return ids
}

func (w *world) followUp(p *part) *DiaryFollowUp {
	return &DiaryFollowUp{Log: p.log, Handler: p.handler, Logger: slog.New(slog.DiscardHandler), Now: w.clock.Now}
}

// looks is a follow-up that only looks when it is told to.
type looks struct {
	*DiaryFollowUp
	w    *world
	list *dueList
}

func (w *world) looks(p *part, patients ...domain.PatientID) looks {
	l := looks{w.followUp(p), w, &dueList{at: map[domain.PatientID]*dueEntry{}}}
	for _, id := range patients {
		l.list.set(id, w.clock.Now())
	}
	return l
}

// at looks at whatever is due at a moment, until nothing is, as watch does.
func (l looks) at(now time.Time) {
	l.w.t.Helper()
	l.w.clock.set(now)
	for range 100 {
		next, ok := l.list.first()
		if !ok || next.at.After(now) {
			return
		}
		l.look(l.w.t.Context(), l.list, next.patient)
	}
	l.w.t.Fatal("it looks again and again")
}

// next is when it looks next; the zero time for never.
func (l looks) next() time.Time {
	if next, ok := l.list.first(); ok {
		return next.at
	}
	return time.Time{}
}

func (w *world) expectMissed(who domain.PatientID, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.missed(who)); diff != "" {
		w.t.Errorf("missed (-want +got):\n%s", diff)
	}
}

func TestWindowsAreMissedWhenTheirTimeHasRunOutAndNotBefore(t *testing.T) {
	w := newWorld(t, 10)
	who := w.assign(painDiary)
	l := w.looks(w.part, who)
	l.at(w.clock.Now())
	if !l.next().Equal(due(3)) {
		t.Fatalf("it looks next at %s", l.next())
	}
	l.at(due(3).Add(-time.Nanosecond))
	w.expectMissed(who)
	l.at(due(3))
	w.expectMissed(who, "2026-02-03/evening")
	if !l.next().Equal(due(4)) {
		t.Fatalf("it looks next at %s", l.next())
	}
	w.submit(who, 4)
	l.at(due(5).Add(-time.Nanosecond))
	w.expectMissed(who, "2026-02-03/evening")
	l.at(due(5))
	w.expectMissed(who, "2026-02-03/evening", "2026-02-05/evening")
	if next := l.next(); !next.IsZero() {
		t.Errorf("all windows are recorded, and it looks again at %s", next)
	}
	l = w.looks(w.newPart(), who) // another process, which knows nothing
	l.at(due(28))
	w.expectMissed(who, "2026-02-03/evening", "2026-02-05/evening")
}

// Devices are given the longest time of any instrument: whoever is offline is offline for all of them.
func TestTheLongestSyncHoursHold(t *testing.T) {
	for _, order := range [][]instrument.ID{{painDiary, phq9}, {phq9, painDiary}} {
		w := newWorld(t, 10)
		who := w.assign(order...)
		l := w.looks(w.part, who)
		// The questionnaire closes at midnight and takes no late entries; by itself it would not wait either.
		closed := berlin(4, 0, 0, 0).Add(36 * time.Hour)
		l.at(closed.Add(-time.Nanosecond))
		w.expectMissed(who)
		if !l.next().Equal(closed) {
			t.Fatalf("it looks next at %s", l.next())
		}
		l.at(closed)
		w.expectMissed(who, "2026-02-03/day")
		l.at(due(3))
		w.expectMissed(who, "2026-02-03/day", "2026-02-03/evening")
	}
}

// Who has left misses nothing any more, and is not followed for ever.
func TestNobodyMissesWindowsAfterTheEnd(t *testing.T) {
	w := newWorld(t, 10)
	who, stays := w.assign(painDiary), w.assign(painDiary)
	w.clock.set(berlin(4, 12, 0, 0))
	w.must(crc, patient.WithdrawConsent{OfPatient: domain.ForPatient(who), On: "2026-02-04"})
	l := w.looks(w.part, who, stays)
	l.at(due(3))
	w.expectMissed(who, "2026-02-03/evening")
	l.at(due(4)) // the last day belongs to the participation
	w.expectMissed(who, "2026-02-03/evening", "2026-02-04/evening")
	if _, followed := l.list.at[who]; followed {
		t.Error("the patient is still followed")
	}
	l.at(due(5))
	w.expectMissed(who, "2026-02-03/evening", "2026-02-04/evening")
	w.expectMissed(stays, "2026-02-03/evening", "2026-02-04/evening", "2026-02-05/evening")
	if len(l.list.at) != 0 {
		t.Errorf("%d patients are still followed", len(l.list.at))
	}
}

// Who is assigned days that have passed misses none before the devices have had their time, reminded or not.
func TestDevicesGetTheirTimeForDaysThatHavePassed(t *testing.T) {
	for _, remind := range []bool{false, true} {
		w := newWorld(t, 10)
		definition := *instrument.PainDiary()
		definition.Schedule.Remind, definition.Version = remind, 2
		w.must(manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(pain), Protocol: study.Protocol{Version: 2, ConsentVersion: "1.0", Instruments: []instrument.Definition{definition}}})
		w.clock.set(due(9))
		who := w.assign(painDiary)
		l := w.looks(w.part)
		for r, err := range w.log.ReadStream(t.Context(), diary.Decider.Stream(string(who)), 0) {
			if err != nil {
				t.Fatal(err)
			}
			l.list.assigned(r.Event.(diary.InstrumentAssigned), r.Metadata.RecordedAt)
		}
		l.at(due(9).Add(36*time.Hour - time.Nanosecond))
		w.expectMissed(who)
		l.at(due(9).Add(36 * time.Hour))
		w.expectMissed(who, "2026-02-03/evening", "2026-02-04/evening", "2026-02-05/evening")
	}
}

func TestTwoFollowUpsRecordAWindowOnce(t *testing.T) {
	w := newWorld(t, 10)
	who := w.assign(painDiary)
	w.clock.set(due(5))
	var both errgroup.Group
	for range 2 {
		l := w.looks(w.newPart(), who)
		both.Go(func() error {
			for !l.next().IsZero() {
				l.look(t.Context(), l.list, who)
			}
			return nil
		})
	}
	if err := both.Wait(); err != nil {
		t.Fatal(err)
	}
	w.expectMissed(who, "2026-02-03/evening", "2026-02-04/evening", "2026-02-05/evening")
}

// What cannot be read or written is looked at again, after a rest.
func TestItLooksAgainAfterAFailure(t *testing.T) {
	w := newWorld(t, 10)
	who := w.assign(painDiary)
	p := w.newPart()
	p.crashed = true
	l := w.looks(p, who)
	if err := p.log.Close(); err != nil {
		t.Fatal(err)
	}
	l.at(due(3))
	if !l.next().Equal(due(3).Add(followUpRest)) {
		t.Errorf("it looks next at %s", l.next())
	}
	w.expectMissed(who)
}

// run runs the follow-up on a part of its own until a window of the patient is recorded as missed.
func (w *world) run(who domain.PatientID, window string) {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.followUp(w.newPart()).Run(ctx) }()
	found := false
	err := w.log.Follow(ctx, eventlog.Subscription{Types: []string{"DiaryWindowMissed"}}, func(_ context.Context, b eventlog.Batch) error {
		for _, r := range b.Events {
			if e, ok := r.Event.(diary.WindowMissed); ok && e.Patient == who && e.Window.ID == window {
				found = true
				stop()
			}
		}
		return nil
	})
	if err != nil || !found {
		w.t.Fatalf("the window %s is not recorded: %v", window, err)
	}
	if err := <-ended; err != nil {
		w.t.Fatal(err)
	}
}

// The follow-up as it runs in the product, from the log and by its clock, stopped and started again.
func TestDiaryFollowUpEndToEnd(t *testing.T) {
	w := newWorld(t, 10)
	first, gone := w.assign(painDiary), w.assign(painDiary)
	w.clock.set(berlin(3, 12, 0, 0))
	w.must(crc, patient.WithdrawConsent{OfPatient: domain.ForPatient(gone), On: "2026-02-03"})
	last := w.assign(painDiary) // whose turn comes behind the others'
	w.clock.set(due(3))
	w.run(last, "2026-02-03/evening")
	for _, who := range []domain.PatientID{first, gone, last} {
		w.expectMissed(who, "2026-02-03/evening")
	}
	w.clock.set(due(5))
	w.run(last, "2026-02-05/evening")
	w.expectMissed(first, "2026-02-03/evening", "2026-02-04/evening", "2026-02-05/evening")
	w.expectMissed(gone, "2026-02-03/evening")
	w.clock.set(due(9))
	later := w.assign(painDiary) // assigned for days that have passed: devices get their time all the same
	w.clock.set(due(9).Add(36 * time.Hour))
	w.run(later, "2026-02-05/evening")
	w.expectMissed(first, "2026-02-03/evening", "2026-02-04/evening", "2026-02-05/evening")
	w.expectMissed(gone, "2026-02-03/evening")
	w.expectMissed(last, "2026-02-03/evening", "2026-02-04/evening", "2026-02-05/evening")
}

// TestTheFollowUpIsNamed: what it records says that no person did.
func TestTheFollowUpIsNamed(t *testing.T) {
	w := newWorld(t, 10)
	who := w.assign(painDiary)
	w.looks(w.part, who).at(due(3))
	for r, err := range w.log.ReadStream(t.Context(), diary.Decider.Stream(string(who)), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Type == "DiaryWindowMissed" && r.Metadata.Actor != access.Process("diary-follow-up").User {
			t.Errorf("recorded by %s", r.Metadata.Actor)
		}
	}
}

func TestDueListKeepsTheOrder(t *testing.T) {
	l := &dueList{at: map[domain.PatientID]*dueEntry{}}
	for i, id := range []domain.PatientID{"d", "a", "c", "b", "e"} {
		l.set(id, berlin(i+1, 0, 0, 0))
	}
	l.set("d", berlin(10, 0, 0, 0))
	l.set("e", berlin(1, 0, 0, 0))
	l.remove("c")
	l.remove("nobody")
	var order []domain.PatientID
	for next, ok := l.first(); ok; next, ok = l.first() {
		order = append(order, next.patient)
		l.remove(next.patient)
	}
	if !slices.Equal(order, []domain.PatientID{"e", "a", "b", "d"}) {
		t.Errorf("the order is %v", order)
	}
}
