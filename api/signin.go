package api

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"casebook/access"
	"casebook/admission"
	"casebook/commands"
	usercommands "casebook/commands/user"
	"casebook/domain"
	"casebook/domain/refuse"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// SignIn asks for a session.
type SignIn struct {
	User     domain.UserID `json:"user" doc:"Id to sign in with" example:"nurse.weber"`
	Password string        `json:"password" maxLength:"200" doc:"The password" format:"password"`
	Code     string        `json:"code,omitempty" maxLength:"40" doc:"For accounts with a second factor: a code of the app, or a recovery code" example:"123456"`
	// Device is enrolled at the sign-in of a patient.
	Device usercommands.Device `json:"device,omitzero" doc:"For patients: the device to enrol, whose session lasts until it is revoked; without one the session ends after twelve hours. Counts for no other account"`
}

// Refresh asks for a new access token.
type Refresh struct {
	RefreshToken string `json:"refreshToken" maxLength:"4000" doc:"The refresh token of the sign-in"`
}

// Session carries the tokens of a sign-in.
type Session struct {
	Token     string        `json:"token" doc:"The access token; send it in the header Authorization: Bearer ..."`
	ExpiresAt time.Time     `json:"expiresAt" doc:"Until when it is good"`
	User      domain.UserID `json:"user" doc:"Whom it proves"`
	// RefreshToken is in the answer to a sign-in alone: a refresh does not make a session longer.
	RefreshToken string `json:"refreshToken,omitempty" doc:"Gets a new access token at /api/v1/sign-in/refresh, until the session ends; it proves nothing else"`
	// MustChangePassword tells people what to do first.
	MustChangePassword bool `json:"mustChangePassword,omitempty" doc:"Whether ChangePassword has to be sent before anything else, because somebody else chose the password"`
}

// signInBytes bounds the body of a sign-in.
const signInBytes = 4 << 10

const (
	refreshRoute  = "/api/v1/sign-in/refresh"
	activateRoute = "/api/v1/activate"
)

// Activation takes a patient's account with the code that the site has handed out.
type Activation struct {
	User     domain.UserID `json:"user" doc:"Id of the account" example:"patient.0001"`
	Code     string        `json:"code" maxLength:"40" doc:"The activation code" example:"k3f7-qa2m-xz4d-9tbe"`
	Password string        `json:"password" minLength:"12" maxLength:"200" doc:"The password that the patient chooses; nobody else knows it" format:"password"`
	// Device is enrolled.
	Device usercommands.Device `json:"device" doc:"The device to enrol, whose session lasts until it is revoked"`
}

// postSignIn answers with the tokens of a session for the right password, and the right code if the account has a second
// factor. The session of a patient's enrolled device lasts until the device is revoked. Every attempt is recorded.
func (a *API) postSignIn(c *call) error {
	var ask SignIn
	if err := c.secretBody(&ask); err != nil {
		return err
	}
	if err := mustEnter("user", string(ask.User), "password", ask.Password); err != nil {
		return err
	}
	return a.beginSession(c, usercommands.Entered{User: ask.User, Password: ask.Password, Code: ask.Code, Device: ask.Device},
		"sign_in_failed", usercommands.SignIn)
}

// postActivation answers with the tokens of a session for the right activation code.
func (a *API) postActivation(c *call) error {
	var ask Activation
	if err := c.secretBody(&ask); err != nil {
		return err
	}
	err := mustEnter("user", string(ask.User), "code", ask.Code, "password", ask.Password, "device.id", string(ask.Device.ID))
	if err != nil {
		return err
	}
	return a.beginSession(c, usercommands.Entered{User: ask.User, Password: ask.Password, Code: ask.Code, Device: ask.Device},
		"activation_failed", usercommands.Activate)
}

// mustEnter refuses value_missing for the first of the fields, each followed by its value, that is empty: nobody has tried anything yet.
func mustEnter(fields ...string) error {
	for pair := range slices.Chunk(fields, 2) {
		if pair[1] == "" {
			return refuse.Malformed("value_missing", "the field %q is missing", pair[0]).At(pair[0]).Do("send it")
		}
	}
	return nil
}

