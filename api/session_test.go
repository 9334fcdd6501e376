package api

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/user"
	userviews "casebook/readmodels/user"
)

func TestWhoSignsInGetsATokenThatWorks(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	const password = "correct horse battery"
	name := domain.UserID(unique("doctor"))
	grant := user.Grant{Role: user.Investigator, Study: tr.study, Site: "01"}
	do(t, user.RegisterUser{OfUser: domain.ForUser(name), Name: "A doctor", Password: password})
	do(t, user.GrantRole{OfUser: domain.ForUser(name), Grant: grant})
	ask := func(password string) reply {
		return c.post("/api/v1/sign-in", fmt.Sprintf(`{"user":%q,"password":%q}`, name, password))
	}
	ask("wrong").refused(t, http.StatusUnauthorized, "sign_in_failed")
	c.post("/api/v1/sign-in", `{"user":"nobody.at.all","password":"wrong"}`).refused(t, http.StatusUnauthorized, "sign_in_failed")
	c.post("/api/v1/sign-in", `{"user":"Not An Id","password":"wrong"}`).refused(t, http.StatusUnauthorized, "sign_in_failed")
	c.post("/api/v1/sign-in", `{"user":"x","secret":"wrong"}`).refused(t, http.StatusBadRequest, "unknown_field")

	r := ask(password)
	if r.StatusCode != http.StatusOK {
		t.Fatalf("answered %d: %s", r.StatusCode, r.body)
	}
	session := read[Session](t, r)
	if session.User != name || time.Until(session.ExpiresAt) > 8*time.Hour || time.Until(session.ExpiresAt) < 7*time.Hour {
		t.Errorf("the session is of %s until %s", session.User, session.ExpiresAt)
	}
	c.token = session.Token
	me := read[userviews.Me](t, c.get("/api/v1/me"))
	if me.User != name || len(me.Grants) != 1 || me.Grants[0] != grant {
		t.Errorf("me is %+v", me)
	}
	c.accepted(tr.entry(4))
}

func TestSignInsFromOneAddressAreLimited(t *testing.T) {
	c := serve(t, func(o *options) { o.Limits.SignInBurst, o.Limits.SignInsPerMinute = 2, 1 })
	for range 2 {
		c.post("/api/v1/sign-in", `{"user":"nobody.at.all","password":"wrong"}`).refused(t, http.StatusUnauthorized, "sign_in_failed")
	}
	// Who is not a trusted proxy does not get another allowance by naming another address.
	c.post("/api/v1/sign-in", `{}`, "X-Forwarded-For", "192.0.2.77").refused(t, http.StatusTooManyRequests, "too_many_sign_ins")
}
