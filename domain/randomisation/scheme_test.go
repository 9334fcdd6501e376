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
	"casebook/domain/study"
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
			t.Error("the refusal shows the right hash")
		}
	}
	given.When(activating(s, "none", hash)).ThenRefused("scheme_not_found")

	// Before the first draw another scheme may replace it, afterwards none.
	other := one.When(activating(s, "other", commitment)).Then(randomisation.SchemeActivated{Study: pain, Scheme: "other"})
	other.When(activating(s, "one", hash)).Then(randomisation.SchemeActivated{Study: pain, Scheme: "one"})
	used := one.Given(must(t, one.State(), drawing(s, two, 1, "sex", "m"))...)
	used.When(activating(s, "other", commitment)).ThenRefused("scheme_in_use")

	// An amendment that changes arms or factors makes the scheme unusable.
	given.When(activating(studyWith(three, bySex), "one", hash)).ThenRefused("scheme_outdated")
	given.When(activating(studyWith(two, bySex, byGrade), "one", hash)).ThenRefused("scheme_outdated")
	given.When(activating(studyWith(two, byGrade), "other", commitment)).ThenRefused("scheme_outdated")
}

func revealing(e enrollment.Enrollment, scheme, reason string) decision {
	cmd := randomisation.RevealSeed{InStudy: domain.ForStudy(pain), Scheme: scheme, Reasoned: domain.Because(reason)}
	return scenario.SentWithFacts(randomisation.Reveal, e, cmd, call)
}

func TestReveal(t *testing.T) {
	s := studyWith(two, bySex)
	generate := generating(s, randomisation.GenerateRandomisationList{Scheme: "one", Ratio: equally, BlockSizes: []int{4}, PerStratum: 8,
		Seed: theSeed})
	past := activated(t, s, generate)
	past = append(past, must(t, randomisation.Decider.Fold(past...), uploading(s, "two", "sex,arm", "m,verum", "f,placebo"))...)
	given := start(t).Given(past...)
	open := enrollment.Opened{Study: pain}
	over := enrollment.Decider.Fold(open, enrollment.Closed{Study: pain})

	given.When(revealing(over, "one", " ")).ThenRefused("reason_required")
	given.When(revealing(over, "none", "end")).ThenRefused("scheme_not_found")
	given.When(revealing(over, "two", "end")).ThenRefused("no_seed")
	given.When(revealing(enrollment.Enrollment{}, "one", "end")).ThenRefused("enrollment_open")
	given.When(revealing(enrollment.Decider.Fold(open), "one", "end")).ThenRefused("enrollment_open")

	revealed := randomisation.SeedRevealed{Study: pain, Scheme: "one", Seed: theSeed, Reason: "end"}
	shown := given.When(revealing(over, "one", "end")).Then(revealed)
	shown.When(revealing(over, "one", "end")).ThenRefused("seed_revealed")
	// Even if enrolment is opened again, nobody is drawn: everybody could predict the arm.
	if code := refusal(must(t, shown.State(), drawing(s, two, 1, "sex", "m"))); code != "seed_revealed" {
		t.Errorf("a draw with a revealed seed is answered with %q", code)
	}
	unused := start(t).Given(must(t, randomisation.Randomisation{}, generate)...)
	hash := past[0].(randomisation.ListGenerated).SHA256
	unused.When(revealing(over, "one", "end")).Then(revealed).
		When(activating(s, "one", hash)).ThenRefused("seed_revealed")
}

// With the revealed seed, anybody can check that it matches the commitment of the beginning, and compute every draw's
// number again with HMAC-SHA-256 alone.
func TestSeedProvesTheDraws(t *testing.T) {
	s := studyWith(two, bySex)
	past := activated(t, s, minimising(s, randomisation.DefineMinimisation{Scheme: "one", Ratio: equally,
		Metric: randomisation.MetricRange, P: 0.8, Seed: theSeed}))
	seed, err := hex.DecodeString(theSeed)
	if err != nil {
		t.Fatal(err)
	}
	if commitment := past[0].(randomisation.MinimisationDefined).SeedCommitment; commitment != hashOf(string(seed)) {
		t.Errorf("the commitment is %s", commitment)
	}
	state := randomisation.Decider.Fold(past...)
	// Another program, in another language, has computed the same first three numbers.
	for n, want := range []float64{0.4007039931201263, 0.8059349352204064, 0.06135457612313111} {
		events := must(t, state, drawing(s, two, n, "sex", "m"))
		_, draw := theDraw(t, events)
		mac := hmac.New(sha256.New, seed)
		mac.Write([]byte("draw/" + string(rune('1'+n))))
		if u := float64(binary.BigEndian.Uint64(mac.Sum(nil))>>11) / (1 << 53); draw.U != u || draw.U != want {
			t.Errorf("draw %d uses the number %v, want %v and %v", n+1, draw.U, u, want)
		}
		state = randomisation.Decider.Fold(append(past, events...)...)
		past = append(past, events...)
	}
}