// beginSession answers with the tokens of a session, if what was entered proves somebody. Addresses from which attempts have failed, with
// the code, are slowed down.
func (a *API) beginSession(c *call, entered usercommands.Entered, code string,
	prove func(context.Context, *commands.Handler, usercommands.Entered) (access.Principal, error)) error {
	if wait, ok := a.signIns.allow(entered.User, c.RealIP(), a.now()); !ok {
		c.Response().Header().Set("Retry-After", fmt.Sprint(int(math.Ceil(wait.Seconds()))))
		return refuse.Overload("too_many_sign_ins", "sign-ins to many accounts have failed from this address").
			Do("wait a moment before the next")
	}
	c.startTimeout()
	var leave func()
	err := c.inPause(func() (err error) {
		leave, err = a.signing.enter(c.network(), a.handler.Attempts().Trusts(entered.User, c.RealIP()))
		return err
	})
	if err != nil {
		return err
	}
	defer leave()
	entered.Address, entered.TraceID = c.RealIP(), c.trace
	principal, err := prove(c.ctx(), a.handler, entered)
	if err != nil {
		if r, is := refuse.As(err); is && r.Code == code {
			a.signIns.failed(entered.User, c.RealIP(), a.now())
		}
		return err
	}
	a.signIns.succeeded(entered.User, c.RealIP())
	c.principal = principal
	now := a.now()
	proof := access.Proof{User: principal.User, AuthenticatedAt: now, InSession: true, Version: principal.Sessions,
		Device: principal.Device.ID, Enrolment: principal.Device.Enrolment, SecondFactor: principal.SecondFactor}
	lifetime := a.session
	if proof.Device != "" {
		lifetime = 0 // a diary must not wait for a password; the session ends with RevokeDevice, SignOut, a lock or a new password
	}
	refresh, err := a.tokens.SignRefresh(proof, now, lifetime)
	if err != nil {
		return fmt.Errorf("sign a refresh token: %w", err)
	}
	return c.answerSession(proof, now, refresh)
}

// postRefresh answers with a new access token of a session that has not ended. The time of the sign-in stays.
func (a *API) postRefresh(c *call) error {
	var ask Refresh
	if err := c.secretBody(&ask); err != nil {
		return err
	}
	proof, err := a.tokens.VerifyRefresh(ask.RefreshToken)
	if err == nil {
		c.proof.User = proof.User
		err = c.enter(admission.Diaries) // a phone needs it before it can hand in a diary
	}
	if err == nil {
		c.principal, err = a.handler.Authenticated(c.ctx(), proof)
	}
	now := a.now()
	onDevice := proof.Device != "" && c.principal.IsPatient() // not of a patient who has become staff
	if err == nil && !onDevice && now.Sub(proof.AuthenticatedAt) > a.session {
		err = refuse.Unauthenticated("token_expired", "the session has expired").Do("sign in again")
	}
	if err == nil {
		err = c.principal.Damaged // such an account cannot be locked, so its sessions end by themselves
	}
	if err != nil {
		if isAccess(err) {
			c.recordRefusal(proof.User, noScope, err)
		}
		return err
	}
	return c.answerSession(proof, now, "")
}

// secretBody reads a body that holds a secret.
func (c *call) secretBody(into any) error {
	body, err := c.body(signInBytes)
	if err != nil {
		return err
	}
	defer returnBuffer(body)
	defer clear(body.Bytes()) // the buffer is used again
	return commands.Decode(body.Bytes(), into)
}

// answerSession answers with a new access token.
func (c *call) answerSession(proof access.Proof, now time.Time, refresh string) error {
	token, err := c.api.tokens.SignFor(proof, now, c.api.lifetime)
	if err != nil {
		return fmt.Errorf("sign a token: %w", err)
	}
	return c.answer(http.StatusOK, Session{Token: token, ExpiresAt: now.Add(c.api.lifetime).UTC().Truncate(time.Second), User: proof.User,
		RefreshToken: refresh, MustChangePassword: c.principal.MustChangePassword})
}

