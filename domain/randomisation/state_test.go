package randomisation_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/randomisation"

	"github.com/google/go-cmp/cmp"
)

// Two states that were made of one share what they hold, and yet neither sees what became of the other.
func TestStatesThatPartDoNotMeetAgain(t *testing.T) {
	s := forcing(two, bySex)
	lines := []string{"sex,arm"}
	for range 200 {
		lines = append(lines, "m,verum", "m,verum", "m,placebo")
	}
	state := randomisation.Decider.Fold(begun(t, s, uploading(s, "one", lines...))...)
	follow := func(events []randomisation.Event) randomisation.Randomisation { return followed(state, events) }
	for i := range 200 {
		left := must(t, state, drawing(s, []domain.ArmID{placebo}, 2*i, "sex", "m"))
		right := must(t, state, drawing(s, two, 2*i+1, "sex", "m"))
		a, b := follow(left), follow(right)
		if _, drawn := a.Drawn(patient(2*i + 1)); drawn {
			t.Fatalf("after %d draws, what was drawn beside is seen", i)
		}
		if _, drawn := b.Drawn(patient(2 * i)); drawn {
			t.Fatalf("after %d draws, what was drawn beside is seen", i)
		}
		// The one has passed over places that the other has not, and the state before both knows of neither.
		if diff := cmp.Diff(right, must(t, state, drawing(s, two, 2*i+1, "sex", "m"))); diff != "" {
			t.Fatalf("after %d draws, the same ask on the same state is answered otherwise (-before +after):\n%s", i, diff)
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

func followed(state randomisation.Randomisation, events []randomisation.Event) randomisation.Randomisation {
	for _, e := range events {
		state = randomisation.Decider.Evolve(state, e)
	}
	return state
}

// Places that wait are kept in one piece of memory by the states that were made of one; each has its own all the same.
func TestWaitingPlacesOfStatesThatPart(t *testing.T) {
	s := forcing(three)
	only := func(arm domain.ArmID) []domain.ArmID { return []domain.ArmID{arm} }
	after := func(state randomisation.Randomisation, decide decision) randomisation.Randomisation {
		return followed(state, must(t, state, decide))
	}
	both := randomisation.Decider.Fold(begun(t, s, uploading(s, "one", "arm",
		"verum", "verum", "verum", "placebo", "placebo", "comparator", "placebo", "comparator"))...)
	both = after(both, drawing(s, only(placebo), 1)) // three places wait
	one := after(both, drawing(s, only(comparator), 2))
	other := after(after(both, drawing(s, only(placebo), 2)), drawing(s, only(placebo), 3))
	if _, draw := theDraw(t, must(t, one, drawing(s, only(placebo), 4))); draw.Row != 5 {
		t.Errorf("place 5 waits in the one state, and %d is used", draw.Row)
	}
	if _, draw := theDraw(t, must(t, other, drawing(s, only(comparator), 4))); draw.Row != 6 {
		t.Errorf("place 6 waits in the other state, and %d is used", draw.Row)
	}
}

func tenThousandDraws(b *testing.B, decide func(*testing.B) (events []randomisation.Event, ask func(int) decision)) []randomisation.Event {
	b.Helper()
	events, ask := decide(b)
	state := randomisation.Decider.Fold(events...)
	for i := range 10_000 {
		drawn := must(b, state, ask(i))
		state, events = followed(state, drawn), append(events, drawn...)
	}
	return events
}

func byMinimisation(b *testing.B) ([]randomisation.Event, func(int) decision) {
	s := studyWith(three, bySex, byGrade)
	cmd := randomisation.DefineMinimisation{Scheme: "one", Ratio: map[domain.ArmID]int{verum: 1, placebo: 1, comparator: 2}, Metric: randomisation.MetricRange, P: 0.8, Seed: theSeed}
	return begun(b, s, minimising(s, cmd)), func(i int) decision {
		return drawing(s, three, i, "sex", bySex.Levels[i%2], "grade", byGrade.Levels[i%3])
	}
}

func byBlocks(b *testing.B) ([]randomisation.Event, func(int) decision) {
	s := studyWith(three, bySex, byGrade)
	cmd := randomisation.GenerateRandomisationList{Scheme: "one", Ratio: map[domain.ArmID]int{verum: 1, placebo: 1, comparator: 2}, BlockSizes: []int{4, 8}, PerStratum: 2_000, Seed: theSeed}
	return begun(b, s, generating(s, cmd)), func(i int) decision {
		return drawing(s, three, i, "sex", bySex.Levels[i%2], "grade", byGrade.Levels[i%3])
	}
}

func BenchmarkTenThousandDraws(b *testing.B) {
	for name, decide := range map[string]func(*testing.B) ([]randomisation.Event, func(int) decision){"minimisation": byMinimisation, "blocks": byBlocks} {
		events := tenThousandDraws(b, decide)
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
		_, ask := decide(b)
		b.Run(name+"/draw", func(b *testing.B) {
			for b.Loop() {
				must(b, state, ask(next))
			}
		})
	}
}
