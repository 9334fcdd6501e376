package instrument_test

import (
	"strings"
	"testing"

	"casebook/domain/instrument"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestScores(t *testing.T) {
	i := everything(t)
	type results = []instrument.ScoreResult
	tests := []struct {
		name    string
		answers answers
		want    results
	}{
		{"all answered: number, choice and boolean count", answers{"n": 2.0, "x": 0.5, "b": true, "c": "high"},
			results{{ID: "sum", Value: new(6.5), Band: "high"}, {ID: "mean", Value: new(1.25)}, {ID: "max", Value: new(3.0)}}},
		{"two missing: the sum is prorated", answers{"n": 2.0, "b": false},
			results{{ID: "sum", Value: new(4.0), Missing: 2, Band: "low"},
				{ID: "mean", Value: new(2.0), Missing: 1}, {ID: "max", Value: new(2.0), Missing: 1}}},
		{"three missing: no sum", answers{"n": 2.0},
			results{{ID: "sum", Missing: 3},
				{ID: "mean", Value: new(2.0), Missing: 1}, {ID: "max", Value: new(2.0), Missing: 1}}},
		{"nothing answered", answers{},
			results{{ID: "sum", Missing: 4}, {ID: "mean", Missing: 2}, {ID: "max", Missing: 2}}},
		{"between the bands", answers{"n": 1.0, "x": 0.5, "b": false, "c": "high"},
			results{{ID: "sum", Value: new(4.5)}, {ID: "mean", Value: new(0.75)}, {ID: "max", Value: new(3.0)}}},
		{"rounded half away from zero", answers{"n": -2.5},
			results{{ID: "sum", Missing: 3},
				{ID: "mean", Value: new(-2.5), Missing: 1}, {ID: "max", Value: new(-3.0), Missing: 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, i.Scores(tt.answers)); diff != "" {
				t.Errorf("scores differ (-want +got):\n%s", diff)
			}
		})
	}
}

func riskIDs(i *instrument.Instrument, given answers) string {
	var ids []string
	for _, r := range i.Risks(given, i.Scores(given)) {
		ids = append(ids, r.ID)
	}
	return strings.Join(ids, " ")
}

func TestRisks(t *testing.T) {
	i := everything(t)
	for _, tt := range []struct {
		answers answers
		want    string
	}{
		{answers{"n": 5.0, "x": 2.0, "b": true, "c": "high"}, "sum-high"},
		{answers{"n": 4.0, "x": 1.0, "b": false, "c": "low"}, "sum-high"},
		{answers{"n": 1.0, "x": 1.0, "b": false, "c": "low"}, "sum-low ratio"},
		{answers{"n": 1.0}, "ratio"},
		{answers{}, ""},
	} {
		if got := riskIDs(i, tt.answers); got != tt.want {
			t.Errorf("%v flags %q, want %q", tt.answers, got, tt.want)
		}
	}
	// A rule that cannot be computed is returned, so that a person looks at the answers.
	given := answers{"n": 0.0}
	found := i.Risks(given, i.Scores(given))
	if len(found) != 1 || found[0].ID != "ratio" || !strings.Contains(found[0].Message, "could not be computed") {
		t.Errorf("got %v", found)
	}
	if message := i.Definition().RiskRules[2].Message; message != "Ratio" {
		t.Errorf("the definition has changed: %s", message)
	}
}

func TestPainDiaryFlagsContradictions(t *testing.T) {
	i, err := instrument.Compile(instrument.PainDiary())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		worst, least, average, now float64
		want                       string
	}{
		{3, 1, 2, 2, ""},
		{0, 0, 0, 0, ""},
		{7, 7, 7, 7, "pain-constant"},
		{8, 0, 1, 0, "pain-severe"},
		{3, 4, 3, 3, "answers-implausible"},
		{3, 1, 4, 2, "answers-implausible"},
		{3, 1, 2, 4, "answers-implausible"},
	} {
		given := answers{"worst": tt.worst, "least": tt.least, "average": tt.average, "now": tt.now, "rescue": false}
		if got := riskIDs(i, given); got != tt.want {
			t.Errorf("%v flags %q, want %q", given, got, tt.want)
		}
	}
}

// A prorated sum lies between the sums that the missing items could have made.
func TestProrationStaysWithinBounds(t *testing.T) {
	phq, err := instrument.Compile(instrument.PHQ9())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		given, sum, missing := answers{}, 0, 0
		for _, id := range phq.Definition().Scores[0].Items {
			points := rapid.IntRange(-1, 3).Draw(t, string(id))
			if points < 0 {
				missing++
				continue
			}
			given[id] = string(rune('0' + points))
			sum += points
		}
		got := phq.Scores(given)[0]
		if got.Missing != missing || (got.Value == nil) != (missing > 2) {
			t.Fatalf("%d missing: %+v", missing, got)
		}
		if got.Value != nil && (*got.Value < float64(sum) || *got.Value > float64(sum+3*missing) || got.Band == "") {
			t.Fatalf("answered items sum to %d, %d missing: %v %s", sum, missing, *got.Value, got.Band)
		}
	})
}
