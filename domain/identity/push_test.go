package identity_test

import (
	"fmt"
	"strings"
	"testing"

	"casebook/domain/identity"
	"casebook/domain/personal"
	"casebook/domain/scenario"
	"casebook/domain/user"
)

// The keys of RFC 8291, appendix A.
var telephone = identity.Subscription{Endpoint: "https://push.example.net/send/abc",
	P256DH: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", Auth: "BTBZMqHH6r4Tts7J_aSIgg"}

func subscribed(number int, device user.DeviceID, to identity.Subscription) identity.PushSubscribed {
	return identity.PushSubscribed{Patient: anna.Patient, Device: device, Number: number, Key: "key-1",
		Subscription: personal.Of("key-1", to), At: call.At, By: call.Actor}
}

func TestSubscribeToPush(t *testing.T) {
	subscribe := func(device user.DeviceID, before, to identity.Subscription) func(identity.Identity) ([]identity.Event, error) {
		return scenario.SentWithFacts(identity.Subscribe, before,
			identity.SubscribePush{OfPatient: anna, Device: device, Subscription: to, Key: "key-1"}, call)
	}
	foreign := identity.SubscribePush{OfPatient: anna, Device: "phone-2", Subscription: telephone, Key: "key-1", Foreign: true}
	scenario.For(t, identity.Decider).When(scenario.SentWithFacts(identity.Subscribe, identity.Subscription{}, foreign, call)).
		ThenRefused("device_not_enrolled")
	unsubscribe := func(device user.DeviceID) func(identity.Identity) ([]identity.Event, error) {
		return scenario.Sent(identity.Unsubscribe, identity.UnsubscribePush{OfPatient: anna, Device: device}, call)
	}
	nothing := identity.Subscription{}
	other := telephone
	other.Endpoint += "d"
	nobody := scenario.For(t, identity.Decider)
	nobody.When(subscribe("phone-1", nothing, telephone)).Then(subscribed(1, "phone-1", telephone)).
		When(subscribe("phone-1", telephone, telephone)).Then().
		When(subscribe("phone-1", telephone, other)).Then(subscribed(2, "phone-1", other)).
		When(unsubscribe("phone-2")).Then().
		When(unsubscribe("phone-1")).
		Then(identity.PushEnded{Patient: anna.Patient, Device: "phone-1", Number: 2, Why: identity.PushUnsubscribed}).
		When(unsubscribe("phone-1")).Then().
		When(subscribe("phone-1", other, other)).Then(subscribed(3, "phone-1", other)) // what ended begins again
	nobody.When(unsubscribe("?")).ThenRefused("malformed_id")

	// There is one key of the patient's data, whatever is recorded first.
	second := identity.RecordIdentity{OfPatient: anna, Details: details, Key: "key-2"}
	nobody.Given(subscribed(1, "phone-1", telephone)).When(scenario.Sent(identity.Record, second, call)).Then(recorded(details))
	late := identity.SubscribePush{OfPatient: anna, Device: "phone-1", Subscription: telephone, Key: "key-2"}
	nobody.Given(recorded(details)).When(scenario.SentWithFacts(identity.Subscribe, nothing, late, call)).
		Then(subscribed(1, "phone-1", telephone))

	for field, wrong := range map[string][]func(*identity.Subscription){
		"endpoint": {func(s *identity.Subscription) { s.Endpoint = "http://push.example.net/abc" },
			func(s *identity.Subscription) { s.Endpoint = "https:///hidden-path" },
			func(s *identity.Subscription) { s.Endpoint = "https://anna:hidden@push.example.net/" },
			func(s *identity.Subscription) { s.Endpoint = "https://push.example.net/" + strings.Repeat("a", 1000) },
			func(s *identity.Subscription) { s.Endpoint = "" }},
		"p256dh": {func(s *identity.Subscription) { s.P256DH = "AAAA" }, func(s *identity.Subscription) { s.P256DH = "" },
			func(s *identity.Subscription) { s.P256DH = strings.Replace(s.P256DH, "o", "p", 1) }}, // not on the curve
		"auth": {func(s *identity.Subscription) { s.Auth = "AAAA" }, func(s *identity.Subscription) { s.Auth = "?" }},
	} {
		for _, change := range wrong {
			s := telephone
			change(&s)
			refusal := nobody.When(subscribe("phone-1", nothing, s)).ThenRefused("malformed_subscription")
			if refusal.Field != field || strings.Contains(fmt.Sprintf("%+v", refusal), "hidden") {
				t.Errorf("%+v is refused with %+v", s, refusal)
			}
		}
	}
	full := nobody
	for n := range 20 {
		full = full.Given(subscribed(n+1, user.DeviceID(fmt.Sprintf("phone-%d", n)), telephone))
	}
	full.When(subscribe("phone-20", nothing, telephone)).ThenRefused("too_many_devices")
	full.When(subscribe("phone-7", telephone, other)).Then(subscribed(21, "phone-7", other))
}

// TestWhatLeadsNowhereEnds: it ends once, and what was subscribed meanwhile stays.
func TestWhatLeadsNowhereEnds(t *testing.T) {
	end := func(number int) func(identity.Identity) ([]identity.Event, error) {
		return scenario.Sent(identity.End, identity.EndPush{OfPatient: anna, Device: "phone-1", Number: number,
			Why: identity.PushGone}, call)
	}
	known := scenario.For(t, identity.Decider).Given(subscribed(1, "phone-1", telephone))
	known.When(end(1)).Then(identity.PushEnded{Patient: anna.Patient, Device: "phone-1", Number: 1, Why: identity.PushGone}).
		When(end(1)).Then()
	known.Given(subscribed(2, "phone-1", telephone)).When(end(1)).Then()
}
