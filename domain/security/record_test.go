package security_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/scenario"
	"casebook/domain/security"
)

var call = domain.Call{At: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), Actor: "process:security-log"}

func recording(cmd security.RecordAccessRefused) func(security.Log) ([]security.Event, error) {
	return scenario.Sent(security.Record, cmd, call)
}

func TestRefusalsAreRecorded(t *testing.T) {
	first := security.AccessRefused{Actor: "anna", Action: "SubmitDiary", Study: "PAIN1", Code: "not_allowed", Reason: "no grant"}
	second := security.AccessRefused{Action: "SignIn", Code: "sign_in_failed", Reason: "wrong", Address: "10.0.0.1"}
	log := scenario.For(t, security.Decider).Strict()
	log.When(recording(security.RecordAccessRefused{Day: "2026-03-10", Refusals: []security.AccessRefused{first, second}})).Then(first, second)
	// Dropped refusals are counted, together with recorded ones or alone.
	log.When(recording(security.RecordAccessRefused{Day: "2026-03-10", Refusals: []security.AccessRefused{first}, Dropped: 7})).
		Then(first, security.RefusalsDropped{Count: 7}).
		When(recording(security.RecordAccessRefused{Day: "2026-03-10", Dropped: 1})).Then(security.RefusalsDropped{Count: 1})
	log.When(recording(security.RecordAccessRefused{Day: "2026-03-10"})).Then()
	log.When(recording(security.RecordAccessRefused{Day: "today", Refusals: []security.AccessRefused{first}})).ThenRefused("malformed_date")
}

func TestStepsOfTheClockAreRecorded(t *testing.T) {
	step := security.ClockStepped{Host: "a", From: call.At, To: call.At.Add(time.Hour)}
	log := scenario.For(t, security.Decider).Strict()
	log.When(scenario.Sent(security.RecordStep, security.RecordClockStep{Day: "2026-03-10", Step: step}, call)).Then(step)
	log.When(scenario.Sent(security.RecordStep, security.RecordClockStep{Day: "today", Step: step}, call)).ThenRefused("malformed_date")
	if about := step.About(); about != "a: by 1h0m0s" {
		t.Errorf("it is described as %q", about)
	}
}

func TestOneBlindingKeyIsRecorded(t *testing.T) {
	sent := func(check, replaces string) func(security.Key) ([]security.KeyEvent, error) {
		return scenario.Sent(security.RecordKey, security.RecordBlindingKey{Check: check, Replaces: replaces, Reason: "lost"}, call)
	}
	key := scenario.For(t, security.KeyDecider).Strict()
	key.When(sent("a", "")).Then(security.BlindingKeyRecorded{Check: "a"}).
		When(sent("a", "")).Then()
	key.Given(security.BlindingKeyRecorded{Check: "a"}).When(sent("b", "")).ThenRefused("blinding_key_differs")
	key.Given(security.BlindingKeyRecorded{Check: "a"}).When(sent("b", "c")).ThenRefused("blinding_key_differs")
	// A key that was lost before it sealed anything is replaced, and is then another installation's key.
	key.Given(security.BlindingKeyRecorded{Check: "a"}).When(sent("b", "a")).
		Then(security.BlindingKeyReplaced{Check: "b", Replaced: "a", Reason: "lost"}, security.BlindingKeyRecorded{Check: "b"}).
		When(sent("a", "")).ThenRefused("blinding_key_differs")
	key.Given(security.BlindingKeyRecorded{Check: "a"}).When(scenario.Sent(security.RecordKey,
		security.RecordBlindingKey{Check: "b", Replaces: "a"}, call)).ThenRefused("reason_required")
	if about := (security.BlindingKeyReplaced{Reason: "lost"}).About(); about != "the blinding key: lost" {
		t.Errorf("a replaced key is described as %q", about)
	}
	key.When(sent("b", "a")).ThenRefused("blinding_key_differs")
	key.When(sent("", "")).ThenRefused("value_missing")
	if about := (security.BlindingKeyRecorded{Check: "a"}).About(); about != "the blinding key" {
		t.Errorf("it is described as %q", about)
	}
}