// A program without keys can fold every event, but its draws fail, so that the same command may be sent again.
func TestWithoutKeys(t *testing.T) {
	s := studyWith(two, bySex)
	closed := enrollment.Decider.Fold(enrollment.Opened{Study: pain}, enrollment.Closed{Study: pain})
	for _, x := range []struct {
		what   string
		decide decision
	}{
		{"an uploaded list", uploading(s, "one", "sex,arm", "m,verum", "m,placebo")},
		{"a generated list", generating(s, randomisation.GenerateRandomisationList{Scheme: "one", Ratio: equally,
			BlockSizes: []int{4}, PerStratum: 8, Seed: theSeed})},
		{"minimisation", minimising(s, randomisation.DefineMinimisation{Scheme: "one", Ratio: equally,
			Metric: randomisation.MetricRange, P: 0.8, Seed: theSeed})},
	} {
		t.Run(x.what, func(t *testing.T) {
			past := activated(t, s, x.decide)
			past = append(past, must(t, randomisation.Decider.Fold(past...), capping(s, randomisation.CohortCap{Arm: verum, Most: 1}))...)
			past = append(past, must(t, randomisation.Decider.Fold(past...), drawing(s, two, 1, "sex", "m"))...)
			past = append(past, must(t, randomisation.Decider.Fold(past...), correcting(1, "sex", "f"))...)
			sealedPast := sealed(t, past)
			given := start(t).Given(sealedPast...) // Evolve neither panics nor changes an old state
			failing := map[string]decision{"a draw": drawing(s, two, 2, "sex", "m")}
			if x.what != "an uploaded list" {
				failing["revealing the seed"] = revealing(closed, "one", "end")
			}
			for what, decide := range failing {
				if events, err := decide(given.State()); !errors.Is(err, randomisation.ErrKeysMissing) || len(events) > 0 {
					t.Errorf("%s: %v and the error %v", what, events, err)
				}
			}
			undrawn := randomisation.Decider.Fold(sealedPast[0])
			if _, err := activating(s, "one", "")(undrawn); !errors.Is(err, randomisation.ErrKeysMissing) {
				t.Errorf("the activation: %v", err)
			}
			if err := randomisation.Replay(sealedPast); !errors.Is(err, randomisation.ErrKeysMissing) {
				t.Errorf("Replay: %v", err)
			}
			// These need no keys: who was drawn, corrections, the record of a broken blind.
			if e, ok := given.State().Drawn(patient(1)); !ok || e.Number != 1 || !e.Arm.Sealed() {
				t.Errorf("the state says %+v, %v", e, ok)
			}
			given.When(drawing(s, two, 1, "sex", "m")).Then()
			given.When(breaking(1, "overdose")).Then(randomisation.BlindBroken{Study: pain, Patient: patient(1),
				Kind: study.UnblindedInEmergency, Reason: "overdose",
				KnownTo: []domain.UserID{call.Actor}})
			if len(must(t, given.State(), correcting(1, "sex", "m"))) != 1 {
				t.Error("the correction needs keys")
			}
			// One sealed event is enough to make a draw fail.
			for i := range past {
				mixed := append(append(past[:i:i], sealedPast[i]), past[i+1:]...)
				switch past[i].(type) {
				case randomisation.SchemeActivated, randomisation.StratumCorrected:
					continue // these have no blinded values
				}
				if _, err := drawing(s, two, 2, "sex", "m")(randomisation.Decider.Fold(mixed...)); !errors.Is(err, randomisation.ErrKeysMissing) {
					t.Errorf("with %T sealed, a draw ends with %v", past[i], err)
				}
			}
		})
	}
}
