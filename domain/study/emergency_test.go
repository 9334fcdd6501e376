package study_test

import (
	"encoding/json"
	"testing"

	"casebook/domain"
	"casebook/domain/study"
)

// In an emergency, the version of the protocol counts that the patient follows, with the kits that it has for the patient's dose. If it
// does not have the arm any more, it is the last version before it that had it, or else the next one.
func TestEmergencySaysWhatThePatientGets(t *testing.T) {
	first := planned()
	first.Arms[0].Title, first.Arms[0].Dose, first.Arms[0].InEmergency = "Active", "1 patch", "Remove the patch"
	first.Treatment.InEmergency = "Call the poison centre"
	second := planned()
	second.Version, second.Arms = 2, []study.Arm{{ID: "placebo"}, {ID: "new", Title: "Later"}}
	third := planned()
	third.Version, third.Arms = 3, []study.Arm{{ID: "active", Title: "Active again"}, {ID: "placebo"}}
	s := begun(t).Given(published(first), published(second), published(third)).State()
	for _, c := range []struct {
		follows int
		visit   string
		arm     string
		dosing  study.Dosing
		want    string
	}{
		{1, "", "active", study.Dosing{WeightKg: 80}, `{"title":"Active","dose":"1 patch","doseStep":1,` +
			`"kits":[{"type":"a-54","strength":"54 mg","form":"patch","count":2}],"toDo":["Remove the patch","Call the poison centre"]}`},
		{2, "week-4", "active", study.Dosing{Step: 2, Rescue: true}, `{"title":"Active","dose":"1 patch","doseStep":2,"rescue":true,` +
			`"kits":[{"type":"a-81","count":1},{"type":"rescue","count":1}],"toDo":["Remove the patch","Call the poison centre"]}`},
		{3, "", "active", study.Dosing{}, `{"title":"Active again","doseStep":1,"toDo":[]}`}, // without a weight nobody knows the kits
		{1, "", "new", study.Dosing{Step: 1}, `{"title":"Later","doseStep":1,"toDo":[]}`},
		{3, "", "unknown", study.Dosing{}, `{"toDo":[]}`},
	} {
		got, err := json.Marshal(s.Emergency(domain.ArmID(c.arm), c.follows, c.visit, c.dosing))
		if err != nil || string(got) != c.want {
			t.Errorf("by version %d, of %s is known %s, want %s", c.follows, c.arm, got, c.want)
		}
	}
}
