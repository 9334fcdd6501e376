package study_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

func TestSourcesOfFactors(t *testing.T) {
	publish := func(f study.Factor) func(study.Study) ([]study.Event, error) {
		return scenario.SentWithFacts(study.Publish, study.PublishedInstruments{}, study.PublishProtocolVersion{
			InStudy: domain.ForStudy("PAIN1"), Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0",
				Arms: []study.Arm{{ID: "x"}, {ID: "y"}}, Treatment: &study.Treatment{Randomised: true, Factors: []study.Factor{f}}}}, domain.Call{})
	}
	given := scenario.For(t, study.Decider).Given(study.Created{Study: "PAIN1"})
	for _, wrong := range []study.Factor{
		{ID: "age", Levels: []string{"young", "old"}, DerivedFrom: study.FromAge},
		{ID: "age", Levels: []string{"young", "old"}, DerivedFrom: study.FromAge, Bounds: []int{40, 60}},
		{ID: "age", Levels: []string{"young", "middle", "old"}, DerivedFrom: study.FromAge, Bounds: []int{60, 40}},
		{ID: "age", Levels: []string{"young", "middle", "old"}, DerivedFrom: study.FromAge, Bounds: []int{60, 60}},
		{ID: "sex", Levels: []string{"F", "M"}, DerivedFrom: study.FromSex, Bounds: []int{1}},
		{ID: "mood", Levels: []string{"good", "bad"}, DerivedFrom: "mood"},
	} {
		given.When(publish(wrong)).ThenRefused("invalid_protocol")
	}
	age := study.Factor{ID: "age", Levels: []string{"young", "middle", "old"}, DerivedFrom: study.FromAge, Bounds: []int{40, 60}}
	if _, err := publish(age)(given.State()); err != nil {
		t.Error(err)
	}
	for years, want := range map[int]string{0: "young", 39: "young", 40: "middle", 59: "middle", 60: "old", 130: "old"} {
		if got := age.LevelOfAge(years); got != want {
			t.Errorf("%d years are %s, want %s", years, got, want)
		}
	}
}
