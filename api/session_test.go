package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/access"
	usercommands "casebook/commands/user"
	"casebook/domain"
	"casebook/domain/randomisation"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/embedded/storetest"
	"casebook/readmodels"
	userviews "casebook/readmodels/user"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

// person is somebody who signs in.
type person struct {
	client
	id       domain.UserID
	password string
}

// newPerson registers somebody whose password is their own, with grants.
func newPerson(t *testing.T, c client, grants ...user.Grant) person {
	t.Helper()
	p := person{client: c, id: account(t, "person", grants...), password: "velvet anchor copper mist"}
	doAs(t, access.Principal{User: p.id, AuthenticatedAt: now}, user.ChangePassword{OfUser: domain.ForUser(p.id), Password: p.password})
	return p
}

func (p person) trySignIn(password, code string) reply {
	return p.post("/api/v1/sign-in", fmt.Sprintf(`{"user":%q,"password":%q,"code":%q}`, p.id, password, code))
}

// signIn returns the session, and a client that uses it.
func (p person) signIn(code string) (Session, client) {
	p.t.Helper()
	r := p.trySignIn(p.password, code)
	if r.StatusCode != http.StatusOK {
		p.t.Fatalf("answered %d: %s", r.StatusCode, r.body)
	}
	s := read[Session](p.t, r)
	c := p.client
	c.token = s.Token
	return s, c
}

func (p person) refresh(token string) reply {
	return p.post("/api/v1/sign-in/refresh", fmt.Sprintf(`{"refreshToken":%q}`, token))
}

// atTheHandlersTime lets the API use the clock of the shared handler. Tokens are compared with the real time, so they last.
func atTheHandlersTime(o *options) {
	o.Now, o.TokenLifetime = func() time.Time { return now }, 100*365*24*time.Hour
}

func TestWhoSignsInGetsATokenThatWorks(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	grant := user.Grant{Role: user.Investigator, Study: tr.study, Site: "01"}
	p := newPerson(t, c, grant)
	p.trySignIn("wrong", "").refused(t, http.StatusUnauthorized, "sign_in_failed")
	c.post("/api/v1/sign-in", `{"user":"nobody.at.all","password":"wrong"}`).refused(t, http.StatusUnauthorized, "sign_in_failed")
	c.post("/api/v1/sign-in", `{"user":"Not An Id","password":"wrong"}`).refused(t, http.StatusUnauthorized, "sign_in_failed")
	c.post("/api/v1/sign-in", `{"user":"x","secret":"wrong"}`).refused(t, http.StatusBadRequest, "unknown_field")

	session, signedIn := p.signIn("")
	if session.User != p.id || time.Until(session.ExpiresAt) > 10*time.Minute || time.Until(session.ExpiresAt) < 9*time.Minute {
		t.Errorf("the session is of %s until %s", session.User, session.ExpiresAt)
	}
	me := read[userviews.Me](t, signedIn.get("/api/v1/me"))
	if me.User != p.id || len(me.Grants) != 1 || me.Grants[0] != grant {
		t.Errorf("me is %+v", me)
	}
	signedIn.accepted(tr.transcription(4))
}

