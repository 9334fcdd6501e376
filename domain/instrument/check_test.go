package instrument_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"casebook/domain/form"
	"casebook/domain/instrument"
	"casebook/domain/personal"
	"casebook/domain/refuse"

	"github.com/google/go-cmp/cmp"
)

type answers = map[instrument.ItemID]any

// everything is an instrument with an item of each type, and two with skip rules.
func everything(t testing.TB) *instrument.Instrument {
	t.Helper()
	d := instrument.PainDiary()
	d.ID = "everything"
	d.Items = []instrument.Item{
		{ID: "n", Text: "Whole number", Type: instrument.Integer, Min: new(-5.0), Max: new(5.0), Required: true},
		{ID: "x", Text: "Decimal", Type: instrument.Decimal, Min: new(0.5)},
		{ID: "b", Text: "Yes or no", Type: instrument.Boolean},
		{ID: "note", Text: "Text", Type: instrument.Text, MaxChars: 5, AskedWhen: "answers.b"},
		{ID: "c", Text: "Choice", Type: instrument.Choice, Options: []instrument.Option{{Value: "low", Score: 1}, {Value: "high", Score: 3}}},
		{ID: "d", Text: "Day", Type: instrument.DateDay, Required: true, AskedWhen: `answers.c == "high"`},
		{ID: "long", Text: "Text without a length", Type: instrument.Text},
		{ID: "ratio", Text: "Asked by a rule that can fail", Type: instrument.Integer, Required: true,
			AskedWhen: "has(answers.n) && 6 / answers.n > 2"},
	}
	d.Scores = []instrument.Score{
		{ID: "sum", Method: instrument.Sum, Items: []instrument.ItemID{"n", "x", "b", "c"}, MaxMissing: 2,
			Bands: []instrument.Band{{From: 0, To: 4, Label: "low"}, {From: 5, To: 99, Label: "high"}}},
		{ID: "mean", Method: instrument.Mean, Items: []instrument.ItemID{"n", "x"}, MaxMissing: 1},
		{ID: "max", Method: instrument.Max, Items: []instrument.ItemID{"n", "c"}, MaxMissing: 1, Decimals: new(0)},
	}
	d.RiskRules = []instrument.RiskRule{
		{ID: "sum-high", Severity: instrument.SeverityWatch, When: "scores.sum > 5", Message: "High"},
		{ID: "sum-low", Severity: instrument.SeverityWatch, When: "!(scores.sum > 5)", Message: "Low"},
		{ID: "ratio", Severity: instrument.SeverityUrgent, When: "10 / answers.n > 3", Message: "Ratio"},
	}
	compiled, err := instrument.Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestCheckCleans(t *testing.T) {
	i := everything(t)
	given := answers{"n": 4, "x": json.Number("0.5"), "b": true, "note": "fünf!", "c": "high", "d": "2026-02-28", "long": " \n", "ratio": nil}
	want := answers{"n": 4.0, "x": 0.5, "b": true, "note": personal.Text("fünf!"), "c": "high", "d": "2026-02-28"}
	got, err := i.Check(given)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("other answers (-want +got):\n%s", diff)
	}
	if len(given) != 8 || given["n"] != 4 {
		t.Errorf("the given answers have changed: %v", given)
	}
	// A second check changes nothing, so that a correction does not find a change where there is none.
	again, err := i.Check(got)
	if diff := cmp.Diff(got, again); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestCheckRefuses(t *testing.T) {
	tests := []struct {
		code, field string
		answers     answers
	}{
		{"unknown_item", "answers.mood", answers{"n": 5, "mood": 1, "zeal": 2}},
		{"unknown_item", "answers.mood", answers{"mood": nil}},
		{"answer_wrong_type", "answers.n", answers{"n": "5"}},
		{"answer_wrong_type", "answers.n", answers{"n": 1.5}},
		{"answer_wrong_type", "answers.n", answers{"n": true}},
		{"answer_wrong_type", "answers.n", answers{"n": math.NaN()}},
		{"answer_wrong_type", "answers.n", answers{"n": math.Inf(1)}},
		{"answer_wrong_type", "answers.n", answers{"n": 1e300}},
		{"answer_wrong_type", "answers.n", answers{"n": json.Number("many")}},
		{"answer_wrong_type", "answers.n", answers{"n": []any{1.0}}},
		{"answer_wrong_type", "answers.n", answers{"n": map[string]any{}}},
		{"answer_wrong_type", "answers.b", answers{"n": 5, "b": 1.0}},
		{"answer_wrong_type", "answers.note", answers{"n": 5, "b": true, "note": 1.0}},
		{"answer_wrong_type", "answers.c", answers{"n": 5, "c": 1.0}},
		{"answer_wrong_type", "answers.d", answers{"n": 5, "c": "high", "d": "2026-02-30"}},
		{"answer_out_of_range", "answers.n", answers{"n": 6}},
		{"answer_out_of_range", "answers.n", answers{"n": -6}},
		{"answer_out_of_range", "answers.x", answers{"n": 5, "x": 0.49}},
		{"not_an_option", "answers.c", answers{"n": 5, "c": "middle"}},
		{"item_required", "answers.n", answers{}},
		{"item_required", "answers.n", nil},
		{"item_required", "answers.d", answers{"n": 5, "c": "high"}},
		{"item_required", "answers.ratio", answers{"n": 2}},
		{"item_not_asked", "answers.d", answers{"n": 5, "c": "low", "d": "2026-02-28"}},
		{"item_not_asked", "answers.d", answers{"n": 5, "d": "2026-02-28"}},
		{"item_not_asked", "answers.note", answers{"n": 5, "note": "a"}},
		{"answer_too_long", "answers.note", answers{"n": 5, "b": true, "note": "sechs!"}},
		{"answer_too_long", "answers.long", answers{"n": 5, "long": strings.Repeat("a", 501)}},
	}
	for _, tt := range tests {
		t.Run(tt.code+" "+tt.field, func(t *testing.T) {
			_, err := everything(t).Check(tt.answers)
			r, ok := refuse.As(err)
			if !ok || r.Code != tt.code || r.Field != tt.field || r.Sentence == "" || r.Remedy == "" {
				t.Errorf("got %v at %+v", err, r)
			}
		})
	}
}

// If a skip rule cannot be computed, the diary is accepted with or without an answer to the item.
func TestCheckAcceptsAFailingSkipRule(t *testing.T) {
	i := everything(t)
	for _, given := range []answers{{"n": 0}, {"n": 0, "ratio": 3}} {
		if _, err := i.Check(given); err != nil {
			t.Errorf("%v: %v", given, err)
		}
	}
}

// No JSON from a device makes Check panic, or accept a value that an item cannot have.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		`{"n":4}`, `{"n":4,"c":"high","d":"2026-01-01"}`, `{"n":1e400}`, `{"n":null}`, `[]`,
		`{"note":"\ud800","b":true,"n":1}`,
	} {
		f.Add([]byte(seed))
	}
	i := everything(f)
	f.Fuzz(func(t *testing.T, sent []byte) {
		var given answers
		if json.Unmarshal(sent, &given) != nil {
			return
		}
		clean, err := i.Check(given)
		if err != nil {
			if _, ok := refuse.As(err); !ok {
				t.Fatalf("an error that is not a refusal: %v", err)
			}
			return
		}
		again, err := i.Check(clean)
		if diff := cmp.Diff(clean, again); err != nil || diff != "" {
			t.Fatalf("a second check refuses or changes the answers: %v\n%s", err, diff)
		}
		i.Risks(clean, i.Scores(clean))
	})
}

