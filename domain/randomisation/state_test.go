package randomisation_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/randomisation"

	"github.com/google/go-cmp/cmp"
)

// Two states that evolve from the same state share memory, but neither sees the events of the other.
func TestStatesFromOneStateAreIndependent(t *testing.T) {
	s := studyThatForces(two, bySex)
	lines := []string{"sex,arm"}
	for range 200 {
		lines = append(lines, "m,verum", "m,verum", "m,placebo")
	}
	state := randomisation.Decider.Fold(activated(t, s, uploading(s, "one", lines...))...)
	for i := range 200 {
		left := must(t, state, drawing(s, []domain.ArmID{placebo}, 2*i, "sex", "m"))
		right := must(t, state, drawing(s, two, 2*i+1, "sex", "m"))
		a, b := evolved(state, left), evolved(state, right)
		if _, drawn := a.Drawn(patient(2*i + 1)); drawn {
			t.Fatalf("after %d draws, the draw of the other state is seen", i)
		}
		if _, drawn := b.Drawn(patient(2 * i)); drawn {
			t.Fatalf("after %d draws, the draw of the other state is seen", i)
		}
		// The left state has skipped entries, the right one has not, and the state before them has not changed.
		if diff := cmp.Diff(right, must(t, state, drawing(s, two, 2*i+1, "sex", "m"))); diff != "" {
			t.Fatalf("after %d draws, the same request on the same state has another answer (-before +after):\n%s", i, diff)
		}
		if i%3 == 0 {
			state = a
		} else {
			state = b
		}
	}
	if state.LastNumber != 200 {
		t.Errorf("there were %d draws", state.LastNumber)
	}
}

// evolved returns the state after the events.
func evolved(state randomisation.Randomisation, events []randomisation.Event) randomisation.Randomisation {
	for _, e := range events {
		state = randomisation.Decider.Evolve(state, e)
	}
	return state
}

// States that evolve from the same state share the memory of their waiting entries, but each has its own entries.
func TestWaitingEntriesOfStatesAreIndependent(t *testing.T) {
	s := studyThatForces(three)
	only := func(arm domain.ArmID) []domain.ArmID { return []domain.ArmID{arm} }
	after := func(state randomisation.Randomisation, decide decision) randomisation.Randomisation {
		return evolved(state, must(t, state, decide))
	}
	both := randomisation.Decider.Fold(activated(t, s, uploading(s, "one", "arm",
		"verum", "verum", "verum", "placebo", "placebo", "comparator", "placebo", "comparator"))...)
	both = after(both, drawing(s, only(placebo), 1)) // three entries wait
	one := after(both, drawing(s, only(comparator), 2))
	other := after(after(both, drawing(s, only(placebo), 2)), drawing(s, only(placebo), 3))
	if _, draw := theDraw(t, must(t, one, drawing(s, only(placebo), 4))); draw.Row != 5 {
		t.Errorf("entry 5 is next in the one state, but %d is used", draw.Row)
	}
	if _, draw := theDraw(t, must(t, other, drawing(s, only(comparator), 4))); draw.Row != 6 {
		t.Errorf("entry 6 waits in the other state, but %d is used", draw.Row)
	}
}

// scheme returns the events of a study with an active scheme, and the decision about the draw of patient i.
type scheme = func(b *testing.B) (events []randomisation.Event, draw func(i int) decision)

func tenThousandDraws(b *testing.B, by scheme) []randomisation.Event {
	b.Helper()
	events, draw := by(b)
	state := randomisation.Decider.Fold(events...)
	for i := range 10_000 {
		drawn := must(b, state, draw(i))
		state, events = evolved(state, drawn), append(events, drawn...)
	}
	return events
}

func byMinimisation(b *testing.B) ([]randomisation.Event, func(int) decision) {
	s := studyWith(three, bySex, byGrade)
	cmd := randomisation.DefineMinimisation{Scheme: "one", Ratio: map[domain.ArmID]int{verum: 1, placebo: 1, comparator: 2},
		Metric: randomisation.MetricRange, P: 0.8, Seed: theSeed}
	return activated(b, s, minimising(s, cmd)), func(i int) decision {
		return drawing(s, three, i, "sex", bySex.Levels[i%2], "grade", byGrade.Levels[i%3])
	}
}

func byBlocks(b *testing.B) ([]randomisation.Event, func(int) decision) {
	s := studyWith(three, bySex, byGrade)
	cmd := randomisation.GenerateRandomisationList{Scheme: "one", Ratio: map[domain.ArmID]int{verum: 1, placebo: 1, comparator: 2},
		BlockSizes: []int{4, 8}, PerStratum: 2_000, Seed: theSeed}
	return activated(b, s, generating(s, cmd)), func(i int) decision {
		return drawing(s, three, i, "sex", bySex.Levels[i%2], "grade", byGrade.Levels[i%3])
	}
}

func BenchmarkTenThousandDraws(b *testing.B) {
	for name, by := range map[string]scheme{"minimisation": byMinimisation, "blocks": byBlocks} {
		events := tenThousandDraws(b, by)
		b.Run(name+"/fold", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				randomisation.Decider.Fold(events...)
			}
		})
		b.Run(name+"/replay", func(b *testing.B) {
			for b.Loop() {
				if err := randomisation.Replay(events); err != nil {
					b.Fatal(err)
				}
			}
		})
		state, next := randomisation.Decider.Fold(events...), 1_000_000
		_, draw := by(b)
		b.Run(name+"/draw", func(b *testing.B) {
			for b.Loop() {
				must(b, state, draw(next))
			}
		})
	}
}
