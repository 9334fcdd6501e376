package access

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

const (
	// freeFailures is how many wrong passwords from one network to one account cost nothing. Each further one doubles the
	// wait, from firstWait up to longestWait, or longestWaitAtHome.
	freeFailures = 3
	firstWait    = time.Second
	longestWait  = 5 * time.Minute
	// longestWaitAtHome is the longest wait where the owner has signed in before: a whole hospital may share an address, and
	// a colleague's failures must not keep the owner out for minutes.
	longestWaitAtHome = 20 * time.Second
	// An account takes accountBurst attempts at once from networks that its owner has never signed in from, and one more
	// each accountInterval. Further ones are held, each for no longer than longestHold, so that the owner is not locked out.
	accountBurst    = 20
	accountInterval = time.Second
	longestHold     = 2 * time.Second
	// rememberedAttempts bounds how many pairs of account and network, and how many accounts, are told apart.
	rememberedAttempts = 20_000
)

// Attempts delays attempts to guess passwords and codes, per account and network. It locks nobody out: a stranger's
// failures make only the stranger's network wait, and hold everybody else for two seconds at most. It is safe for
// concurrent use.
type Attempts struct {
	now func() time.Time

	mu       sync.Mutex
	pairs    *lru.Cache[attemptKey, *failures]
	accounts *lru.Cache[domain.UserID, *rate.Limiter]
	// trusted are the pairs of account and network from which the owner has signed in.
	trusted *lru.Cache[attemptKey, struct{}]
}

type attemptKey struct {
	user    domain.UserID
	network string
}

type failures struct {
	count int
	until time.Time
}

// NewAttempts returns Attempts by this clock.
func NewAttempts(now func() time.Time) *Attempts {
	a := &Attempts{now: now}
	var err1, err2, err3 error
	a.pairs, err1 = lru.New[attemptKey, *failures](rememberedAttempts)
	a.accounts, err2 = lru.New[domain.UserID, *rate.Limiter](rememberedAttempts)
	a.trusted, err3 = lru.New[attemptKey, struct{}](rememberedAttempts)
	if err1 != nil || err2 != nil || err3 != nil {
		panic("a cache has no room") // only for a size below 1
	}
	return a
}

// DelayedError says that an attempt comes too early, and how long to wait. It unwraps to the refusal sign_in_delayed.
type DelayedError struct {
	Wait    time.Duration
	refusal *refuse.Refusal
}

// Error implements error.
func (d *DelayedError) Error() string { return d.refusal.Error() }

// Unwrap returns the refusal.
func (d *DelayedError) Unwrap() error { return d.refusal }

// Attempt is one attempt that has begun.
type Attempt struct {
	attempts *Attempts
	failures *failures
	// until is the end of the wait that the attempt has caused.
	until time.Time
	share Share
}

// Share is the share of the pool of digests that the attempt uses.
func (t Attempt) Share() Share { return t.share }

// Withdraw takes back that the attempt counts as a failure. It is called for attempts whose password was not compared.
func (t Attempt) Withdraw() {
	t.attempts.mu.Lock()
	defer t.attempts.mu.Unlock()
	t.failures.count--
	if t.failures.until.Equal(t.until) {
		t.failures.until = time.Time{} // the wait before it was over when the attempt began
	}
}

// Begin waits until the attempt may be made, or refuses it with a DelayedError. Of attempts that run at the same time,
// each counts as a failure until it succeeds or is withdrawn, so that many at once gain nothing.
func (a *Attempts) Begin(ctx context.Context, u domain.UserID, address string) (Attempt, error) {
	attempt, hold, err := a.reserve(attemptKey{u, NetworkOf(address)})
	if err != nil || hold <= 0 {
		return attempt, err
	}
	timer := time.NewTimer(hold)
	defer timer.Stop()
	select {
	case <-timer.C:
		return attempt, nil
	case <-ctx.Done():
		attempt.Withdraw()
		return Attempt{}, ctx.Err()
	}
}

func (a *Attempts) reserve(key attemptKey) (attempt Attempt, hold time.Duration, err error) {
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	f, found := a.pairs.Get(key)
	if !found {
		f = &failures{}
		a.pairs.Add(key, f)
	}
	if wait := f.until.Sub(now); wait > 0 {
		return Attempt{}, 0, &DelayedError{Wait: wait, refusal: refuse.Overload("sign_in_delayed",
			"after repeated failures, the next attempt is possible in %s", wait.Round(time.Second)).Do("wait, and then try again")}
	}
	if a.trusted.Contains(key) {
		f.fail(now, longestWaitAtHome)
		return Attempt{attempts: a, failures: f, until: f.until, share: OfOwners}, 0, nil
	}
	f.fail(now, longestWait)
	attempt = Attempt{attempts: a, failures: f, until: f.until, share: OfStrangers}
	limiter, found := a.accounts.Get(key.user)
	if !found {
		limiter = rate.NewLimiter(rate.Every(accountInterval), accountBurst)
		a.accounts.Add(key.user, limiter)
	}
	reserved := limiter.ReserveN(now, 1)
	if hold = reserved.DelayFrom(now); hold > longestHold {
		reserved.CancelAt(now) // otherwise a flood would fill the limiter for hours
		hold = longestHold
	}
	return attempt, hold, nil
}

// Trusts says whether the owner of an account has signed in from the network of an address.
func (a *Attempts) Trusts(u domain.UserID, address string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.trusted.Contains(attemptKey{u, NetworkOf(address)})
}

func (f *failures) fail(now time.Time, longest time.Duration) {
	f.count++
	if f.count > freeFailures {
		f.until = now.Add(min(longest, firstWait<<min(f.count-freeFailures-1, 16)))
	}
}

// Succeeded forgets the failures of this network, and remembers that the owner signs in from there.
func (a *Attempts) Succeeded(u domain.UserID, address string) {
	key := attemptKey{u, NetworkOf(address)}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pairs.Remove(key)
	a.trusted.Add(key, struct{}{})
}

// NetworkOf returns the network that one attacker has to choose addresses from: an IPv4 address itself, and the /64 of an
// IPv6 address.
func NetworkOf(address string) string {
	parsed, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	parsed = parsed.Unmap().WithZone("")
	if parsed.Is4() {
		return parsed.String()
	}
	network, err := parsed.Prefix(64)
	if err != nil {
		return address
	}
	return network.String()
}

// wordsOf splits a name or an id into its words.
func wordsOf(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(" ._@-,", r) })
}
