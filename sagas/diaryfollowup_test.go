package sagas_test

import (
	"context"
	"errors"
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
	"casebook/sagas"
	diaryprocesses "casebook/sagas/diary"

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
		w.must(w.crc, diary.AssignInstrument{OfPatient: domain.ForPatient(who), Instrument: id, From: "2026-02-03",
			Until: "2026-02-05", On: "2026-02-03"})
	}
	return who
}

// amend publishes a protocol with both instruments as they are by themselves, but that patients are reminded of the pain
// diary or not.
func (w *world) amend(remind bool) {
	w.t.Helper()
	diary, questionnaire := *instrument.PainDiary(), *instrument.PHQ9()
	diary.Schedule.Remind, diary.Version, questionnaire.Version = remind, 2, 2
	w.must(w.manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(w.study), Protocol: study.Protocol{Version: 2,
		ConsentVersion: "1.0",
		Instruments:    []instrument.Definition{diary, questionnaire}}})
}

func (w *world) submit(who domain.PatientID, day int) {
	w.t.Helper()
	w.must(w.phone(who), diary.SubmitDiary{OfPatient: domain.ForPatient(who), Instrument: painDiary, CapturedAt: berlin(day, 20, 0, 0),
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

// followUp is a diary follow-up whose turns are taken by hand.
type followUp struct {
	*sagas.Clock
	w *world
}

// followUp returns a follow-up on a part, which has the patients' turns due now.
func (w *world) followUp(p *part, patients ...domain.PatientID) followUp {
	f := followUp{sagas.NewClock(diaryprocesses.FollowUp, w.runner(p)), w}
	for _, id := range patients {
		f.Schedule(string(id), w.clock.Now())
	}
	return f
}

// at takes all turns that are due at a moment, until none is.
func (f followUp) at(now time.Time) {
	f.w.t.Helper()
	f.w.clock.set(now)
	for range 100 {
		if !f.TakeTurn(f.w.t.Context()) {
			return
		}
	}
	f.w.t.Fatal("it takes turn after turn")
}

// takeAll hands the follow-up all events of a patient's diary.
func (f followUp) takeAll(who domain.PatientID) {
	f.w.t.Helper()
	for r, err := range f.w.log.ReadStream(f.w.t.Context(), diary.Decider.Stream(string(who)), 0) {
		if err != nil {
			f.w.t.Fatal(err)
		}
		f.Take(r)
	}
}

// next is when the next turn is due; the zero time for never.
func (f followUp) next() time.Time {
	_, at, _ := f.Next()
	return at
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
	f := w.followUp(w.part, who)
	f.at(w.clock.Now())
	if !f.next().Equal(due(3)) {
		t.Fatalf("the next turn is due at %s", f.next())
	}
	f.at(due(3).Add(-time.Nanosecond))
	w.expectMissed(who)
	f.at(due(3))
	w.expectMissed(who, "2026-02-03/evening")
	if !f.next().Equal(due(4)) {
		t.Fatalf("the next turn is due at %s", f.next())
	}
	w.submit(who, 4)
	f.at(due(5).Add(-time.Nanosecond))
	w.expectMissed(who, "2026-02-03/evening")
	f.at(due(5))
	w.expectMissed(who, "2026-02-03/evening", "2026-02-05/evening")
	if next := f.next(); !next.IsZero() {
		t.Errorf("all windows are recorded, and the next turn is due at %s", next)
	}
	f = w.followUp(w.newPart(), who) // another process, which knows nothing
	f.at(due(28))
	w.expectMissed(who, "2026-02-03/evening", "2026-02-05/evening")
}

// Devices are given the longest time of any instrument: whoever is offline is offline for all of them.
func TestTheLongestSyncHoursHold(t *testing.T) {
	for _, order := range [][]instrument.ID{{painDiary, phq9}, {phq9, painDiary}} {
		w := newWorld(t, 10)
		who := w.assign(order...)
		f := w.followUp(w.part, who)
		// The questionnaire closes at midnight and takes no late entries; by itself it would not wait either.
		closed := berlin(4, 0, 0, 0).Add(36 * time.Hour)
		f.at(closed.Add(-time.Nanosecond))
		w.expectMissed(who)
		if !f.next().Equal(closed) {
			t.Fatalf("the next turn is due at %s", f.next())
		}
		f.at(closed)
		w.expectMissed(who, "2026-02-03/day")
		f.at(due(3))
		w.expectMissed(who, "2026-02-03/day", "2026-02-03/evening")
	}
}

// Who has left misses nothing any more, and is not followed for ever.
func TestNobodyMissesWindowsAfterTheEnd(t *testing.T) {
	w := newWorld(t, 10)
	who, stays := w.assign(painDiary), w.assign(painDiary)
	w.clock.set(berlin(4, 12, 0, 0))
	w.must(w.crc, patient.WithdrawConsent{OfPatient: domain.ForPatient(who), On: "2026-02-04"})
	f := w.followUp(w.part, who, stays)
	f.at(due(3))
	w.expectMissed(who, "2026-02-03/evening")
	f.at(due(4)) // the last day belongs to the participation
	w.expectMissed(who, "2026-02-03/evening", "2026-02-04/evening")
	if f.Follows(string(who)) {
		t.Error("the patient is still followed")
	}
	f.at(due(5))
	w.expectMissed(who, "2026-02-03/evening", "2026-02-04/evening")
	w.expectMissed(stays, "2026-02-03/evening", "2026-02-04/evening", "2026-02-05/evening")
	if of, _, followed := f.Next(); followed {
		t.Errorf("%s is still followed", of)
	}
}

// Who is assigned days that have passed misses none before the devices have had their time, reminded or not.
func TestDevicesGetTheirTimeForDaysThatHavePassed(t *testing.T) {
	for _, remind := range []bool{false, true} {
		w := newWorld(t, 10)
		w.amend(remind)
		w.clock.set(due(9))
		who := w.assign(painDiary)
		f := w.followUp(w.part)
		f.takeAll(who)
		f.at(due(9).Add(36*time.Hour - time.Nanosecond))
		w.expectMissed(who)
		f.at(due(9).Add(36 * time.Hour))
		w.expectMissed(who, "2026-02-03/evening", "2026-02-04/evening", "2026-02-05/evening")
	}
}

// Of two instruments that are assigned one after another, the one that gives devices more time keeps it.
func TestDevicesGetTheLongestTimeOfTwoAssignments(t *testing.T) {
	w := newWorld(t, 10)
	w.amend(false)
	w.clock.set(due(20)) // long after the days that are assigned
	who := w.assign(phq9)
	w.clock.set(due(20).Add(time.Hour))
	w.must(w.crc, diary.AssignInstrument{OfPatient: domain.ForPatient(who), Instrument: painDiary, From: "2026-02-03", Until: "2026-02-03",
		On: "2026-02-03"})
	f := w.followUp(w.part)
	f.takeAll(who)
	f.at(due(20).Add(48*time.Hour - time.Nanosecond)) // the questionnaire gives them 48 hours, the pain diary 36
	w.expectMissed(who)
	f.at(due(20).Add(48 * time.Hour))
	w.expectMissed(who, "2026-02-03/day", "2026-02-03/evening")
}

func TestTwoFollowUpsRecordAWindowOnce(t *testing.T) {
	w := newWorld(t, 10)
	who := w.assign(painDiary)
	w.clock.set(due(5))
	var both errgroup.Group
	for range 2 {
		f := w.followUp(w.newPart(), who)
		both.Go(func() error {
			for !f.next().IsZero() {
				f.TakeTurn(t.Context())
			}
			return nil
		})
	}
	if err := both.Wait(); err != nil {
		t.Fatal(err)
	}
	w.expectMissed(who, "2026-02-03/evening", "2026-02-04/evening", "2026-02-05/evening")
}

// The follow-up runs in a program that takes no commands itself. It misses no course of diaries that another program has
// assigned, however shortly before its turn.
func TestTheFollowUpMissesNothingThatAnotherProgramRecords(t *testing.T) {
	const courses = 30
	w := newWorld(t, 10)
	who := w.enroll()
	f := w.followUp(w.newPart())
	var want []string
	for day := 3; day < 3+courses; day++ {
		date := domain.DateOf(berlin(day, 12, 0, 0))
		want = append(want, string(date)+"/evening")
		w.clock.set(due(day).Add(-36 * time.Hour))
		answer, err := w.do(w.crc, diary.AssignInstrument{OfPatient: domain.ForPatient(who), Instrument: painDiary, From: date, Until: date,
			On: date})
		if err != nil {
			t.Fatal(err)
		}
		assigned := answer.Events[0]
		f.Take(eventlog.Recorded{Type: assigned.Type, Event: assigned.Data,
			Metadata: eventlog.Metadata{RecordedAt: due(day).Add(-36 * time.Hour)}})
		f.at(due(day))
		if next := f.next(); !next.IsZero() {
			t.Fatalf("the window of day %d is recorded, and the next turn is due at %s", day, next)
		}
		w.expectMissed(who, want...)
	}
}

// A second instrument, whose devices are given time to send in what they hold, does not put off the reminders of the first.
func TestRemindersAreNotPutOffByAnotherAssignment(t *testing.T) {
	w := newWorld(t, 10)
	w.amend(true)
	f := w.followUp(w.part)
	who := w.assign(painDiary, phq9)
	f.takeAll(who)
	f.at(w.clock.Now())
	f.at(berlin(3, 19, 0, 0)) // when the window of the first opens
	reminders := ofType[diary.ReminderDue](w.events(diary.Decider.Stream(string(who))))
	if len(reminders) != 1 || reminders[0].Instrument != painDiary {
		t.Errorf("the reminders are %+v", reminders)
	}
}

// In quiet hours the reminder waits, also if they were chosen after the process had looked; if they are chosen away, it comes at once.
func TestAReminderWaitsForTheEndOfQuietHours(t *testing.T) {
	w := newWorld(t, 10)
	w.amend(true)
	f := w.followUp(w.part)
	waits, gone := w.assign(painDiary), w.assign(painDiary)
	count := func(who domain.PatientID) int {
		return len(ofType[diary.ReminderDue](w.events(diary.Decider.Stream(string(who)))))
	}
	opens, ends := berlin(3, 18, 0, 0), berlin(3, 21, 30, 0)
	for _, who := range []domain.PatientID{waits, gone} {
		f.takeAll(who)
	}
	f.at(w.clock.Now())
	quiet := func(who domain.PatientID, q *instrument.QuietHours) {
		t.Helper()
		w.must(w.phone(who), diary.ChooseReminders{OfPatient: domain.ForPatient(who), Quiet: q})
		f.takeAll(who)
	}
	quiet(waits, &instrument.QuietHours{From: "17:00", Until: "21:30"})
	quiet(gone, &instrument.QuietHours{From: "17:00", Until: "21:30"})
	f.at(opens)
	if count(waits)+count(gone) != 0 || !f.next().Equal(ends) {
		t.Fatalf("%d and %d reminders, and the next turn is due at %s", count(waits), count(gone), f.next())
	}
	w.clock.set(opens.Add(time.Hour))
	quiet(gone, &instrument.QuietHours{From: "08:00", Until: "08:00"})
	f.at(opens.Add(time.Hour))
	if count(waits) != 0 || count(gone) != 1 {
		t.Fatalf("%d and %d reminders", count(waits), count(gone))
	}
	f.at(ends.Add(-time.Second))
	if count(waits) != 0 {
		t.Error("the patient was reminded in quiet hours")
	}
	f.at(ends)
	f.at(ends.Add(time.Hour))
	if count(waits) != 1 || count(gone) != 1 {
		t.Errorf("%d and %d reminders", count(waits), count(gone))
	}
}

// TestWhatIsAssignedLaterIsRemindedOfToo assigns a second diary that opened at the same moment as one that was reminded of already.
func TestWhatIsAssignedLaterIsRemindedOfToo(t *testing.T) {
	w := newWorld(t, 10)
	first, second := *instrument.PainDiary(), *instrument.PainDiary()
	first.Schedule.Remind, first.Version = true, 2
	second.ID, second.Schedule.Remind = "second-diary", true
	w.must(w.manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(w.study), Protocol: study.Protocol{Version: 2,
		ConsentVersion: "1.0", Instruments: []instrument.Definition{first, second}}})
	f := w.followUp(w.part)
	who := w.assign(painDiary)
	f.takeAll(who)
	reminded := func() (of []instrument.ID) {
		for _, e := range ofType[diary.ReminderDue](w.events(diary.Decider.Stream(string(who)))) {
			of = append(of, e.Instrument)
		}
		return of
	}
	f.at(berlin(3, 18, 0, 0))
	if got := reminded(); !slices.Equal(got, []instrument.ID{painDiary}) {
		t.Fatalf("the patient is reminded of %v", got)
	}
	w.clock.set(berlin(3, 18, 5, 0))
	w.must(w.crc, diary.AssignInstrument{OfPatient: domain.ForPatient(who), Instrument: "second-diary", From: "2026-02-03",
		Until: "2026-02-05", On: "2026-02-03"})
	f.takeAll(who)
	f.at(berlin(3, 18, 5, 1))
	if got := reminded(); !slices.Equal(got, []instrument.ID{painDiary, "second-diary"}) {
		t.Errorf("the patient is reminded of %v", got)
	}
}

// A turn that fails is taken again, after a rest.
func TestTheFollowUpTriesAgainAfterAFailure(t *testing.T) {
	w := newWorld(t, 10)
	who := w.assign(painDiary)
	p := w.newPart()
	p.crashed = true
	f := w.followUp(p, who)
	if err := p.log.Close(); err != nil {
		t.Fatal(err)
	}
	f.at(due(3))
	if !f.next().Equal(due(3).Add(time.Minute)) {
		t.Errorf("the next turn is due at %s", f.next())
	}
	w.expectMissed(who)
}

// run runs the follow-up on a part of its own until a window of the patient is recorded as missed.
func (w *world) run(who domain.PatientID, window string) {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	defer stop()
	ended := make(chan error, 1)
	p := w.newPart()
	verifier := eventlog.NewVerifier(eventlog.VerifierOptions{Log: p.log})
	verified := make(chan error, 1)
	go func() { verified <- verifier.Run(ctx) }()
	go func() { ended <- w.followUp(p).Run(ctx, verifier) }()
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
	if err := errors.Join(<-ended, <-verified); err != nil {
		w.t.Fatal(err)
	}
}

// The follow-up as it runs in the product, from the log and by its clock, stopped and started again.
func TestDiaryFollowUpEndToEnd(t *testing.T) {
	w := newWorld(t, 10)
	first, gone := w.assign(painDiary), w.assign(painDiary)
	w.clock.set(berlin(3, 12, 0, 0))
	w.must(w.crc, patient.WithdrawConsent{OfPatient: domain.ForPatient(gone), On: "2026-02-03"})
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
	w.followUp(w.part, who).at(due(3))
	for r, err := range w.log.ReadStream(t.Context(), diary.Decider.Stream(string(who)), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Type == "DiaryWindowMissed" && r.Metadata.Actor != access.Process(diaryprocesses.FollowUp.Name).User {
			t.Errorf("recorded by %s", r.Metadata.Actor)
		}
	}
}
