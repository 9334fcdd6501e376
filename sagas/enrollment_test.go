package sagas

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/eventlog"

	"github.com/google/go-cmp/cmp"
)

func TestEnrollmentReacts(t *testing.T) {
	const anna = domain.PatientID("PAIN1.S-1")
	for _, x := range []struct {
		event any
		want  []any
	}{
		{patient.EnrollmentRequested{Patient: anna, Study: pain, Site: "A", On: "2026-02-02"},
			[]any{enrollment.ReservePlace{Study: pain, Site: "A", Patient: anna}}},
		{enrollment.PlaceReserved{Study: pain, Site: "A", Patient: anna, Number: 7},
			[]any{patient.ConfirmEnrollment{Patient: anna, PatientNumber: "PAIN1-00007"}}},
		{enrollment.PlaceReserved{Study: pain, Site: "A", Patient: anna, Number: 123456},
			[]any{patient.ConfirmEnrollment{Patient: anna, PatientNumber: "PAIN1-123456"}}},
		{enrollment.PlaceRefused{Study: pain, Site: "A", Patient: anna, Code: "site_cap_reached", Reason: "full"},
			[]any{patient.FailEnrollment{Patient: anna, Code: "site_cap_reached", Reason: "full"}}},
		{patient.Enrolled{Patient: anna}, nil}, {patient.EnrollmentFailed{Patient: anna}, nil}, {patient.ConsentWithdrawn{Patient: anna}, nil},
		{enrollment.PlaceReleased{Patient: anna}, nil}, {enrollment.Opened{}, nil}, {nil, nil},
	} {
		if diff := cmp.Diff(x.want, Enrollment.React(x.event)); diff != "" {
			t.Errorf("%T (-want +got):\n%s", x.event, diff)
		}
	}
}

func TestEnrollmentMakesUpForRefusals(t *testing.T) {
	const anna = domain.PatientID("PAIN1.S-1")
	no := refuse.WrongState("patient_ended", "it is over")
	for _, x := range []struct {
		command any
		want    []any
	}{
		{patient.ConfirmEnrollment{Patient: anna}, []any{enrollment.ReleasePlace{Study: pain, Patient: anna, Reason: "it is over"}}},
		{enrollment.ReservePlace{Study: pain, Patient: anna}, []any{patient.FailEnrollment{Patient: anna, Code: "patient_ended", Reason: "it is over"}}},
		{patient.FailEnrollment{Patient: anna}, nil}, {enrollment.ReleasePlace{Patient: anna}, nil},
	} {
		if diff := cmp.Diff(x.want, Enrollment.Refused(x.command, no)); diff != "" {
			t.Errorf("%T (-want +got):\n%s", x.command, diff)
		}
	}
}

func TestEnrollmentEndToEnd(t *testing.T) {
	w := newWorld(t, 1)
	r := w.start(w.part, nil)
	first := w.request()
	w.settle(r)
	second := w.request()
	w.settle(r)
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	enrolled := ofType[patient.Enrolled](w.events(patient.Decider.Stream(string(first))))
	if diff := cmp.Diff([]patient.Enrolled{{Patient: first, On: "2026-02-02", PatientNumber: "PAIN1-00001"}}, enrolled); diff != "" {
		t.Error(diff)
	}
	failed := ofType[patient.EnrollmentFailed](w.events(patient.Decider.Stream(string(second))))
	if diff := cmp.Diff([]patient.EnrollmentFailed{{Patient: second, Code: "study_cap_reached", Reason: "all places of the study are taken"}}, failed); diff != "" {
		t.Error(diff)
	}
	// The trail says what set each step off.
	for e, err := range w.log.ReadStream(t.Context(), patient.Decider.Stream(string(first)), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == "PatientEnrolled" && (e.Metadata.Actor != "process:enrollment" || e.Metadata.CausationID == e.Metadata.CommandID ||
			e.Metadata.CorrelationID == e.Metadata.CommandID) {
			t.Errorf("the confirmation's metadata are %+v", e.Metadata)
		}
	}
}

