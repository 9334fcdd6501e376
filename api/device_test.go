package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/readmodels"
	userviews "casebook/readmodels/user"

	"golang.org/x/sync/errgroup"
)

func (p person) trySignInOn(device string) reply {
	return p.post("/api/v1/sign-in",
		fmt.Sprintf(`{"user":%q,"password":%q,"device":{"id":%q,"name":"A telephone"}}`, p.id, p.password, device))
}

// signInOn returns the session of a device, and a client that uses it.
func (p person) signInOn(device string) (Session, client) {
	p.t.Helper()
	r := p.trySignInOn(device)
	if r.StatusCode != http.StatusOK {
		p.t.Fatalf("answered %d: %s", r.StatusCode, r.body)
	}
	s := read[Session](p.t, r)
	c := p.client
	c.token = s.Token
	return s, c
}

func newPatient(t *testing.T, c client) person {
	t.Helper()
	tr := newTrial(t)
	return newPerson(t, c, user.Grant{Role: user.PatientRole, Study: tr.study, Patient: tr.patient})
}

func revoking(p person, device user.DeviceID) user.RevokeDevice {
	return user.RevokeDevice{OfUser: domain.ForUser(p.id), Device: device, Reasoned: domain.Because("the phone is lost")}
}

func works(t *testing.T, what string, p person, s Session, c client) {
	t.Helper()
	if me, again := c.get("/api/v1/me"), p.refresh(s.RefreshToken); me.StatusCode != http.StatusOK || again.StatusCode != http.StatusOK {
		t.Errorf("%s is answered %s, and at a refresh %s", what, me.body, again.body)
	}
}

func hasEnded(t *testing.T, p person, s Session, c client) {
	t.Helper()
	c.get("/api/v1/me").refused(t, http.StatusUnauthorized, "session_ended")
	p.refresh(s.RefreshToken).refused(t, http.StatusUnauthorized, "session_ended")
}

// TestR10_OneDeviceIsRevoked of two: by an administrator who finds it in the directory, and by the patient.
func TestR10_OneDeviceIsRevoked(t *testing.T) {
	c := serve(t, nil)
	p, other := newPatient(t, c), newPatient(t, c)
	onLost, lost := p.signInOn("lost-phone")
	onKept, kept := p.signInOn("kept-phone")
	works(t, "the first phone", p, onLost, lost)
	works(t, "the second phone", p, onKept, kept)
	if me := read[userviews.Me](t, kept.get("/api/v1/me")); len(me.Devices) != 2 || me.Devices[0] != (userviews.OwnDevice{
		Device: "lost-phone", Name: "A telephone"}) {
		t.Errorf("the patient sees %+v", me.Devices)
	}
	_, stranger := other.signInOn("lost-phone")
	stranger.command(revoking(p, "lost-phone")).refused(t, http.StatusForbidden, "not_allowed")

	admin := c.as(account(t, "admin", user.Grant{Role: user.Admin}))
	admin.command(revoking(p, "no-phone")).refused(t, http.StatusNotFound, "device_not_found")
	position := admin.accepted(revoking(p, "lost-phone")).Position
	hasEnded(t, p, onLost, lost)
	works(t, "the phone that is left", p, onKept, kept)
	listed := accountIn(t, admin, p.id, position)
	if len(listed.Devices) != 1 || listed.Devices[0].Device != "kept-phone" || listed.Devices[0].EnrolledAt.IsZero() {
		t.Errorf("the directory lists %+v", listed.Devices)
	}

	// The phone is found: it signs in anew, and what was copied from it before stays useless.
	onFound, found := p.signInOn("lost-phone")
	works(t, "the phone that was found", p, onFound, found)
	hasEnded(t, p, onLost, lost)
	found.accepted(revoking(p, "kept-phone"))
	hasEnded(t, p, onKept, kept)
	found.accepted(revoking(p, "lost-phone"))
	hasEnded(t, p, onFound, found)
}

