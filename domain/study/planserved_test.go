package study_test

import (
	"slices"
	"testing"

	"casebook/domain/study"
)

// Who gets a kit must not be of one arm alone because only its kits are sent, in no case of the plan.
func TestKitsThatAreSentLeaveNoArmAlone(t *testing.T) {
	blinded := begun(t).When(publishing(planned())).Then(published(planned())).State()
	open := planned()
	open.Treatment.Randomised, open.Arms = false, open.Arms[:1]
	for name, c := range map[string]struct {
		before, after []study.Kind // what is sent no more
		leaves        bool
	}{
		"nothing changes":                      {nil, nil, false},
		"a type of one arm":                    {nil, []study.Kind{"a-54"}, true},
		"what looks like it as well":           {nil, []study.Kind{"a-54", "p-54"}, false},
		"a type that has an alternative":       {nil, []study.Kind{"a-81"}, false},
		"with its alternative":                 {nil, []study.Kind{"a-81", "a-54"}, true},
		"what all arms get":                    {nil, []study.Kind{"rescue"}, false},
		"it has been so before":                {[]study.Kind{"a-54"}, []study.Kind{"a-54", "lead-in"}, false},
		"one arm begins again":                 {[]study.Kind{"a-54", "p-54"}, []study.Kind{"a-54"}, true},
		"both begin again":                     {[]study.Kind{"a-54", "p-54"}, nil, false},
		"one dose each, of different steps":    {nil, []study.Kind{"a-54", "p-81"}, true},
		"everything ends, and one dose of one": {nil, []study.Kind{"a-54", "a-81", "p-54"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			sent := func(ended []study.Kind) func(study.Kind) bool {
				return func(k study.Kind) bool { return !slices.Contains(ended, k) }
			}
			if got := blinded.LeavesOneArm(sent(c.before), sent(c.after)); got != c.leaves {
				t.Errorf("after the change, one arm is left alone: %t, want %t", got, c.leaves)
			}
			if open.LeavesOneArm(sent(c.before), sent(c.after)) {
				t.Error("a study without a draw has something to hide")
			}
		})
	}
}

// Where the protocol has no types, the arms are what is sent. A protocol without treatment sends nothing.
func TestArmsThatAreSentLeaveNoArmAlone(t *testing.T) {
	p := planned()
	p.Treatment.Plan, p.Treatment.DoNotDispense = nil, nil
	none := func(study.Kind) bool { return true }
	without := func(arm study.Kind) func(study.Kind) bool { return func(k study.Kind) bool { return k != arm } }
	if !p.LeavesOneArm(none, without("active")) || p.LeavesOneArm(without("active"), without("active")) || p.LeavesOneArm(none, none) {
		t.Error("with two arms, the end of one leaves the other alone")
	}
	if (&study.Protocol{}).LeavesOneArm(none, without("active")) {
		t.Error("a protocol without treatment leaves an arm alone")
	}
}

// The arms of one draw are compared: who has been drawn for a later stage is known. Who alone waits, of several arms, is told apart as well
// as who alone gets a kit.
func TestKitsThatAreSentLeaveNoArmOfADrawAloneOrOut(t *testing.T) {
	sent := func(ended ...study.Kind) func(study.Kind) bool {
		return func(k study.Kind) bool { return !slices.Contains(ended, k) }
	}
	p := planned()
	p.Arms = append(p.Arms, study.Arm{ID: "open"})
	p.Treatment.FirstArms = []string{"active", "placebo"}
	p.Treatment.Stages = []study.Stage{{ID: "extension", Arms: []string{"open"}, OpenExtension: true}}
	p.Treatment.Plan.Types = append(p.Treatment.Plan.Types, study.KitType{ID: "o-54", Arm: "open", Open: true})
	p.Treatment.Plan.Kits = append(p.Treatment.Plan.Kits, study.PlannedKits{Arm: "open", Kits: []study.KitsOf{{Type: "o-54", Count: 1}}})
	if !p.LeavesOneArm(sent(), sent("a-54")) || !p.LeavesOneArm(sent(), sent("a-54", "a-81")) {
		t.Error("the arm of the extension hides that one arm of the first draw is left alone")
	}
	if p.LeavesOneArm(sent(), sent("o-54")) || p.LeavesOneArm(sent(), sent("a-54", "p-54")) {
		t.Error("the only arm of a draw has something to hide")
	}

	three := planned()
	three.Treatment.DoNotDispense = nil
	three.Arms = append(three.Arms, study.Arm{ID: "third"})
	three.Treatment.Plan.Types = append(three.Treatment.Plan.Types, study.KitType{ID: "t-54", Arm: "third", LabelGroup: "patch"},
		study.KitType{ID: "t-81", Arm: "third", LabelGroup: "patch"})
	for _, planned := range three.Treatment.Plan.Kits {
		if planned.Arm != "placebo" {
			continue
		}
		planned.Arm = "third"
		third := func(of []study.KitsOf) []study.KitsOf {
			return []study.KitsOf{{Type: "t" + of[0].Type[1:], Count: of[0].Count}}
		}
		planned.Kits = third(planned.Kits)
		if len(planned.Alternatives) > 0 {
			planned.Alternatives = []study.KitSet{{Kits: third(planned.Alternatives[0].Kits)}}
		}
		three.Treatment.Plan.Kits = append(three.Treatment.Plan.Kits, planned)
	}
	s := begun(t).When(publishing(three)).Then(published(three)).State()
	for name, c := range map[string]struct {
		before, after func(study.Kind) bool
		leaves        bool
	}{
		"one of three waits":     {sent(), sent("a-54"), true},
		"two of three wait":      {sent(), sent("a-54", "p-54"), true},
		"all wait":               {sent(), sent("a-54", "p-54", "t-54"), false},
		"one more waits":         {sent("a-54"), sent("a-54", "p-54"), true},
		"one of three gets some": {sent("a-54", "p-54", "t-54"), sent("a-54", "p-54"), true},
		"two of three get some":  {sent("a-54", "p-54", "t-54"), sent("a-54"), true},
	} {
		if got := s.LeavesOneArm(c.before, c.after); got != c.leaves {
			t.Errorf("%s: %t, want %t", name, got, c.leaves)
		}
	}
	// The end of an arm is for an arm that nobody is treated in any more: nobody waits.
	if three.LeavesOneArm(sent(), sent("a-54", "a-81")) || !three.LeavesOneArm(sent("a-54", "a-81"), sent("a-54", "a-81", "p-54", "p-81")) {
		t.Error("with three arms, one can end, and a second one cannot")
	}
}