func TestAFailedEnrollmentMayBeAskedForAgain(t *testing.T) {
	w := newWorld(t, 1)
	r := w.start(w.part, nil)
	w.request()
	w.settle(r)
	late := w.request()
	w.settle(r)
	w.must(manager, enrollment.SetEnrollmentTarget{Study: pain, Caps: enrollment.Caps{Target: 1, Study: 2}})
	w.must(crc, patient.EnrollPatient{Patient: late, On: "2026-02-03"})
	w.settle(r)
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	want := []string{"Screened", "Consented", "EnrollmentRequested", "EnrollmentFailed", "EnrollmentRequested", "Enrolled"}
	if diff := cmp.Diff(want, names(w.events(patient.Decider.Stream(string(late))))); diff != "" {
		t.Error(diff)
	}
}

// The patient withdraws at the worst moment: the place is reserved, the confirmation not sent yet.
func TestAWithdrawalInBetweenGivesThePlaceBack(t *testing.T) {
	w := newWorld(t, 1)
	var once sync.Once
	r := w.start(w.part, func(event any, _ func()) {
		if e, ok := event.(enrollment.PlaceReserved); ok {
			once.Do(func() { w.must(crc, patient.WithdrawConsent{Patient: e.Patient, On: "2026-02-03"}) })
		}
	})
	first := w.request()
	w.settle(r)
	second := w.request() // for whom the place is free again
	w.settle(r)
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if got := names(w.events(patient.Decider.Stream(string(first)))); got[len(got)-1] != "ConsentWithdrawn" {
		t.Errorf("the first patient's events are %v", got)
	}
	if got := names(w.events(patient.Decider.Stream(string(second)))); got[len(got)-1] != "Enrolled" {
		t.Errorf("the second patient's events are %v", got)
	}
	places := w.events(enrollment.Decider.Stream(string(pain)))
	if diff := cmp.Diff([]string{"Opened", "PlaceReserved", "PlaceReleased", "PlaceReserved"}, names(places)); diff != "" {
		t.Error(diff)
	}
	if r := ofType[enrollment.PlaceReleased](places)[0]; r.Patient != first || r.Reason == "" {
		t.Errorf("given back was %+v", r)
	}
}

// crowd asks for two places for four patients, of whom the first has withdrawn already.
func (w *world) crowd() [4]domain.PatientID {
	ids := [4]domain.PatientID{w.request(), w.request(), w.request(), w.request()}
	w.must(crc, patient.WithdrawConsent{Patient: ids[0], On: "2026-02-03"})
	return ids
}

// verifyCrowd holds the log to what has to become of them, however often and by whomever it was dealt with.
func (w *world) verifyCrowd(ids [4]domain.PatientID) {
	w.t.Helper()
	for i, end := range []string{"ConsentWithdrawn", "Enrolled", "EnrollmentFailed", "EnrollmentFailed"} {
		want := []string{"Screened", "Consented", "EnrollmentRequested", end}
		if diff := cmp.Diff(want, names(w.events(patient.Decider.Stream(string(ids[i]))))); diff != "" {
			w.t.Errorf("patient %d (-want +got):\n%s", i, diff)
		}
	}
	want := map[string]int{"Opened": 1, "PlaceReserved": 2, "PlaceRefused": 2, "PlaceReleased": 1}
	got := map[string]int{}
	for _, name := range names(w.events(enrollment.Decider.Stream(string(pain)))) {
		got[name]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("places (-want +got):\n%s", diff)
	}
}

// Stopped before any event, orderly with its progress saved or by a crash that loses it: what is left to do is done
// when it runs again, and nothing is done twice.
func TestEnrollmentGoesOnWhereverItWasStopped(t *testing.T) {
	const eventsOfACrowd = 5 + 1 + 3*4 + 1 + 7 // study, places, asks, withdrawal, and what the process makes of them
	for stopAt := 0; stopAt < eventsOfACrowd; stopAt += 2 {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("before event %d, crash %v", stopAt, crash), func(t *testing.T) {
				w := newWorld(t, 2)
				ids := w.crowd()
				w.stopBefore(stopAt, crash)
				if saved := len(w.events(process.Category + "-enrollment")); crash && saved != 0 {
					t.Fatalf("the crash saved the progress %d times", saved)
				}
				r := w.start(w.part, nil)
				w.settle(r)
				if err := r.end(); err != nil {
					t.Fatal(err)
				}
				w.verifyCrowd(ids)
			})
		}
	}
}

