package user_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/scenario"
	"casebook/domain/user"
)

var patient = user.RoleGranted{User: anna, Grant: user.Grant{Role: user.PatientRole, Study: "PAIN1", Patient: "PAIN1.S-0001"}}

func signingInOn(device user.DeviceAtSignIn) decision {
	return scenario.SentWithFacts(user.EnterPassword, user.EnteredSecrets{Password: true}, user.SignIn{User: anna, Device: device},
		by("process:sign-in"))
}

func revokingDevice(device user.DeviceID, reason string, actor domain.UserID) decision {
	return scenario.Sent(user.Revoke, user.RevokeDevice{OfUser: domain.ForUser(anna), Device: device, Reasoned: domain.Because(reason)},
		by(actor))
}

func enrolled(device user.DeviceID, enrolment int) user.DeviceEnrolled {
	return user.DeviceEnrolled{User: anna, Device: device, Enrolment: enrolment}
}

// TestR10_DevicesAreEnrolledAndRevoked: a number of enrolment never returns, so that no token of before holds again.
func TestR10_DevicesAreEnrolledAndRevoked(t *testing.T) {
	revoked := user.DeviceRevoked{User: anna, Device: "phone-1", Reason: "lost"}
	given := account(t).Given(patient).
		When(signingInOn(user.DeviceAtSignIn{ID: "phone-1", Name: "Blue phone"})).
		Then(signedIn, user.DeviceEnrolled{User: anna, Device: "phone-1", Name: "Blue phone", Enrolment: 1}).
		When(signingInOn(user.DeviceAtSignIn{ID: "phone-2"})).Then(signedIn, enrolled("phone-2", 2)).
		When(signingIn(true)).Then(signedIn)
	given.When(signingInOn(user.DeviceAtSignIn{ID: "phone-1"})).Then(signedIn, enrolled("phone-1", 3))
	given.When(revokingDevice("phone-1", " ", boss)).ThenRefused("reason_required")
	given.When(revokingDevice("phone-3", "lost", boss)).ThenRefused("device_not_found")
	given.Given(deactivated).When(revokingDevice("phone-1", "lost", boss)).ThenRefused("account_deactivated")
	for _, actor := range []domain.UserID{anna, boss} {
		given.When(revokingDevice("phone-1", "lost", actor)).Then(revoked)
	}
	given = given.Given(revoked)
	if u := given.State(); u.HasDevice("phone-1", 1) || !u.HasDevice("phone-2", 2) || len(u.Devices) != 1 {
		t.Errorf("after one was revoked: %+v", u.Devices)
	}
	given.When(revokingDevice("phone-1", "lost", boss)).ThenRefused("device_not_found")
	given = given.When(signingInOn(user.DeviceAtSignIn{ID: "phone-1"})).Then(signedIn, enrolled("phone-1", 3))
	if u := given.State(); u.HasDevice("phone-1", 1) || !u.HasDevice("phone-1", 3) {
		t.Errorf("after it was enrolled again: %+v", u.Devices)
	}
	given = given.When(changing(anna)).Then(newPassword, ended(1, user.PasswordChanged))
	if u := given.State(); len(u.Devices) != 0 {
		t.Errorf("after all sessions have ended: %+v", u.Devices)
	}
	given.When(signingInOn(user.DeviceAtSignIn{ID: "phone-1"})).Then(signedIn, enrolled("phone-1", 4))
}

// TestR10_OnlyPatientsEnrolDevices: the sessions of staff end by themselves.
func TestR10_OnlyPatientsEnrolDevices(t *testing.T) {
	phone := user.DeviceAtSignIn{ID: "phone-1"}
	account(t).When(signingInOn(phone)).Then(signedIn)
	account(t).Given(user.RoleGranted{User: anna, Grant: crc}).When(signingInOn(phone)).Then(signedIn)
	account(t).Given(patient, user.RoleGranted{User: anna, Grant: crc}).When(signingInOn(phone)).Then(signedIn)
	wrongPassword := scenario.SentWithFacts(user.EnterPassword, user.EnteredSecrets{}, user.SignIn{User: anna, Device: phone},
		by("process:sign-in"))
	account(t).Given(patient).When(wrongPassword).Then(wrong)
}

