package process_test

import (
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/scenario"
)

func TestRetry(t *testing.T) {
	retrying := func(study domain.StudyID, reason string) decision {
		return scenario.Sent(process.RetryInstance, process.RetryProcess{InStudy: domain.ForStudy(study), Process: instance.Process,
			Of: instance.Of, Reasoned: domain.Because(reason)}, call)
	}
	given(t).When(retrying("PAIN1", "r")).ThenRefused("process_not_found")
	for _, outcome := range process.Outcomes {
		taken := step("e1", "waits")
		taken.Outcome = outcome
		stands := given(t, taken)
		stands.When(retrying("OTHER", "r")).ThenRefused("process_not_found")
		stands.When(retrying("PAIN1", "")).ThenRefused("reason_required")
		stands.When(retrying("PAIN1", strings.Repeat("r", 501))).ThenRefused("value_too_long")
		if outcome == process.Completed || outcome == process.Failed {
			stands.When(retrying("PAIN1", "r")).ThenRefused("process_ended")
			continue
		}
		retried := process.Retried{Instance: instance, Study: "PAIN1", Site: "A", Reason: "r"}
		stands.When(retrying("PAIN1", "r")).Then(retried).When(retrying("PAIN1", "r")).Then(retried) // it did not help
	}
}

// TestRetryWaitsUntilTheNextStep: a retry is due until the instance has taken a step, and sends what the last step with commands
// has sent.
func TestRetryWaitsUntilTheNextStep(t *testing.T) {
	quiet := step("e2", "is held")
	quiet.Commands = nil
	events := []process.Event{step("e1", "waits"), quiet, process.Retried{Instance: instance, Study: "PAIN1", Reason: "r"}}
	state := process.State{}
	for _, e := range events {
		state = process.Decider.Evolve(state, e)
	}
	if !state.Retried || len(state.Asked) != 1 || state.Asked[0].Number != 0 || len(state.Asked[0].Commands) != 1 {
		t.Errorf("the state is %+v", state)
	}
	if state = process.Decider.Evolve(state, step("e3", "goes on")); state.Retried || len(state.Asked) != 1 || state.Asked[0].Number != 2 {
		t.Errorf("after the next step it is %+v", state)
	}
}
