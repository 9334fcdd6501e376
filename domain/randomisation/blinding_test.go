package randomisation_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/randomisation"
	"casebook/domain/refuse"
)

// However events and states are printed or marshalled, they show no arm, no seed and no block size; only the event that
// reveals the seed shows it.
func TestNothingShowsWhatIsBlinded(t *testing.T) {
	secrets := []string{string(verum), string(placebo), theSeed, "BlockSizes", "blockSizes"}
	hold := func(what, shown string, but ...string) {
		t.Helper()
		for _, secret := range secrets {
			if strings.Contains(shown, secret) && !(len(but) > 0 && but[0] == secret) {
				t.Errorf("%s shows %q: %s", what, secret, shown)
			}
		}
	}
	all := func(what string, v any, but ...string) {
		t.Helper()
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		hold(what+" as JSON", string(text), but...)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			hold(what+" with "+verb, fmt.Sprintf(verb, v), but...)
		}
	}
	for name, events := range full(t) {
		state := randomisation.Randomisation{}
		for i, e := range events {
			var but []string
			if _, end := e.(randomisation.SeedRevealed); end {
				but = []string{theSeed}
			}
			what := fmt.Sprintf("%s: event %d, %T,", name, i, e)
			all(what, e, but...)
			all(what+" behind a pointer", &e, but...)
			state = randomisation.Decider.Evolve(state, e)
			all(what+" the state", state)
			all(what+" the state behind a pointer", &state)
			all(what+" the state in a struct", struct{ s randomisation.Randomisation }{state})
		}
	}
}

// What a blinded reader sees of two draws differs in nothing that tells the arms apart: the same asks on two lists that
// are opposites of one another give events that look the same.
func TestOppositeListsLookTheSame(t *testing.T) {
	s := studyWith(two, bySex)
	shown := func(lines ...string) string {
		events := begun(t, s, uploading(s, "one", append([]string{"sex,arm"}, lines...)...))
		for who := range 6 {
			events = append(events, must(t, randomisation.Decider.Fold(events...), drawing(s, []domain.ArmID{verum, placebo}[who%2:], who, "sex", "m"))...)
		}
		text, err := json.Marshal(events)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	one := shown("m,verum", "m,placebo", "m,placebo", "m,verum")
	if other := shown("m,placebo", "m,verum", "m,verum", "m,placebo"); one != other {
		t.Errorf("blinded readers see\n%s\nor\n%s", one, other)
	}
	if !strings.Contains(one, "no_stock") || !strings.Contains(one, `"number":3`) {
		t.Errorf("the test has tried neither refusals nor draws: %s", one)
	}
}

// Refusals are recorded in the clear; none of them names an arm.
func TestRefusalsShowNoArm(t *testing.T) {
	s := studyWith(two, bySex)
	for what, decide := range map[string]decision{
		"a ratio": generating(s, randomisation.GenerateRandomisationList{Scheme: "one", Ratio: map[domain.ArmID]int{verum: 0, placebo: 1}}),
		"no arm":  generating(s, randomisation.GenerateRandomisationList{Scheme: "one", Ratio: map[domain.ArmID]int{verum: 1}}),
		"a cap":   capping(s, randomisation.CohortCap{Arm: verum, Most: -1}),
		"caps":    capping(s, randomisation.CohortCap{Arm: verum, Most: 1}, randomisation.CohortCap{Arm: verum, Most: 2}),
		"a list":  uploading(s, "one", "sex,arm", "m,verum", "m,placebo,verum"),
	} {
		_, err := decide(randomisation.Randomisation{})
		if _, refused := refuse.As(err); !refused || strings.Contains(err.Error(), string(verum)) || strings.Contains(err.Error(), string(placebo)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
