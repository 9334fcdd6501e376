package identity_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/identity"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
)

var (
	anna    = domain.ForPatient("PAIN1.S-0001")
	call    = domain.Call{At: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), Actor: "crc.one"}
	details = identity.Details{Name: "Anna Beispiel", BirthDate: "1964-08-12", Email: "anna@example.org", Phone: "+49 30 1234567",
		Address: "Heidestrasse 17\n51147 Koeln"}
)

func recorded(d identity.Details) identity.Recorded {
	return identity.Recorded{Patient: anna.Patient, Key: "key-1", Details: personal.Of("key-1", d), At: call.At, By: call.Actor}
}

func TestRecordIdentity(t *testing.T) {
	record := func(d identity.Details) func(identity.Identity) ([]identity.Event, error) {
		return scenario.Sent(identity.Record, identity.RecordIdentity{OfPatient: anna, Details: d, Key: "key-1"}, call)
	}
	nobody := scenario.For(t, identity.Decider)
	nobody.When(record(details)).Then(recorded(details)).
		When(record(details)).ThenRefused("identity_recorded")
	nobody.When(record(identity.Details{Name: "A"})).Then(recorded(identity.Details{Name: "A"}))
	for code, wrong := range map[string][]func(*identity.Details){
		"value_missing": {func(d *identity.Details) { d.Name = " " }},
		"value_too_long": {func(d *identity.Details) { d.Name = strings.Repeat("a", 201) },
			func(d *identity.Details) { d.Address = strings.Repeat("a", 501) }},
		"value_unprintable":  {func(d *identity.Details) { d.Name = "Anna\u202e" }},
		"malformed_date":     {func(d *identity.Details) { d.BirthDate = "1964-02-30" }, func(d *identity.Details) { d.BirthDate = "Anna" }},
		"captured_in_future": {func(d *identity.Details) { d.BirthDate = "2026-03-04" }},
		"malformed_email": {func(d *identity.Details) { d.Email = "anna" }, func(d *identity.Details) { d.Email = "Anna <anna@example.org>" },
			func(d *identity.Details) { d.Email = " anna@example.org" }},
		"malformed_phone": {func(d *identity.Details) { d.Phone = "030 1234567" }, func(d *identity.Details) { d.Phone = "+49 abc" },
			func(d *identity.Details) { d.Phone = "+1" }, func(d *identity.Details) { d.Phone = "+1234567890123456" },
			func(d *identity.Details) { d.Phone = "+49+301234567" }},
	} {
		for _, change := range wrong {
			d := details
			change(&d)
			refusal := nobody.When(record(d)).ThenRefused(code)
			mustNotRepeat(t, refusal, d)
		}
	}
}

// mustNotRepeat fails if a refusal, which is logged, shows what it refuses.
func mustNotRepeat(t *testing.T, refusal *refuse.Refusal, d identity.Details) {
	t.Helper()
	text := fmt.Sprintf("%+v", refusal)
	for _, value := range []string{d.Name, string(d.BirthDate), d.Email, d.Phone, d.Address} {
		if len(value) > 3 && strings.Contains(text, value) {
			t.Errorf("the refusal shows %q: %s", value, text)
		}
	}
}

func TestCorrectIdentity(t *testing.T) {
	correct := func(to identity.Details, reason string) func(identity.Identity) ([]identity.Event, error) {
		return scenario.SentWithFacts(identity.Correct, details, identity.CorrectIdentity{OfPatient: anna, Details: to, Reason: reason}, call)
	}
	nobody := scenario.For(t, identity.Decider)
	nobody.When(correct(details, "moved")).ThenRefused("identity_not_recorded")
	known := nobody.Given(recorded(details))
	moved := details
	moved.Address, moved.Phone = "", "+49 40 7654321"
	known.When(correct(moved, "moved to her sister")).Then(identity.Corrected{Patient: anna.Patient, Details: personal.Of("key-1", moved),
		Changed: []string{"phone", "address"}, Reason: personal.Of("key-1", "moved to her sister"), At: call.At, By: call.Actor})
	known.When(correct(moved, " ")).ThenRefused("reason_required")
	known.When(correct(details, "nothing")).ThenRefused("nothing_to_correct")
	known.When(correct(identity.Details{}, "oops")).ThenRefused("value_missing")
}

func TestReadIdentity(t *testing.T) {
	read := func(p identity.Purpose) func(identity.Identity) ([]identity.Event, error) {
		return scenario.Sent(identity.Show, identity.ReadIdentity{OfPatient: anna, Purpose: p}, call)
	}
	nobody := scenario.For(t, identity.Decider)
	nobody.When(read(identity.ToContact)).ThenRefused("identity_not_recorded")
	known := nobody.Given(recorded(details))
	for _, p := range identity.Purposes {
		known.When(read(p)).Then(identity.Read{Patient: anna.Patient, Purpose: p})
	}
	known.When(read("curiosity")).ThenRefused("unknown_code")
	known.When(read("")).ThenRefused("unknown_code")
}
