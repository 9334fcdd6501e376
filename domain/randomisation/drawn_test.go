package randomisation_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/randomisation"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

func correcting(who int, levels ...string) decision {
	return scenario.Sent(randomisation.Correct, randomisation.CorrectStratum{InStudy: domain.ForStudy(pain),
		OfPatient: domain.ForPatient(patient(who)), Factors: factorsOf(levels...), Reasoned: domain.Because("misread")}, call)
}

func breaking(who int, reason string) decision {
	return breakingAs(randomisation.BreakBlind{Patient: patient(who), Reasoned: domain.Because(reason)}, randomisation.UnblindingFacts{})
}

func breakingAs(cmd randomisation.BreakBlind, f randomisation.UnblindingFacts) decision {
	return scenario.SentWithFacts(randomisation.Break, f, cmd, call)
}

func TestCorrect(t *testing.T) {
	s := studyWith(two, bySex, byGrade)
	past := activated(t, s, minimising(s, randomisation.DefineMinimisation{Scheme: "one", Ratio: equally,
		Metric: randomisation.MetricRange, P: 0.9, Seed: theSeed}))
	past = append(past, must(t, randomisation.Decider.Fold(past...), drawing(s, two, 1, "sex", "m", "grade", "mild"))...)
	drawn := start(t).Given(past...)
	_, first := theDraw(t, past)

	was := factorsOf("sex", "m", "grade", "mild")
	is := factorsOf("sex", "m", "grade", "worst")
	drawn.When(correcting(2, "sex", "m", "grade", "mild")).ThenRefused("patient_not_randomised")
	drawn.When(correcting(1, "sex", "m", "grade", "mild")).ThenRefused("stratum_unchanged")
	drawn.When(correcting(1, "sex", "m")).ThenRefused("invalid_factors")
	drawn.When(correcting(1, "sex", "m", "grade", "bad")).ThenRefused("invalid_factors")
	drawn.When(correcting(1, "sex", "m", "grade", "mild", "age", "old")).ThenRefused("invalid_factors")
	withoutReason := randomisation.CorrectStratum{InStudy: domain.ForStudy(pain), OfPatient: domain.ForPatient(patient(1)), Factors: is}
	drawn.When(scenario.Sent(randomisation.Correct, withoutReason, call)).ThenRefused("reason_required")
	corrected := drawn.When(correcting(1, "sex", "m", "grade", "worst")).
		Then(randomisation.StratumCorrected{Study: pain, Patient: patient(1), Was: was, Factors: is, Reason: "misread"})

	// The draw keeps its levels, and the state has both the old and the new ones.
	e, _ := corrected.State().Drawn(patient(1))
	if now, _ := corrected.State().FactorsOf(patient(1)); !maps.Equal(e.Factors, was) || !maps.Equal(now, is) {
		t.Errorf("the draw has the levels %v, the patient %v", e.Factors, now)
	}
	if arm, _ := corrected.State().ArmOf(patient(1)); opened(t, arm) != first.Arm {
		t.Error("the correction changed the arm")
	}
	corrected.When(drawing(s, two, 1, "sex", "m", "grade", "worst")).Then()

	// Later patients are drawn with the corrected counts.
	counts := func(g given, grade string) [][]int {
		_, draw := theDraw(t, must(t, g.State(), drawing(s, two, 2, "sex", "f", "grade", grade)))
		return draw.Counts
	}
	one := []int{1, 0}
	if first.Arm == placebo {
		one = []int{0, 1}
	}
	none := []int{0, 0}
	for _, x := range []struct {
		given given
		grade string
		want  []int
	}{{drawn, "mild", one}, {drawn, "worst", none}, {corrected, "mild", none}, {corrected, "worst", one}} {
		if got := counts(x.given, x.grade); !reflect.DeepEqual(got, [][]int{none, x.want}) {
			t.Errorf("a patient of grade %s is drawn with the counts %v", x.grade, got)
		}
	}
	// A second correction starts from the first.
	corrected.When(correcting(1, "sex", "f", "grade", "worst")).
		Then(randomisation.StratumCorrected{Study: pain, Patient: patient(1), Was: is,
			Factors: factorsOf("sex", "f", "grade", "worst"), Reason: "misread"})
}