// accountIn finds an account in the directory.
func accountIn(t *testing.T, admin client, id domain.UserID, position any) userviews.User {
	t.Helper()
	for path := "/api/v1/users?limit=200"; ; {
		page := read[readmodels.List[userviews.User]](t, admin.get(path, positionHeader, fmt.Sprint(position)))
		for _, u := range page.Items {
			if u.User == id {
				return u
			}
		}
		if page.Next == "" {
			t.Fatalf("%s is not listed", id)
		}
		path = "/api/v1/users?limit=200&cursor=" + page.Next
	}
}

// TestR10_ANewPasswordEndsAllDevices, and a lock does.
func TestR10_ANewPasswordEndsAllDevices(t *testing.T) {
	c := serve(t, nil)
	p := newPatient(t, c)
	onFirst, first := p.signInOn("first-phone")
	onSecond, second := p.signInOn("second-phone")
	const next = "marble ferry willow cobalt"
	changed := first.accepted(user.ChangePassword{OfUser: domain.ForUser(p.id), Password: next, CurrentPassword: p.password})
	hasEnded(t, p, onFirst, first)
	hasEnded(t, p, onSecond, second)
	admin := c.as(account(t, "admin", user.Grant{Role: user.Admin}))
	if u := accountIn(t, admin, p.id, changed.Position); len(u.Devices) != 0 {
		t.Errorf("the directory lists %+v", u.Devices)
	}
	p.password = next
	onFirst, first = p.signInOn("first-phone")
	works(t, "the first phone with the new password", p, onFirst, first)
	admin.accepted(user.LockUser{OfUser: domain.ForUser(p.id), Reasoned: domain.Because("stolen")})
	admin.accepted(user.UnlockUser{OfUser: domain.ForUser(p.id), Reasoned: domain.Because("found")})
	hasEnded(t, p, onFirst, first)
}

func TestTheDevicesOfASignInAreBounded(t *testing.T) {
	c := serve(t, nil)
	p := newPatient(t, c)
	p.trySignInOn("not an id").refused(t, http.StatusBadRequest, "malformed_id")
	for n := range 10 {
		p.signInOn(fmt.Sprintf("phone-%d", n))
	}
	p.trySignInOn("phone-10").refused(t, http.StatusConflict, "too_many_devices")
	p.trySignIn("wrong", "").refused(t, http.StatusUnauthorized, "sign_in_failed")
	// What the refusal says to do works.
	_, withoutDevice := p.signIn("")
	me := read[userviews.Me](t, withoutDevice.get("/api/v1/me"))
	withoutDevice.accepted(revoking(p, me.Devices[0].Device))
	p.signInOn("phone-10")
}

// TestR10_ARevokedDeviceStaysRevokedAfterARestart: another program, with nothing but the log, refuses it too.
func TestR10_ARevokedDeviceStaysRevokedAfterARestart(t *testing.T) {
	c := serve(t, nil)
	p := newPatient(t, c)
	onLost, lost := p.signInOn("lost-phone")
	onKept, kept := p.signInOn("kept-phone")
	kept.accepted(revoking(p, "lost-phone"))

	verifier := eventlog.NewVerifier(eventlog.VerifierOptions{Log: the.blinded, Store: the.store})
	handler := commands.NewHandler(commands.Options{Log: the.log, Verifier: verifier, Commands: contexts.Commands(), Now: time.Now,
		Build: "restarted"})
	running, stop := context.WithCancel(context.Background())
	parts, running := errgroup.WithContext(running)
	parts.Go(func() error { return verifier.Run(running) })
	parts.Go(func() error { return handler.Run(running) })
	t.Cleanup(func() {
		stop()
		if err := parts.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	if err := handler.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := p
	again.client = serve(t, func(o *options) {
		o.Handler = handler
		o.engine.ScopeOf, o.engine.RecordRefusal = handler.PatientScope, handler.RecordRefusal
	})
	lost.url, kept.url = again.url, again.url
	hasEnded(t, again, onLost, lost)
	works(t, "the phone that is left", again, onKept, kept)
}