// signInLimit bounds to how many accounts sign-ins from one network may fail, so that passwords cannot be tried in numbers
// across accounts; those on one account are delayed by access.Attempts. Accounts that have been signed in to from the
// network are not bound: a colleague behind the same address keeps nobody out.
type signInLimit struct {
	mu       sync.Mutex
	networks *lru.Cache[string, *rate.Limiter]
	// known are the pairs of account and network that have succeeded, or whose failure has been counted.
	known *lru.Cache[signInPair, signInOutcome]
	every rate.Limit
	burst int
}

type signInPair struct {
	user    domain.UserID
	network string
}

type signInOutcome struct {
	succeeded bool
	// counted is when a failure was counted last. Further ones are not counted for countedFor.
	counted time.Time
}

const countedFor = 10 * time.Minute

func newSignInLimit(l Limits) (*signInLimit, error) {
	networks, err := lru.New[string, *rate.Limiter](l.SignInAddresses)
	if err != nil {
		return nil, fmt.Errorf("tell %d addresses apart: %w", l.SignInAddresses, err)
	}
	known, err := lru.New[signInPair, signInOutcome](l.SignInAddresses)
	if err != nil {
		return nil, fmt.Errorf("tell %d accounts and addresses apart: %w", l.SignInAddresses, err)
	}
	return &signInLimit{networks: networks, known: known, every: rate.Limit(float64(l.SignInsPerMinute) / time.Minute.Seconds()),
		burst: l.SignInBurst}, nil
}

// allow says whether an account may be tried from the address now, and otherwise after which time.
func (s *signInLimit) allow(u domain.UserID, address string, now time.Time) (wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pair := pairOf(u, address)
	if outcome, found := s.known.Get(pair); found && outcome.succeeded {
		return 0, true
	}
	missing := 1 - s.of(pair.network).TokensAt(now)
	if missing <= 0 {
		return 0, true
	}
	return time.Duration(missing / float64(s.every) * float64(time.Second)), false
}

// failed counts a failure, unless one of this account from this network was counted just now.
func (s *signInLimit) failed(u domain.UserID, address string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pair := pairOf(u, address)
	outcome, _ := s.known.Get(pair)
	if outcome.succeeded || now.Sub(outcome.counted) < countedFor {
		return
	}
	s.of(pair.network).AllowN(now, 1)
	s.known.Add(pair, signInOutcome{counted: now})
}

// succeeded remembers that the account is signed in to from this network.
func (s *signInLimit) succeeded(u domain.UserID, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known.Add(pairOf(u, address), signInOutcome{succeeded: true})
}

// signInPlaces are the places of the sign-ins that are under way. Accounts that have been signed in to from their network
// have places of their own, so that strangers keep nobody out.
type signInPlaces struct {
	known, strange gate
	networks       *admission.Tally
}

func newSignInPlaces(l Limits) signInPlaces {
	return signInPlaces{known: newGate(l.SignInsInFlight), strange: newGate(l.SignInsInFlight),
		networks: admission.NewTally(l.SignInsOfNetwork, l.SignInsInFlight)}
}

// enter refuses with the code overloaded, or returns what gives the place back.
func (p signInPlaces) enter(network string, known bool) (leave func(), err error) {
	if known && p.known.enter() == nil {
		return p.known.leave, nil
	}
	if !p.networks.Take(network) {
		return nil, overloaded()
	}
	if err := p.strange.enter(); err != nil {
		p.networks.Give(network)
		return nil, err
	}
	return func() {
		p.strange.leave()
		p.networks.Give(network)
	}, nil
}

func (p signInPlaces) taken() int { return len(p.known) + len(p.strange) }

// pairOf returns the key of an attempt. What is no id stands for one account, and takes no room.
func pairOf(u domain.UserID, address string) signInPair {
	if u.Validate() != nil {
		u = ""
	}
	return signInPair{user: u, network: access.NetworkOf(address)}
}

func (s *signInLimit) of(network string) *rate.Limiter {
	limiter, ok := s.networks.Get(network)
	if !ok {
		limiter = rate.NewLimiter(s.every, s.burst)
		s.networks.Add(network, limiter)
	}
	return limiter
}
