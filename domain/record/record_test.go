package record_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/record"
	"casebook/domain/scenario"
)

const damaged = "randomisation-PAIN1"

var (
	ofDamage = record.OfStream{Stream: damaged, Revision: 7}
	facts    = record.Facts{Damage: &domain.Damage{Stream: damaged, Revision: 7, Reason: "put there"}, Study: "PAIN1"}
	proposed = record.DamageResolutionProposed{Stream: damaged, Revision: 7, Study: "PAIN1", Damage: "put there",
		Reason: "credentials stolen", By: "anna"}
)

type decision = func(record.Resolutions) ([]record.Event, error)

func proposing(f record.Facts, c record.ResolveDamage) decision {
	return scenario.SentWithFacts(record.Propose, f, c, domain.Call{Actor: "anna"})
}

func confirming(who domain.UserID, f record.Facts, c record.ConfirmDamageResolution) decision {
	return scenario.SentWithFacts(record.Confirm, f, c, domain.Call{Actor: who})
}

func TestTwoPeopleResolveDamage(t *testing.T) {
	start := scenario.For(t, record.Decider).Strict()
	resolve := record.ResolveDamage{OfStream: ofDamage, Reasoned: domain.Because("credentials stolen")}
	confirm := record.ConfirmDamageResolution{OfStream: ofDamage, Proof: "proof"}
	start.When(proposing(facts, record.ResolveDamage{OfStream: ofDamage})).ThenRefused("reason_required")
	start.When(proposing(record.Facts{}, resolve)).ThenRefused("stream_not_damaged")
	elsewhere := resolve
	elsewhere.Revision = 6
	start.When(proposing(facts, elsewhere)).ThenRefused("damage_elsewhere")
	start.When(proposing(facts, resolve)).Then(proposed)
	start.When(confirming("ben", facts, confirm)).ThenRefused("resolution_not_proposed")

	known := start.Given(proposed)
	known.When(confirming("anna", facts, confirm)).ThenRefused("second_person_required")
	known.When(confirming("ben", record.Facts{}, confirm)).ThenRefused("stream_not_damaged")
	moved := record.Facts{Damage: &domain.Damage{Stream: damaged, Revision: 5}}
	known.When(confirming("ben", moved, confirm)).ThenRefused("damage_elsewhere")
	known.When(confirming("ben", moved, record.ConfirmDamageResolution{OfStream: record.OfStream{Stream: damaged, Revision: 5}})).
		ThenRefused("resolution_not_proposed")
	resolved := record.DamageResolved{Stream: damaged, Revision: 7, Study: "PAIN1", Damage: "put there", Reason: "credentials stolen",
		ProposedBy: "anna", Proof: "proof"}
	known.When(confirming("ben", facts, confirm)).Then(resolved)
	known.Given(resolved).When(confirming("ben", facts, confirm)).ThenRefused("resolution_not_proposed")
}
