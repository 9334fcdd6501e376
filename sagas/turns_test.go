package sagas_test

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/process"
	"casebook/eventlog"
	"casebook/sagas"
)

// turnsKept is a TurnStore in memory.
type turnsKept struct {
	mu   sync.Mutex
	kept process.Turns
}

// LoadTurns implements sagas.TurnStore.
func (k *turnsKept) LoadTurns(context.Context, string) (process.Turns, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kept, nil
}

// SaveTurns implements sagas.TurnStore.
func (k *turnsKept) SaveTurns(_ context.Context, t process.Turns) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = t
	return nil
}

// TestTurnsAreKeptForTheNextProgram: an instance whose next turn is in the future, and one that has ended, take no turn when a program
// starts that knows what the one before knew. One that has begun since does. Another program, and one on a log that does not hold what
// was known, has all instances take a turn.
func TestTurnsAreKeptForTheNextProgram(t *testing.T) {
	w := newWorld(t, 20)
	later, ends := w.assign(painDiary), w.assign(painDiary)
	var mu sync.Mutex
	turns := map[string]int{}
	p := sagas.DefineByClock("kept-by-clock", nil, func(_ context.Context, d *sagas.Desk, of string, _ int) (time.Time, error) {
		mu.Lock()
		defer mu.Unlock()
		if turns[of]++; of == string(ends) {
			return time.Time{}, nil
		}
		return d.Now().Add(time.Hour), nil
	}, sagas.Begin(sagas.ByPatient, func(known int, _ diary.InstrumentAssigned, at eventlog.Recorded) (int, time.Time) {
		return known + 1, at.Metadata.RecordedAt
	}))
	store := &turnsKept{}
	// taken runs a program until an instance that has just begun has taken its turn, and returns which others have.
	taken := func(program string) []string {
		t.Helper()
		mu.Lock()
		clear(turns)
		mu.Unlock()
		last := w.assign(painDiary)
		part := w.newPart()
		stop := w.runDrive(&sagas.Drive{URL: w.url, Log: part.log, Handler: part.handler, Processes: []sagas.Process{p},
			Logger: slog.New(slog.DiscardHandler), Now: w.clock.Now, Turns: store, Program: program})
		until(t, "the last instance takes its turn", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return turns[string(last)] > 0
		})
		stop()
		mu.Lock()
		defer mu.Unlock()
		delete(turns, string(last))
		return slices.Sorted(maps.Keys(turns))
	}
	both := []string{string(later), string(ends)}
	slices.Sort(both)
	expect := func(when string, got []string, all bool) {
		t.Helper()
		if all != (slices.Contains(got, both[0]) && slices.Contains(got, both[1])) || !all && len(got) > 0 {
			t.Errorf("%s: turns were taken by %v", when, got)
		}
	}
	expect("at first", taken("1"), true)
	expect("after a restart", taken("1"), false)
	expect("after another one", taken("1"), false)
	expect("in another program", taken("2"), true)
	expect("after a restart of that", taken("2"), false)
	store.kept.Through.ID = "00000000-0000-0000-0000-000000000000"
	expect("on another log", taken("2"), true)
	w.must(w.crc, diary.AssignInstrument{OfPatient: domain.ForPatient(later), Instrument: phq9, From: "2026-02-03", Until: "2026-02-05"})
	if got := taken("2"); len(got) != 1 || got[0] != string(later) {
		t.Errorf("an instance has begun again, and turns were taken by %v", got)
	}
}
