package api

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"casebook/commands"
	usercommands "casebook/commands/user"
	"casebook/domain"
	"casebook/domain/refuse"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// SignIn asks for a token.
type SignIn struct {
	User     domain.UserID `json:"user" doc:"Id to sign in with" example:"nurse.weber"`
	Password string        `json:"password" maxLength:"200" doc:"The password" format:"password"`
}

// Session carries a bearer token.
type Session struct {
	Token     string        `json:"token" doc:"Send it in the header Authorization: Bearer ..."`
	ExpiresAt time.Time     `json:"expiresAt" doc:"Until when it is good"`
	User      domain.UserID `json:"user" doc:"Whom it proves"`
}

// signInBytes bounds the body of a sign-in.
const signInBytes = 4 << 10

// postSignIn answers with a token for the right password. Every attempt is recorded.
func (a *API) postSignIn(c *call) error {
	if wait, ok := a.signIns.allow(c.RealIP(), a.now()); !ok {
		c.Response().Header().Set("Retry-After", fmt.Sprint(int(math.Ceil(wait.Seconds()))))
		return refuse.Overload("too_many_sign_ins", "too many sign-ins come from this address").Do("wait a moment before the next")
	}
	body, err := c.body(signInBytes)
	if err != nil {
		return err
	}
	defer returnBuffer(body)
	defer clear(body.Bytes()) // the buffer is used again, and held a password
	var ask SignIn
	if err := commands.Decode(body.Bytes(), &ask); err != nil {
		return err
	}
	principal, err := usercommands.SignIn(c.ctx(), a.handler, ask.User, ask.Password, c.RealIP(), c.trace)
	if err != nil {
		return err
	}
	c.principal = principal
	now := a.now()
	token, err := a.tokens.SignFor(principal.User, now, a.lifetime)
	if err != nil {
		return fmt.Errorf("sign a token: %w", err)
	}
	return c.answer(http.StatusOK, Session{Token: token, ExpiresAt: now.Add(a.lifetime).UTC().Truncate(time.Second), User: principal.User})
}

// signInLimit bounds the sign-ins from each address, so that passwords cannot be tried in numbers across accounts; the
// tries on one account are bounded by its lock.
type signInLimit struct {
	mu       sync.Mutex
	limiters *lru.Cache[string, *rate.Limiter]
	every    rate.Limit
	burst    int
}

func newSignInLimit(l Limits) (*signInLimit, error) {
	limiters, err := lru.New[string, *rate.Limiter](l.SignInAddresses)
	if err != nil {
		return nil, fmt.Errorf("tell %d addresses apart: %w", l.SignInAddresses, err)
	}
	return &signInLimit{limiters: limiters, every: rate.Limit(float64(l.SignInsPerMinute) / time.Minute.Seconds()), burst: l.SignInBurst}, nil
}

// allow says whether the address may try now, and otherwise after which time.
func (s *signInLimit) allow(address string, now time.Time) (wait time.Duration, ok bool) {
	limiter := s.of(networkOf(address))
	reserved := limiter.ReserveN(now, 1)
	if wait = reserved.DelayFrom(now); wait > 0 {
		reserved.CancelAt(now)
		return wait, false
	}
	return 0, true
}

func (s *signInLimit) of(address string) *rate.Limiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	limiter, ok := s.limiters.Get(address)
	if !ok {
		limiter = rate.NewLimiter(s.every, s.burst)
		s.limiters.Add(address, limiter)
	}
	return limiter
}

// networkOf takes an IPv6 address for the /64 that it is in: that is what one customer of a provider has to choose from.
func networkOf(address string) string {
	if !strings.Contains(address, ":") {
		return address
	}
	prefix, err := prefixOf(address, 64)
	if err != nil {
		return address
	}
	return prefix
}
