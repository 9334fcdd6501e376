package randomisation_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/randomisation"
	"casebook/domain/scenario"
)

func TestActivate(t *testing.T) {
	s := studyWith(two, bySex)
	past := must(t, randomisation.Randomisation{}, uploading(s, "one", "sex,arm", "m,verum", "f,placebo"))
	past = append(past, must(t, randomisation.Randomisation{}, minimising(s, randomisation.DefineMinimisation{
		Scheme: "other", Ratio: equally, Metric: randomisation.MetricRange, P: 0.8, Seed: theSeed}))...)
	given := start(t).Given(past...)
	hash := hashOf("sex,arm\nm,verum\nf,placebo\n")
	commitment := past[1].(randomisation.MinimisationDefined).SeedCommitment

	one := given.When(activating(s, "one", hash)).Then(randomisation.SchemeActivated{Study: pain, Scheme: "one"})
	one.When(activating(s, "one", hash)).ThenRefused("scheme_active")
	given.When(activating(s, "one", " "+strings.ToUpper(hash)+"\n")).Then(randomisation.SchemeActivated{Study: pain, Scheme: "one"})
	for _, wrong := range []string{"", commitment, hash[:63], hash + "0"} {
		if r := given.When(activating(s, "one", wrong)).ThenRefused("hash_differs"); strings.Contains(r.Error(), hash) {
			t.Error("the refusal tells the hash that it asks for")
		}
	}
	given.When(activating(s, "none", hash)).ThenRefused("scheme_not_found")

	// Before the first draw another scheme may take its place, behind it none.
	other := one.When(activating(s, "other", commitment)).Then(randomisation.SchemeActivated{Study: pain, Scheme: "other"})
	other.When(activating(s, "one", hash)).Then(randomisation.SchemeActivated{Study: pain, Scheme: "one"})
	used := one.Given(must(t, one.State(), drawing(s, two, 1, "sex", "m"))...)
	used.When(activating(s, "other", commitment)).ThenRefused("scheme_in_use")

	// An amendment in between makes the scheme useless.
	given.When(activating(studyWith(three, bySex), "one", hash)).ThenRefused("scheme_outdated")
	given.When(activating(studyWith(two, bySex, byGrade), "one", hash)).ThenRefused("scheme_outdated")
	given.When(activating(studyWith(two, byGrade), "other", commitment)).ThenRefused("scheme_outdated")
}

func revealing(e enrollment.Enrollment, scheme, reason string) decision {
	return scenario.AskedKnowing(randomisation.Reveal, e, randomisation.RevealSeed{InStudy: domain.ForStudy(pain), Scheme: scheme, Reasoned: domain.Because(reason)}, call)
}

func TestReveal(t *testing.T) {
	s := studyWith(two, bySex)
	past := begun(t, s, generating(s, randomisation.GenerateRandomisationList{Scheme: "one", Ratio: equally, BlockSizes: []int{4}, PerStratum: 8, Seed: theSeed}))
	past = append(past, must(t, randomisation.Decider.Fold(past...), uploading(s, "two", "sex,arm", "m,verum", "f,placebo"))...)
	given := start(t).Given(past...)
	open := enrollment.Opened{Study: pain}
	over := enrollment.Decider.Fold(open, enrollment.Closed{Study: pain})

	given.When(revealing(over, "one", " ")).ThenRefused("reason_required")
	given.When(revealing(over, "none", "end")).ThenRefused("scheme_not_found")
	given.When(revealing(over, "two", "end")).ThenRefused("no_seed")
	given.When(revealing(enrollment.Enrollment{}, "one", "end")).ThenRefused("enrollment_open")
	given.When(revealing(enrollment.Decider.Fold(open), "one", "end")).ThenRefused("enrollment_open")

	shown := given.When(revealing(over, "one", "end")).Then(randomisation.SeedRevealed{Study: pain, Scheme: "one", Seed: theSeed, Reason: "end"})
	shown.When(revealing(over, "one", "end")).ThenRefused("seed_revealed")
	// Enrolment may be opened again; draws that everybody can foretell are none.
	if code := refusal(must(t, shown.State(), drawing(s, two, 1, "sex", "m"))); code != "seed_revealed" {
		t.Errorf("a draw by a seed that is known is answered with %q", code)
	}
	unused := start(t).Given(must(t, randomisation.Randomisation{}, generating(s, randomisation.GenerateRandomisationList{
		Scheme: "one", Ratio: equally, BlockSizes: []int{4}, PerStratum: 8, Seed: theSeed}))...)
	hash := past[0].(randomisation.ListGenerated).SHA256
	unused.When(revealing(over, "one", "end")).Then(randomisation.SeedRevealed{Study: pain, Scheme: "one", Seed: theSeed, Reason: "end"}).
		When(activating(s, "one", hash)).ThenRefused("seed_revealed")
}