// stopBefore runs the process in a part of its own until it has seen n events, or all there are.
func (w *world) stopBefore(n int, crash bool) {
	p := w.newPart()
	seen := 0
	p.crashed = crash
	r := w.start(p, func(_ any, stop func()) {
		if seen++; seen > n {
			stop()
			if crash {
				_ = p.log.Close() // from here on nothing gets through
			}
		}
	})
	w.settle(r)
	if err := r.end(); err != nil && !crash {
		w.t.Fatal(err)
	}
}

// Everything is dealt with anew by a process that knows nothing of the first time, and nothing comes of it.
func TestEnrollmentFromZeroChangesNothing(t *testing.T) {
	w := newWorld(t, 2)
	ids := w.crowd()
	p := w.newPart()
	p.crashed = true
	first := w.start(p, nil)
	w.settle(first)
	_ = p.log.Close()
	if err := first.end(); err == nil {
		t.Fatal("the progress was saved without a log")
	}
	w.verifyCrowd(ids)
	other := w.newPart()
	asked := 0
	r := w.start(other, func(event any, _ func()) {
		if _, ok := event.(patient.EnrollmentRequested); ok {
			asked++
		}
	})
	w.settle(r)
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if asked != len(ids) {
		t.Errorf("%d requests were dealt with again", asked)
	}
	w.verifyCrowd(ids)
}

// Two processes that run by mistake at the same time do the same once. One of them may find out, and says so.
func TestTwoRunnersDoEverythingOnce(t *testing.T) {
	w := newWorld(t, 2)
	parts := []*part{w.newPart(), w.newPart()}
	ids := w.crowd()
	runners := []*running{w.start(parts[0], nil), w.start(parts[1], nil)}
	w.settle(runners...)
	for _, r := range runners {
		if err := r.end(); err != nil && !errors.Is(err, eventlog.ErrConflict) {
			t.Error(err)
		}
	}
	w.verifyCrowd(ids)
}

func TestProgressIsKept(t *testing.T) {
	w := newWorld(t, 2)
	ids := w.crowd()
	r := w.start(w.part, nil)
	w.settle(r)
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if n := len(w.events(process.Category + "-enrollment")); n != 1 {
		t.Fatalf("the progress was saved %d times", n)
	}
	// The second time it begins behind what it has dealt with.
	var early []any
	again := w.start(w.part, func(event any, _ func()) {
		if e, ok := event.(patient.EnrollmentRequested); ok {
			early = append(early, e)
		}
	})
	w.settle(again)
	if err := again.end(); err != nil {
		t.Fatal(err)
	}
	if len(early) > 0 {
		t.Errorf("it began again at %v", early)
	}
	w.verifyCrowd(ids)
}

// A stored progress whose answer got lost is found again, and somebody else's is not taken for one's own.
func TestProgressThatMayHaveBeenSaved(t *testing.T) {
	w := newWorld(t, 2)
	runner := Runner{Process: Enrollment, Log: w.log, Handler: w.handler}
	saved := func(p *progress, commit uint64) error {
		p.position = eventlog.Position{Commit: commit, Prepare: commit}
		return p.save(t.Context())
	}
	p, err := runner.loadProgress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := saved(p, 1); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	p.position.Commit = 2
	if err := p.save(gone); err == nil || errors.Is(err, eventlog.ErrConflict) {
		t.Fatalf("got %v", err)
	}
	if err := saved(p, 3); err != nil {
		t.Fatalf("after an append that may have been stored: %v", err)
	}
	// It is recorded now and then while the process acts, and a failure to do so is only reported.
	reported := 0
	p.savedAt = time.Time{}
	p.acted = true
	if err := p.advance(gone, eventlog.Position{Commit: 4, Prepare: 4}, false, func(error) { reported++ }); err != nil || reported != 1 {
		t.Errorf("got %v and %d reports", err, reported)
	}
	p.savedAt = time.Time{}
	if err := p.advance(t.Context(), eventlog.Position{Commit: 5, Prepare: 5}, false, func(error) { reported++ }); err != nil || reported != 1 {
		t.Errorf("got %v and %d reports", err, reported)
	}
	other, err := runner.loadProgress(t.Context())
	if err != nil || other.position.Commit != 5 {
		t.Fatalf("got %+v, %v", other, err)
	}
	if err := saved(other, 6); err != nil {
		t.Fatal(err)
	}
	if err := saved(p, 7); !errors.Is(err, eventlog.ErrConflict) {
		t.Errorf("two processes kept one progress: %v", err)
	}
}