// TestR9_SessionsAreRefreshedUntilTheyEnd: twelve hours for staff and without a device, as long as they like for patients on
// an enrolled device, and never past the end of the account's sessions.
func TestR9_SessionsAreRefreshedUntilTheyEnd(t *testing.T) {
	clock := time.Now()
	c := serve(t, func(o *options) { o.Now = func() time.Time { return clock } })
	tr := newTrial(t)
	staff := newPerson(t, c, user.Grant{Role: user.Monitor, Study: tr.study})
	self := newPerson(t, c, user.Grant{Role: user.PatientRole, Study: tr.study, Patient: tr.patient})
	ofStaff, _ := staff.signInOn("laptop")
	ofPatient, _ := self.signInOn("phone")
	withoutDevice, _ := self.signIn("")
	for _, s := range []Session{ofStaff, ofPatient, withoutDevice} {
		again := read[Session](t, staff.refresh(s.RefreshToken))
		if again.User != s.User || again.RefreshToken != "" {
			t.Errorf("a refresh is answered %+v", again)
		}
		was, err1 := c.tokens.Verify(s.Token)
		is, err2 := c.tokens.Verify(again.Token)
		if err1 != nil || err2 != nil || !is.AuthenticatedAt.Equal(was.AuthenticatedAt) {
			t.Errorf("a refresh changes the time of the sign-in from %s to %s, %v, %v", was.AuthenticatedAt, is.AuthenticatedAt, err1, err2)
		}
		refreshed := c
		refreshed.token = again.Token
		if r := refreshed.get("/api/v1/me"); r.StatusCode != http.StatusOK {
			t.Errorf("the new token is answered %d: %s", r.StatusCode, r.body)
		}
		// Each kind of token is good for its own use alone.
		refreshed.token = s.RefreshToken
		refreshed.get("/api/v1/me").refused(t, http.StatusUnauthorized, "token_invalid")
		staff.refresh(s.Token).refused(t, http.StatusUnauthorized, "token_invalid")
	}
	staff.refresh("").refused(t, http.StatusUnauthorized, "token_invalid")

	clock = clock.Add(13 * time.Hour)
	staff.refresh(ofStaff.RefreshToken).refused(t, http.StatusUnauthorized, "token_expired")
	self.refresh(withoutDevice.RefreshToken).refused(t, http.StatusUnauthorized, "token_expired")
	clock = clock.Add(300 * 24 * time.Hour)
	last := read[Session](t, self.refresh(ofPatient.RefreshToken))
	last2 := c
	last2.token = last.Token
	last2.accepted(user.SignOut{OfUser: domain.ForUser(self.id)})
	last2.get("/api/v1/me").refused(t, http.StatusUnauthorized, "session_ended")
	self.refresh(ofPatient.RefreshToken).refused(t, http.StatusUnauthorized, "session_ended")
}

// TestAPatientWhoBecomesStaffHasASessionOfStaff: the long session of a patient does not become one of staff.
func TestAPatientWhoBecomesStaffHasASessionOfStaff(t *testing.T) {
	clock := time.Now()
	c := serve(t, func(o *options) { o.Now = func() time.Time { return clock } })
	tr := newTrial(t)
	p := newPerson(t, c, user.Grant{Role: user.PatientRole, Study: tr.study, Patient: tr.patient})
	session, _ := p.signInOn("phone")
	give(t, p.id, user.Grant{Role: user.Monitor, Study: tr.study})
	clock = clock.Add(13 * time.Hour)
	p.refresh(session.RefreshToken).refused(t, http.StatusUnauthorized, "token_expired")
}

// TestR9_EverythingEndsAtOnce: a lock reaches tokens, refresh tokens, batches and streams.
func TestR9_EverythingEndsAtOnce(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	p := newPerson(t, c, user.Grant{Role: user.CRC, Study: tr.study, Site: "01"})
	session, signedIn := p.signIn("")
	signedIn.accepted(tr.transcription(4))
	doAs(t, administrator("first.admin"), user.LockUser{OfUser: domain.ForUser(p.id), Reasoned: domain.Because("stolen")})
	signedIn.command(tr.transcription(5)).refused(t, http.StatusUnauthorized, "account_locked")
	p.refresh(session.RefreshToken).refused(t, http.StatusUnauthorized, "account_locked")
	p.trySignIn(p.password, "").refused(t, http.StatusUnauthorized, "sign_in_failed")
	doAs(t, administrator("first.admin"), user.UnlockUser{OfUser: domain.ForUser(p.id), Reasoned: domain.Because("found")})
	recordsNothing(t, func() {
		signedIn.command(tr.transcription(5)).refused(t, http.StatusUnauthorized, "session_ended")
		signedIn.get("/api/v1/me").refused(t, http.StatusUnauthorized, "session_ended")
		signedIn.get("/api/v1/events?study="+string(tr.study)).refused(t, http.StatusUnauthorized, "session_ended")
		p.refresh(session.RefreshToken).refused(t, http.StatusUnauthorized, "session_ended")
	})
	_, anew := p.signIn("")
	anew.accepted(tr.transcription(5))
}

// TestR16_ASignInIsDelayedAfterFailures says when to come back.
func TestR16_ASignInIsDelayedAfterFailures(t *testing.T) {
	c := serve(t, nil)
	p := newPerson(t, c)
	for range 4 {
		p.trySignIn("wrong", "").refused(t, http.StatusUnauthorized, "sign_in_failed")
	}
	r := p.trySignIn(p.password, "")
	r.refused(t, http.StatusTooManyRequests, "sign_in_delayed")
	if wait := r.Header.Get("Retry-After"); wait != "1" {
		t.Errorf("come back in %q", wait)
	}
}