// A correction does not change which entries of the list are used.
func TestCorrectDoesNotChangeTheList(t *testing.T) {
	s := studyWith(two, bySex)
	past := activated(t, s, uploading(s, "one", "sex,arm", "m,verum", "f,placebo", "m,placebo", "f,verum"))
	past = append(past, must(t, randomisation.Decider.Fold(past...), drawing(s, two, 1, "sex", "m"))...)
	past = append(past, must(t, randomisation.Decider.Fold(past...), correcting(1, "sex", "f"))...)
	state := randomisation.Decider.Fold(past...)
	for sex, row := range map[string]int{"m": 3, "f": 2} {
		if _, draw := theDraw(t, must(t, state, drawing(s, two, 2, "sex", sex))); draw.Row != row {
			t.Errorf("the next of sex %s gets row %d, not %d", sex, draw.Row, row)
		}
	}
}

func TestBreak(t *testing.T) {
	s := studyWith(two)
	past := activated(t, s, uploading(s, "one", "arm", "verum", "placebo"))
	drawn := start(t).Given(past...).Given(must(t, randomisation.Decider.Fold(past...), drawing(s, two, 1))...)
	drawn.When(breaking(2, "overdose")).ThenRefused("patient_not_randomised")
	drawn.When(breaking(1, "")).ThenRefused("reason_required")
	drawn.When(breaking(1, strings.Repeat("x", 501))).ThenRefused("value_too_long")
	broken := randomisation.BlindBroken{Study: pain, Patient: patient(1), Kind: study.UnblindedInEmergency, Reason: "overdose",
		KnownTo: []domain.UserID{call.Actor}}
	// A second request is recorded too.
	after := drawn.When(breaking(1, "overdose")).Then(broken).When(breaking(1, "overdose")).Then(broken)
	again := randomisation.BreakBlind{Patient: patient(1), Reasoned: domain.Because("overdose"), Again: true}
	after.When(breakingAs(again, randomisation.UnblindingFacts{})).Then(randomisation.BlindShownAgain{Study: pain, Patient: patient(1)})
	again.Study = "OTHER"
	after.When(breakingAs(again, randomisation.UnblindingFacts{})).ThenRefused("malformed_id")
	if arm, ok := after.State().ArmOf(patient(1)); !ok || opened(t, arm) != verum {
		t.Error("the state does not have the arm to show")
	}
	if _, ok := after.State().ArmOf(patient(2)); ok {
		t.Error("a patient who was not drawn has an arm")
	}
	if _, ok := after.State().Drawn(patient(2)); ok {
		t.Error("a patient who was not drawn has a draw")
	}
	if _, ok := after.State().FactorsOf(patient(2)); ok {
		t.Error("a patient who was not drawn has levels")
	}
}

// sealed returns the events as a program without keys reads them.
func sealed(t testing.TB, events []randomisation.Event) []randomisation.Event {
	t.Helper()
	out := make([]randomisation.Event, len(events))
	for i, e := range events {
		out[i] = throughJSON(t, e, nil)
	}
	return out
}

// throughJSON returns the event as it is read back from the log: its blinded values are sealed, and open opens them
// again; a nil open leaves them sealed.
func throughJSON(t testing.TB, e randomisation.Event, open func(blind.Sealer, blind.Unsealer)) randomisation.Event {
	t.Helper()
	shown, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	back := reflect.New(reflect.TypeOf(e))
	if err := json.Unmarshal(shown, back.Interface()); err != nil {
		t.Fatal(err)
	}
	if open != nil {
		for i := range back.Elem().NumField() {
			if to, blinded := back.Elem().Field(i).Addr().Interface().(blind.Unsealer); blinded {
				open(reflect.ValueOf(e).Field(i).Interface().(blind.Sealer), to)
			}
		}
	}
	return back.Elem().Interface().(randomisation.Event)
}

// withKeys returns a function that opens sealed values, as a program with the keys does.
func withKeys(t testing.TB) func(blind.Sealer, blind.Unsealer) {
	return func(from blind.Sealer, to blind.Unsealer) {
		t.Helper()
		if _, err := from.SealWith(func(plain []byte) (string, error) { return "", to.UnsealFrom(plain) }); err != nil {
			t.Fatal(err)
		}
	}
}