// With the seed that is shown at the end, anybody can check that it was committed to at the beginning, and make every
// draw's number again, with nothing but HMAC-SHA-256.
func TestTheSeedProvesTheDraws(t *testing.T) {
	s := studyWith(two, bySex)
	past := begun(t, s, minimising(s, randomisation.DefineMinimisation{Scheme: "one", Ratio: equally, Metric: randomisation.MetricRange, P: 0.8, Seed: theSeed}))
	seed, err := hex.DecodeString(theSeed)
	if err != nil {
		t.Fatal(err)
	}
	if commitment := past[0].(randomisation.MinimisationDefined).SeedCommitment; commitment != hashOf(string(seed)) {
		t.Errorf("the commitment is %s", commitment)
	}
	state := randomisation.Decider.Fold(past...)
	// The first three were also made by another program, in another language.
	for n, want := range []float64{0.4007039931201263, 0.8059349352204064, 0.06135457612313111} {
		events := must(t, state, drawing(s, two, n, "sex", "m"))
		_, draw := theDraw(t, events)
		mac := hmac.New(sha256.New, seed)
		mac.Write([]byte("draw/" + string(rune('1'+n))))
		if u := float64(binary.BigEndian.Uint64(mac.Sum(nil))>>11) / (1 << 53); draw.U != u || draw.U != want {
			t.Errorf("draw %d goes by %v, not by %v and %v", n+1, draw.U, u, want)
		}
		state = randomisation.Decider.Fold(append(past, events...)...)
		past = append(past, events...)
	}
}

// A program without keys can fold everything and draw nothing. That it cannot is a failure: the command may come again.
func TestWithoutKeys(t *testing.T) {
	s := studyWith(two, bySex)
	closed := enrollment.Decider.Fold(enrollment.Opened{Study: pain}, enrollment.Closed{Study: pain})
	for _, x := range []struct {
		what   string
		decide decision
	}{
		{"an uploaded list", uploading(s, "one", "sex,arm", "m,verum", "m,placebo")},
		{"a generated list", generating(s, randomisation.GenerateRandomisationList{Scheme: "one", Ratio: equally, BlockSizes: []int{4}, PerStratum: 8, Seed: theSeed})},
		{"minimisation", minimising(s, randomisation.DefineMinimisation{Scheme: "one", Ratio: equally, Metric: randomisation.MetricRange, P: 0.8, Seed: theSeed})},
	} {
		t.Run(x.what, func(t *testing.T) {
			past := begun(t, s, x.decide)
			past = append(past, must(t, randomisation.Decider.Fold(past...), capping(s, randomisation.CohortCap{Arm: verum, Most: 1}))...)
			past = append(past, must(t, randomisation.Decider.Fold(past...), drawing(s, two, 1, "sex", "m"))...)
			past = append(past, must(t, randomisation.Decider.Fold(past...), correcting(1, "sex", "f"))...)
			sealed := sealing(t, past)
			given := start(t).Given(sealed...) // no event makes Evolve panic, and none changes an old state
			failing := map[string]decision{"a draw": drawing(s, two, 2, "sex", "m")}
			if x.what != "an uploaded list" {
				failing["the seed"] = revealing(closed, "one", "end")
			}
			for what, decide := range failing {
				if events, err := decide(given.State()); !errors.Is(err, randomisation.ErrKeysMissing) || len(events) > 0 {
					t.Errorf("%s: %v and the error %v", what, events, err)
				}
			}
			undrawn := randomisation.Decider.Fold(sealed[0])
			if _, err := activating(s, "one", "")(undrawn); !errors.Is(err, randomisation.ErrKeysMissing) {
				t.Errorf("the activation: %v", err)
			}
			if err := randomisation.Replay(sealed); !errors.Is(err, randomisation.ErrKeysMissing) {
				t.Errorf("Replay: %v", err)
			}
			// What needs no keys works without: who was drawn, corrections, the record of a broken blind.
			if e, ok := given.State().Drawn(patient(1)); !ok || e.Number != 1 || !e.Arm.Sealed() {
				t.Errorf("the state says %+v, %v", e, ok)
			}
			given.When(drawing(s, two, 1, "sex", "m")).Then()
			given.When(breaking(1, "overdose")).Then(randomisation.BlindBroken{Study: pain, Patient: patient(1), Reason: "overdose"})
			if len(must(t, given.State(), correcting(1, "sex", "m"))) != 1 {
				t.Error("the correction needs keys")
			}
			// Each sealed thing alone is enough to stop a draw.
			for i := range past {
				mixed := append(append(past[:i:i], sealed[i]), past[i+1:]...)
				switch past[i].(type) {
				case randomisation.SchemeActivated, randomisation.StratumCorrected:
					continue // nothing in them is blinded
				}
				if _, err := drawing(s, two, 2, "sex", "m")(randomisation.Decider.Fold(mixed...)); !errors.Is(err, randomisation.ErrKeysMissing) {
					t.Errorf("with %T sealed, a draw ends with %v", past[i], err)
				}
			}
		})
	}
}