// TestR16_ThePasswordOfAnAdministratorIsChangedFirst: whoever resets a password does not act as its owner.
func TestR16_ThePasswordOfAnAdministratorIsChangedFirst(t *testing.T) {
	c := serve(t, atTheHandlersTime)
	tr := newTrial(t)
	grant := user.Grant{Role: user.Investigator, Study: tr.study, Site: "01"}
	p := newPerson(t, c, grant)
	admin := c.as(account(t, "admin", user.Grant{Role: user.Admin}))
	deputy := c.as(account(t, "deputy", user.Grant{Role: user.Admin}))
	of := domain.ForUser(p.id)
	const handedOut, own = "gravel lantern oboe thicket", "marble ferry willow cobalt"
	admin.accepted(user.ChangePassword{OfUser: of, Password: handedOut})
	p.password = handedOut
	session, signedIn := p.signIn("")
	if !session.MustChangePassword {
		t.Error("the sign-in does not say that the password has to be changed")
	}
	signedIn.get("/api/v1/me").refused(t, http.StatusForbidden, "password_change_required")
	signedIn.command(tr.transcription(4)).refused(t, http.StatusForbidden, "password_change_required")
	signedIn.post("/api/v1/commands:batch", `{"commands":[]}`).refused(t, http.StatusForbidden, "password_change_required")
	signedIn.get("/api/v1/events?study="+string(tr.study)).refused(t, http.StatusForbidden, "password_change_required")
	signedIn.accepted(user.ChangePassword{OfUser: of, Password: own, CurrentPassword: handedOut})
	p.password = own
	signedIn.get("/api/v1/me").refused(t, http.StatusUnauthorized, "session_ended")

	_, signedIn = p.signIn("")
	signedIn.accepted(tr.transcription(4)) // daily work goes on
	unblind := randomisation.BreakBlind{Patient: tr.patient,
		Reasoned: domain.Because("overdose")}
	signedIn.command(unblind).refused(t, http.StatusForbidden, "account_not_confirmed")
	admin.command(user.ConfirmAccount{OfUser: of}).refused(t, http.StatusUnprocessableEntity, "second_person_required")
	deputy.accepted(user.ConfirmAccount{OfUser: of})
	if code := read[Problem](t, signedIn.command(unblind)).Code; code == "account_not_confirmed" {
		t.Error("the confirmed account is refused")
	}
}

// TestR4_ARoleThatSeesArmsWaitsForASecondAdministrator goes through the API alone.
func TestR4_ARoleThatSeesArmsWaitsForASecondAdministrator(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	first, second := account(t, "admin", user.Grant{Role: user.Admin}), account(t, "admin", user.Grant{Role: user.Admin})
	somebody := account(t, "somebody")
	of, g := domain.ForUser(somebody), user.Grant{Role: user.Statistician, Study: tr.study}
	position := c.as(first).accepted(user.GrantRole{OfUser: of, Grant: g}).Position
	if me := read[userviews.Me](t, c.as(somebody).get("/api/v1/me")); len(me.Grants) != 0 {
		t.Errorf("one administrator has given %v", me.Grants)
	}
	c.as(first).command(user.ConfirmRole{OfUser: of, Grant: g}).refused(t, http.StatusUnprocessableEntity, "second_person_required")
	c.as(first).command(user.GrantRole{OfUser: domain.ForUser(first), Grant: user.Grant{Role: user.DataManager, Study: tr.study}}).
		refused(t, http.StatusUnprocessableEntity, "not_oneself")
	c.as(first).command(user.GrantRole{OfUser: domain.ForUser(second), Grant: g}).
		refused(t, http.StatusUnprocessableEntity, "roles_exclusive")
	// The second administrator finds what waits in the list of accounts.
	waiting := false
	for path := "/api/v1/users?limit=200"; ; {
		page := read[readmodels.List[userviews.User]](t, c.as(second).get(path, positionHeader, fmt.Sprint(position)))
		for _, u := range page.Items {
			waiting = waiting || u.User == somebody && len(u.Proposed) == 1 && u.Proposed[0].Grant == g && u.Proposed[0].By == first
		}
		if page.Next == "" {
			break
		}
		path = "/api/v1/users?limit=200&cursor=" + page.Next
	}
	if !waiting {
		t.Error("the list of accounts does not show the proposal")
	}
	c.as(second).accepted(user.ConfirmRole{OfUser: of, Grant: g})
	if me := read[userviews.Me](t, c.as(somebody).get("/api/v1/me")); len(me.Grants) != 1 || me.Grants[0] != g {
		t.Errorf("two administrators have given %v", me.Grants)
	}
}