// TestDevicesOfAnAccountAreBounded: the eleventh is recorded as refused, and is no guess at the password.
func TestDevicesOfAnAccountAreBounded(t *testing.T) {
	given := account(t).Given(patient)
	for n := 1; n <= 10; n++ {
		id := user.DeviceID(fmt.Sprintf("phone-%d", n))
		given = given.When(signingInOn(user.DeviceAtSignIn{ID: id})).Then(signedIn, enrolled(id, n))
	}
	given = given.When(signingInOn(user.DeviceAtSignIn{ID: "phone-11"})).Then(user.SignInFailed{User: anna, Code: "too_many_devices"})
	if n := given.State().FailedSignIns; n != 0 {
		t.Errorf("%d failures are counted", n)
	}
	given.When(signingIn(true)).Then(signedIn)
	given.When(signingInOn(user.DeviceAtSignIn{ID: "phone-10"})).Then(signedIn, enrolled("phone-10", 11))
	given.When(revokingDevice("phone-4", "lost", anna)).Then(user.DeviceRevoked{User: anna, Device: "phone-4", Reason: "lost"}).
		When(signingInOn(user.DeviceAtSignIn{ID: "phone-11"})).Then(signedIn, enrolled("phone-11", 11))
}

func TestDevicesAreNamedWithinBounds(t *testing.T) {
	for _, fine := range []user.DeviceAtSignIn{{}, {ID: "3f2b8c1e-6d0a-4b57-9a43-c5e1f07d2b88", Name: "Blue phone"},
		{ID: user.DeviceID(strings.Repeat("x", 64)), Name: strings.Repeat("x", 100)}} {
		if err := fine.Validate(); err != nil {
			t.Errorf("%+v: %v", fine, err)
		}
	}
	for _, bad := range []user.DeviceAtSignIn{{Name: "Blue phone"}, {ID: "a phone"}, {ID: "-"}, {ID: user.DeviceID(strings.Repeat("x", 65))},
		{ID: "phone-1", Name: strings.Repeat("x", 101)}, {ID: "phone-1", Name: "\x00"}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// TestR10_ADeviceSignsWithTheKeysOfItsEnrolments: an earlier key of it is good, and those from before it was revoked are not.
func TestR10_ADeviceSignsWithTheKeysOfItsEnrolments(t *testing.T) {
	with := func(device user.DeviceID, enrolment int, key user.DeviceKey) user.DeviceEnrolled {
		e := enrolled(device, enrolment)
		e.Key, e.Signs = key, key != ""
		return e
	}
	one, two := with("new", 1, "one"), with("new", 2, "two")
	lost := user.DeviceRevoked{User: anna, Device: "new"}
	older := with("old", 1, "zero")
	older.Signs = false
	for name, of := range map[string]struct {
		events []user.Event
		device user.DeviceID
		keys   []user.DeviceKey
		signs  bool
	}{
		"enrolled":                        {[]user.Event{one, with("other", 2, "two")}, "new", []user.DeviceKey{"one"}, true},
		"enrolled without a key":          {[]user.Event{enrolled("new", 1)}, "new", nil, false},
		"enrolled when nobody signed":     {[]user.Event{older}, "old", []user.DeviceKey{"zero"}, false},
		"enrolled again":                  {[]user.Event{one, two}, "new", []user.DeviceKey{"one", "two"}, true},
		"enrolled again with the key":     {[]user.Event{one, with("new", 2, "one")}, "new", []user.DeviceKey{"one"}, true},
		"enrolled again without a key":    {[]user.Event{one, enrolled("new", 2)}, "new", []user.DeviceKey{"one"}, true},
		"revoked":                         {[]user.Event{one, lost}, "new", nil, false},
		"another one revoked":             {[]user.Event{one, user.DeviceRevoked{User: anna, Device: "x"}}, "new", []user.DeviceKey{"one"}, true},
		"replaced":                        {[]user.Event{one, lost, two}, "new", []user.DeviceKey{"two"}, true},
		"all sessions have ended":         {[]user.Event{one, ended(1, user.PasswordChanged)}, "new", []user.DeviceKey{"one"}, true},
		"somebody else's, and none of it": {[]user.Event{one}, "", nil, false},
	} {
		u := user.Decider.Fold(append([]user.Event{user.Registered{User: anna}}, of.events...)...)
		if keys, signs := u.KeysOf(of.device); !slices.Equal(keys, of.keys) || signs != of.signs {
			t.Errorf("%s: the device has the keys %v and signs: %v; want %v and %v", name, keys, signs, of.keys, of.signs)
		}
	}
	// An account does not remember keys without end.
	phone := with("phone", 1, "phone")
	u := user.Decider.Fold(user.Registered{User: anna}, phone, with("new", 1, "begins to sign"))
	for n := range 300 {
		e := with("new", n+1, user.DeviceKey(fmt.Sprint(n)))
		e.Signs = false
		u = user.Decider.Evolve(u, e)
	}
	if keys, signs := u.KeysOf("new"); len(keys) != 50 || keys[49] != "299" || !signs {
		t.Errorf("the account knows %d keys, and signs: %v", len(keys), signs)
	}
	// And those of one device do not displace those of another, nor its duty to sign.
	if keys, signs := u.KeysOf("phone"); len(keys) != 1 || !signs {
		t.Errorf("the phone has the keys %v, and signs: %v", keys, signs)
	}
}
