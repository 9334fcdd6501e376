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