// TestR15_UnblindingAsksForASecondFactorWhereTheStudyDoes walks through enrolment, a lost phone and a recovery code.
func TestR15_UnblindingAsksForASecondFactorWhereTheStudyDoes(t *testing.T) {
	c := serve(t, atTheHandlersTime)
	tr := newTrial(t)
	p := newPerson(t, c, user.Grant{Role: user.Investigator, Study: tr.study, Site: "01"})
	of := domain.ForUser(p.id)
	unblind := randomisation.BreakBlind{Patient: tr.patient,
		Reasoned: domain.Because("overdose")}
	passes := func(c client) bool { return read[Problem](t, c.command(unblind)).Code != "second_factor_required" }
	_, withPassword := p.signIn("")
	if !passes(withPassword) {
		t.Error("a second factor is asked for that the study does not ask for")
	}
	require := study.RequireSecondFactor{InStudy: domain.ForStudy(tr.study), Required: true,
		Reasoned: domain.Because("the protocol asks for it")}
	c.as(tr.manager).command(require).refused(t, http.StatusForbidden, "reauthentication_required")
	_, manager := newPerson(t, c, user.Grant{Role: user.DataManager, Study: tr.study}).signIn("")
	manager.accepted(require)
	withPassword.command(unblind).refused(t, http.StatusForbidden, "second_factor_required")

	offered := withPassword.accepted(user.OfferSecondFactor{OfUser: of})
	url, _ := offered.Revealed.(map[string]any)["url"].(string)
	key, err := otp.NewKeyFromURL(url)
	if err != nil {
		t.Fatalf("%q: %v", url, err)
	}
	codeAt := func(at time.Time) string {
		code, err := totp.GenerateCode(key.Secret(), at)
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	withPassword.command(user.EnrolSecondFactor{OfUser: of, Code: codeAt(now.Add(time.Hour))}).
		refused(t, http.StatusUnprocessableEntity, "wrong_code")
	enrolled := withPassword.accepted(user.EnrolSecondFactor{OfUser: of, Code: codeAt(now.Add(-30 * time.Second))})
	codes, _ := enrolled.Revealed.(map[string]any)["recoveryCodes"].([]any)
	if len(codes) != 8 || strings.Contains(fmt.Sprint(offered.Events, enrolled.Events), key.Secret()) {
		t.Fatalf("the enrolment shows %v", enrolled)
	}
	p.trySignIn(p.password, "").refused(t, http.StatusUnauthorized, "code_required")
	p.trySignIn("wrong", codeAt(now)).refused(t, http.StatusUnauthorized, "sign_in_failed")
	_, withCode := p.signIn(codeAt(now))
	if !passes(withCode) {
		t.Error("the second factor is not accepted")
	}
	p.trySignIn(p.password, codeAt(now)).refused(t, http.StatusUnauthorized, "sign_in_failed") // the same code again

	// The phone is lost: a recovery code counts as the factor, once.
	_, recovered := p.signIn(codes[0].(string))
	if !passes(recovered) {
		t.Error("the recovery code does not count as the second factor")
	}
	p.trySignIn(p.password, codes[0].(string)).refused(t, http.StatusUnauthorized, "sign_in_failed")
	// A refresh keeps what the sign-in has proven, and no more.
	if withPassword.get("/api/v1/me").StatusCode != http.StatusOK || passes(withPassword) {
		t.Error("a sign-in without a code has become one with a code")
	}
}

func TestSignInsFromOneAddressAreLimited(t *testing.T) {
	c := serve(t, func(o *options) { o.Limits.SignInBurst, o.Limits.SignInsPerMinute = 2, 1 })
	p := newPerson(t, c)
	p.signIn("")
	for _, one := range []string{"nobody.at.all", "nobody.else"} {
		c.post("/api/v1/sign-in", `{"user":"`+one+`","password":"wrong"}`).refused(t, http.StatusUnauthorized, "sign_in_failed")
	}
	// Who is not a trusted proxy does not get another allowance by naming another address.
	r := c.post("/api/v1/sign-in", `{"user":"nobody","password":"wrong"}`, "X-Forwarded-For", "192.0.2.77")
	r.refused(t, http.StatusTooManyRequests, "too_many_sign_ins")
	if r.Header.Get("Retry-After") == "" {
		t.Error("nobody is told when to come back")
	}
	p.signIn("") // a colleague who has signed in from there before
}

// TestAFloodOfSignInsLeavesTheAPIToOthers: sign-ins that are under way do not take the places of other requests.
func TestAFloodOfSignInsLeavesTheAPIToOthers(t *testing.T) {
	c := serve(t, func(o *options) { o.Limits.SignInsInFlight = 3 })
	p := newPerson(t, c)
	var leave func()
	for i := range 3 {
		var err error
		if leave, err = c.api.signing.enter(fmt.Sprint("192.0.2.", i), false); err != nil {
			t.Fatal(err)
		}
	}
	r := p.trySignIn(p.password, "")
	r.refused(t, http.StatusServiceUnavailable, "overloaded")
	if r.Header.Get("Retry-After") != "1" {
		t.Errorf("come back in %q", r.Header.Get("Retry-After"))
	}
	if r := c.as(p.id).get("/api/v1/me"); r.StatusCode != http.StatusOK {
		t.Errorf("another request is answered %d: %s", r.StatusCode, r.body)
	}
	leave()
	p.signIn("")
	if _, err := c.api.signing.enter("192.0.2.9", false); err != nil {
		t.Fatal(err)
	}
	p.signIn("") // strangers take no place of an account that has been signed in to from its network
}

// TestR16_TheFailedFactorIsRecorded: whoever knows the password and has no code is a stranger with a stolen password.
func TestR16_TheFailedFactorIsRecorded(t *testing.T) {
	c := serve(t, atTheHandlersTime)
	p := newPerson(t, c)
	of, self := domain.ForUser(p.id), access.Principal{User: p.id, AuthenticatedAt: now}
	url := doAs(t, self, user.OfferSecondFactor{OfUser: of}).Revealed.(usercommands.OfferedFactor).URL
	key, err := otp.NewKeyFromURL(url)
	if err != nil {
		t.Fatal(err)
	}
	code, err := totp.GenerateCode(key.Secret(), now)
	if err != nil {
		t.Fatal(err)
	}
	doAs(t, self, user.EnrolSecondFactor{OfUser: of, Code: code})
	p.trySignIn(p.password, "").refused(t, http.StatusUnauthorized, "code_required")
	p.trySignIn(p.password, "000000").refused(t, http.StatusUnauthorized, "sign_in_failed")
	p.trySignIn("wrong", "").refused(t, http.StatusUnauthorized, "sign_in_failed")
	var failures []string
	for r, err := range the.log.ReadStream(t.Context(), user.Decider.Stream(string(p.id)), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e, is := r.Event.(user.SignInFailed); is {
			failures = append(failures, e.Code)
		}
	}
	if want := []string{"code_missing", "wrong_code", "wrong_password"}; !slices.Equal(failures, want) {
		t.Errorf("recorded are %v", failures)
	}
}

// TestADamagedAccountGetsNoNewTokens: it cannot be locked any more, so its sessions end by themselves.
func TestADamagedAccountGetsNoNewTokens(t *testing.T) {
	c := serve(t, nil)
	p := newPerson(t, c)
	session, _ := p.signIn("")
	if r := p.refresh(session.RefreshToken); r.StatusCode != http.StatusOK {
		t.Fatalf("answered %d: %s", r.StatusCode, r.body)
	}
	if _, err := storetest.Forge(t.Context(), the.eventStoreURL, user.Decider.Stream(string(p.id)), "UserRenamed", []byte(`{}`),
		nil); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(5 * time.Millisecond) {
		if p.refresh(session.RefreshToken).StatusCode != http.StatusOK { // the program learns of the event from the log
			break
		}
	}
	p.refresh(session.RefreshToken).refused(t, http.StatusConflict, "record_damaged")
	p.trySignIn("wrong", "").refused(t, http.StatusUnauthorized, "sign_in_failed")
	p.trySignIn(p.password, "").refused(t, http.StatusConflict, "record_damaged")
}
