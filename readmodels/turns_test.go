package readmodels_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/process"

	"github.com/google/go-cmp/cmp"
)

// TestTurnsAreKept saves the turns of a process, and loads them: times in milliseconds, and whose instances have ended.
func TestTurnsAreKept(t *testing.T) {
	s := connect(t, newDatabase())
	if none, err := s.LoadTurns(t.Context(), "diary-follow-up"); err != nil || none.Process != "" || len(none.Next) > 0 {
		t.Errorf("nothing was saved, and %+v is there, %v", none, err)
	}
	at := time.Date(2026, 3, 1, 18, 0, 0, 7_900_000, time.UTC)
	want := process.Turns{Process: "diary-follow-up", Program: "1", Through: domain.Mark{Stream: "diary-A", Revision: 3, ID: "i",
		Position: domain.Position{Commit: 7, Prepare: 7}},
		Next: []process.Turn{{Of: "A", Began: "a", At: at}, {Of: "B", Began: "b"}}}
	for range 2 {
		if err := s.SaveTurns(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.LoadTurns(t.Context(), "diary-follow-up")
	if err != nil {
		t.Fatal(err)
	}
	want.Next[0].At = at.Truncate(time.Millisecond)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the turns are not those that were saved (-want +got):\n%s", diff)
	}
}
