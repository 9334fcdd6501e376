package sagas_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/embedded/storetest"
)

// TestProcessesGoOnInAnotherPast puts an older copy in the place of the log while processes run. What the lost past held is not
// waited for, and what is recorded from then on is dealt with, although the log is shorter than the lost one was.
func TestProcessesGoOnInAnotherPast(t *testing.T) {
	store := storetest.OpenReplaceable(t)
	w := newWorldOn(t, store.ConnectionString(), false, 100)
	kept := w.assign(painDiary)
	asked := w.request() // it is dealt with in the past that is lost, and again in the other one
	older := store.Backup()
	w.drive()
	w.wait("PatientEnrolled", func(e any) bool { return e.(patient.Enrolled).Patient == asked })
	var lost []domain.PatientID
	for range 5 {
		lost = append(lost, w.assign(painDiary))
	}
	past := w.log.Past()
	store.Restart(older)
	for begun := time.Now(); w.log.Past() == past; time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatal("nobody notices that the log is another one")
		}
	}
	w.wait("PatientEnrolled", func(e any) bool { return e.(patient.Enrolled).Patient == asked })
	w.screened += 100 // a patient whom the lost past did not have
	after := w.assign(painDiary)
	w.clock.set(berlin(20, 12, 0, 0))
	for _, who := range []domain.PatientID{kept, after} {
		w.wait("DiaryWindowMissed", func(e any) bool { return e.(diary.WindowMissed).Patient == who })
	}
	for _, who := range lost {
		if found := w.events(diary.Decider.Stream(string(who))); len(found) > 0 {
			t.Errorf("%d events are recorded of %s, who was lost", len(found), who)
		}
	}
}
