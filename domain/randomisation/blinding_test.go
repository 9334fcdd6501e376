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

// Printing and marshalling events and states never shows an arm, a seed or a block size. Only the event that reveals
// the seed shows it.
func TestNothingShowsBlindedValues(t *testing.T) {
	secrets := []string{string(verum), string(placebo), theSeed, "BlockSizes", "blockSizes"}
	checkText := func(what, text, allowed string) {
		t.Helper()
		for _, secret := range secrets {
			if strings.Contains(text, secret) && secret != allowed {
				t.Errorf("%s shows %q: %s", what, secret, text)
			}
		}
	}
	check := func(what string, v any, allowed string) {
		t.Helper()
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		checkText(what+" as JSON", string(text), allowed)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			checkText(what+" with "+verb, fmt.Sprintf(verb, v), allowed)
		}
	}
	for name, events := range fullStreams(t) {
		state := randomisation.Randomisation{}
		for i, e := range events {
			allowed := ""
			if _, end := e.(randomisation.SeedRevealed); end {
				allowed = theSeed
			}
			what := fmt.Sprintf("%s: event %d, %T,", name, i, e)
			check(what, e, allowed)
			check(what+" behind a pointer", &e, allowed)
			state = randomisation.Decider.Evolve(state, e)
			check(what+" the state", state, "")
			check(what+" the state behind a pointer", &state, "")
			check(what+" the state in a struct", struct{ s randomisation.Randomisation }{state}, "")
		}
	}
}

// A blinded reader cannot tell the arms apart: the same requests on two opposite lists record events that look the
// same.
func TestOppositeListsLookTheSame(t *testing.T) {
	s := studyWith(two, bySex)
	shown := func(lines ...string) string {
		events := activated(t, s, uploading(s, "one", append([]string{"sex,arm"}, lines...)...))
		for who := range 6 {
			inStock := two[who%2:]
			events = append(events, must(t, randomisation.Decider.Fold(events...), drawing(s, inStock, who, "sex", "m"))...)
		}
		text, err := json.Marshal(events)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	one := shown("m,verum", "m,placebo", "m,placebo", "m,verum")
	if other := shown("m,placebo", "m,verum", "m,verum", "m,placebo"); one != other {
		t.Errorf("a blinded reader sees\n%s\nor\n%s", one, other)
	}
	if !strings.Contains(one, "no_stock") || !strings.Contains(one, `"number":3`) {
		t.Errorf("the test has no refusal or not three draws: %s", one)
	}
}

// Refusals are not blinded, so none of them names an arm.
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
		_, refused := refuse.As(err)
		if !refused || strings.Contains(err.Error(), string(verum)) || strings.Contains(err.Error(), string(placebo)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