// checked is a questionnaire without required items, whose answers may contradict each other.
func checked(t *testing.T, minAnswers int, effect form.CheckEffect) *instrument.Instrument {
	t.Helper()
	scale := func(id instrument.ItemID) instrument.Item {
		return instrument.Item{ID: id, Text: string(id), Type: instrument.Integer, Min: new(0.0), Max: new(10.0)}
	}
	i, err := instrument.Compile(&instrument.Definition{ID: "pain", Version: 1, Title: "Pain", MinAnswers: minAnswers,
		Items: []instrument.Item{scale("worst"), scale("least"), {ID: "mood", Text: "Mood", Type: instrument.Choice,
			Options: []instrument.Option{{Value: "good", Label: "Good"}, {Value: "no_answer", Label: "I prefer not to answer"}}}},
		Checks: []instrument.Check{{ID: "least-above-worst", Item: "least", When: "answers.least > answers.worst",
			Message: "The least pain cannot be above the worst", Effect: effect}},
		Schedule: instrument.Schedule{EveryDays: 1, Windows: []instrument.DayWindow{{ID: "w", Opens: "08:00", Closes: "20:00"}}}})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestAQuestionnaireTakesAnAnswer: nobody has filled in an empty one. Who prefers not to answer has answered.
func TestAQuestionnaireTakesAnAnswer(t *testing.T) {
	for _, c := range []struct {
		least int
		given answers
		code  string
	}{
		{0, answers{}, "too_few_answers"}, {0, nil, "too_few_answers"}, {0, answers{"worst": nil, "mood": nil}, "too_few_answers"},
		{0, answers{"mood": "no_answer"}, ""}, {0, answers{"worst": 0}, ""}, {2, answers{"worst": 3}, "too_few_answers"},
		{2, answers{"worst": 3, "mood": "no_answer"}, ""},
	} {
		_, err := checked(t, c.least, form.EffectQuery).Check(c.given)
		if r, refused := refuse.As(err); refused != (c.code != "") || refused && (r.Code != c.code || r.Field != "answers") {
			t.Errorf("of %d at least, %v is answered %v", c.least, c.given, err)
		}
	}
}

// TestAnswersThatContradictEachOther are refused by a hard check, and let in by a soft one, which says so.
func TestAnswersThatContradictEachOther(t *testing.T) {
	wrong := answers{"worst": 3, "least": 5}
	if _, err := checked(t, 0, form.EffectHardStop).Check(wrong); err == nil {
		t.Error("a hard check lets contradicting answers in")
	} else if r, _ := refuse.As(err); r.Code != "check_holds" || r.Field != "answers.least" {
		t.Errorf("the refusal is %+v", r)
	}
	clean, queried, err := checked(t, 0, form.EffectQuery).Examine(wrong)
	if err != nil || len(clean) != 2 || !slices.Equal(queried, []string{"least-above-worst"}) {
		t.Errorf("a soft check answers %v %v %v", clean, queried, err)
	}
	for _, right := range []answers{{"worst": 5, "least": 5}, {"least": 5}} { // one answer contradicts nothing
		for _, effect := range []form.CheckEffect{form.EffectQuery, form.EffectHardStop} {
			if _, queried, err := checked(t, 0, effect).Examine(right); err != nil || len(queried) > 0 {
				t.Errorf("%v: %v %v", right, queried, err)
			}
		}
	}
	shown, err := checked(t, 2, form.EffectQuery).Asked("")
	if err != nil || shown.MinAnswers != 2 || len(shown.Checks) != 1 || shown.Checks[0].Holds == nil || shown.Checks[0].Message == "" {
		t.Errorf("an app is shown %+v, %v", shown, err)
	}
}
