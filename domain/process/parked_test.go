package process_test

import (
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/scenario"
)

var message = process.MessageParked{Parked: process.Parked{Process: "enrolment", Event: "e-1"}, Study: "PAIN1",
	Stream: "patient-PAIN1.S-1", Revision: 7, Type: "EnrollmentRequested", Reason: "it broke"}

type parkedDecision = func(process.ParkedState) ([]process.ParkedEvent, error)

func parking(reason string) parkedDecision {
	m := message
	m.Reason = reason
	return scenario.Sent(process.Park, process.ParkMessage{Message: m}, call)
}

func retrying(study domain.StudyID, reason string) parkedDecision {
	return scenario.Sent(process.Retry, process.RetryParkedMessage{InStudy: domain.ForStudy(study), Process: "enrolment", Event: "e-1",
		Reasoned: domain.Because(reason)}, call)
}

func abandoning(study domain.StudyID, reason string) parkedDecision {
	return scenario.Sent(process.Abandon, process.AbandonParkedMessage{InStudy: domain.ForStudy(study), Process: "enrolment", Event: "e-1",
		Reasoned: domain.Because(reason)}, call)
}

func TestParkedMessages(t *testing.T) {
	start := scenario.For(t, process.ParkedDecider).Strict()
	waiting := start.When(parking("it broke")).Then(message)
	waiting.When(parking("it broke again")).Then() // it is parked already
	retried := waiting.When(retrying("PAIN1", "the site is active now")).
		Then(process.ParkedMessageRetried{Parked: message.Parked, Study: "PAIN1",
			Reason: "the site is active now", Stream: message.Stream, Revision: 7})
	abandoned := waiting.When(abandoning("PAIN1", "done by hand")).
		Then(process.ParkedMessageAbandoned{Parked: message.Parked, Study: "PAIN1", Reason: "done by hand"})

	again := message
	again.Reason = "it broke again"
	for _, decided := range []scenario.Given[process.ParkedState, process.ParkedEvent]{retried, abandoned} {
		decided.When(retrying("PAIN1", "r")).ThenRefused("message_not_parked")
		decided.When(abandoning("PAIN1", "r")).ThenRefused("message_not_parked")
		// A message that fails again is parked again, and somebody has to decide again.
		decided.When(parking("it broke again")).Then(again).When(abandoning("PAIN1", "r")).
			Then(process.ParkedMessageAbandoned{Parked: message.Parked, Study: "PAIN1", Reason: "r"})
	}
	for _, decide := range []func(domain.StudyID, string) parkedDecision{retrying, abandoning} {
		start.When(decide("PAIN1", "r")).ThenRefused("message_not_parked")
		waiting.When(decide("OTHER", "r")).ThenRefused("message_not_parked") // the message belongs to another study
		waiting.When(decide("PAIN1", "")).ThenRefused("reason_required")
		waiting.When(decide("PAIN1", strings.Repeat("r", 501))).ThenRefused("value_too_long")
	}
	if got := message.Parked.String(); got != "enrolment.e-1" {
		t.Errorf("the stream's id is %s", got)
	}
}
