package access_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"casebook/access"
	"casebook/domain"

	"github.com/pquerna/otp/totp"
)

// TestR16_FailuresDelayTheirNetworkAndNobodyElse lets strangers guess as fast as they can.
func TestR16_FailuresDelayTheirNetworkAndNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := access.NewAttempts(time.Now)
		try := func(u domain.UserID, address string) (waited, refusedFor time.Duration) {
			began := time.Now()
			_, err := a.Begin(t.Context(), u, address)
			var delayed *access.DelayedError
			if err != nil && (!errors.As(err, &delayed) || !refusedAs(err, "sign_in_delayed")) {
				t.Fatal(err)
			}
			if delayed != nil {
				return time.Since(began), delayed.Wait
			}
			return time.Since(began), 0
		}
		const owner = "10.0.0.1"
		try("anna", owner)
		a.Succeeded("anna", owner)

		made := 0
		for began := time.Now(); time.Since(began) < time.Hour; {
			waited, refusedFor := try("anna", "192.0.2.1")
			if refusedFor == 0 {
				made++
			}
			time.Sleep(max(time.Millisecond, refusedFor))
			if waited > 2*time.Second || refusedFor > 5*time.Minute {
				t.Fatalf("held for %s, refused for %s", waited, refusedFor)
			}
		}
		if made < 15 || made > 30 { // 3 free ones, 9 that double the wait, and 12 an hour
			t.Errorf("a stranger made %d attempts in an hour", made)
		}
		// A thousand others, each from a network of its own.
		for i := range 1000 {
			try("anna", fmt.Sprintf("2001:db8:0:%x::1", i))
		}
		if waited, refusedFor := try("anna", owner); waited != 0 || refusedFor != 0 {
			t.Errorf("the owner waits %s and %s", waited, refusedFor)
		}
		if waited, refusedFor := try("anna", "10.0.0.2"); waited > 2*time.Second || refusedFor != 0 {
			t.Errorf("the owner at another place waits %s and %s", waited, refusedFor)
		}
		if waited, refusedFor := try("berta", "192.0.2.1"); waited != 0 || refusedFor != 0 {
			t.Errorf("another account waits %s and %s", waited, refusedFor)
		}
		// Colleagues who share the owner's address keep the owner waiting for seconds, not minutes.
		for range 100 {
			_, refusedFor := try("anna", owner)
			if refusedFor > 20*time.Second {
				t.Fatalf("the owner has to wait %s where the owner has signed in before", refusedFor)
			}
			time.Sleep(max(time.Millisecond, refusedFor))
		}
		// All addresses of one customer of a provider are one network.
		for i := range 4 {
			try("carla", fmt.Sprintf("2001:db8:1:1::%x", i))
		}
		if _, refusedFor := try("carla", "2001:db8:1:1:ffff::1"); refusedFor == 0 {
			t.Error("another address of the same network does not wait")
		}
	})
}

func TestAnAttemptThatNobodyWaitsForEnds(t *testing.T) {
	a := access.NewAttempts(time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var err error
	for i := range 30 {
		_, refused := a.Begin(ctx, "anna", fmt.Sprintf("192.0.2.%d", i))
		err = errors.Join(err, refused)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestPasswordsAreCheckedAFewAtATime: a flood is refused instead of queued without end.
func TestPasswordsAreCheckedAFewAtATime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := make(chan error)
	for range 60 {
		go func() {
			_, err := access.PasswordMatches(ctx, access.OfStrangers, "", "a password")
			answers <- err
		}()
	}
	for range 20 { // 32 wait or are being checked, and those that are refused answer at once
		if err := <-answers; err != nil && !refusedAs(err, "overloaded") {
			t.Error(err)
		}
	}
	cancel()
	refused := 0
	for range 40 {
		if err := <-answers; refusedAs(err, "overloaded") {
			refused++
		} else if err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if refused > 28 {
		t.Errorf("%d are refused", refused)
	}
}

// TestStrangersLeaveOwnersAShare: while strangers fill their queue, the password of an owner is checked.
func TestStrangersLeaveOwnersAShare(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := make(chan error)
	const strangers = 40 // more than may wait
	for range strangers {
		go func() {
			_, err := access.PasswordMatches(ctx, access.OfStrangers, "", "a password")
			answers <- err
		}()
	}
	left, full := strangers, false
	for ; left > 0 && !full; left-- {
		full = refusedAs(<-answers, "overloaded")
	}
	if !full {
		t.Error("the strangers' queue takes everybody")
	}
	if _, err := access.PasswordMatches(t.Context(), access.OfOwners, "", "a password"); err != nil {
		t.Errorf("an owner: %v", err)
	}
	cancel()
	for ; left > 0; left-- {
		if err := <-answers; err != nil && !errors.Is(err, context.Canceled) && !refusedAs(err, "overloaded") {
			t.Error(err)
		}
	}
}

// TestAWithdrawnAttemptIsNoFailure, neither in the count nor in the wait that it has caused.
func TestAWithdrawnAttemptIsNoFailure(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	a := access.NewAttempts(func() time.Time { return now })
	begin := func() access.Attempt {
		t.Helper()
		attempt, err := a.Begin(t.Context(), "anna", "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		return attempt
	}
	for range 10 {
		begin().Withdraw()
	}
	for range 3 {
		begin() // three failures cost nothing
	}
	for range 10 {
		begin().Withdraw()
	}
	begin()
	if _, err := a.Begin(t.Context(), "anna", "192.0.2.1"); !refusedAs(err, "sign_in_delayed") {
		t.Errorf("after four failures: %v", err)
	}
	now = now.Add(time.Second)
	slow := begin()
	now = now.Add(2 * time.Second)
	begin()
	slow.Withdraw() // the wait after the later failure stays
	if _, err := a.Begin(t.Context(), "anna", "192.0.2.1"); !refusedAs(err, "sign_in_delayed") {
		t.Errorf("beside a withdrawn attempt: %v", err)
	}
}

func TestPasswordRules(t *testing.T) {
	for password, good := range map[string]bool{
		"velvet anchor copper mist":                true,
		"correcthorsebatterystaple":                false, // known to everybody
		"Correct Horse Battery Staple!":            false,
		"c0rrect-h0rse-battery":                    false,
		"horse staple battery correct":             false,
		"to be or not to be, that is the question": false,
		"maytheforcebewithyou2026":                 false,
		"good pass\x1bword of mine now":            false,
		"gravel lantern oboe thicket":              true, // words alone are enough
		"casebook-demo-2026":                       true,
		"ÄÖÜ-ßéêèàñçøå":                            true,
		"x7#kQ9vBz2Lm":                             true,
		"":                                         false,
		"short":                                    false,
		"elevenchars":                              false,
		strings.Repeat("ab", 100) + "a":            false,
		strings.Repeat("ab", 100):                  false,
		"password1234":                             false,
		"Password123456!":                          false,
		"qwertyuiopasdf":                           false,
		"iloveyou12345":                            false,
		"administrator":                            false,
		"anna12345678":                             false, // the id and eight characters
		"12345ANNA678":                             false,
		"lindnerlindner":                           false, // the person's name
		"aaaaaaaaaaaaaaaa":                         false,
		"éééééééééééééééé":                         false,
		"中中中中中中中中中中中中":                             false,
		"            ":                             false,
	} {
		err := access.CheckPasswordOf("anna", "Dr. Anna Lindner", password)
		if good != (err == nil) || err != nil && !refusedAs(err, "weak_password") {
			t.Errorf("%q: %v", password, err)
		}
		if err != nil && strings.TrimSpace(password) != "" && strings.Contains(err.Error(), password) {
			t.Errorf("the refusal repeats the password: %v", err)
		}
	}
}

func TestR15_CodesAreThoseOfTheSecretAndItsTime(t *testing.T) {
	factors, err := access.NewFactors(key)
	if err != nil {
		t.Fatal(err)
	}
	url, sealed, err := factors.Offer("anna")
	if err != nil {
		t.Fatal(err)
	}
	secret, _, _ := strings.Cut(url[strings.Index(url, "secret=")+len("secret="):], "&")
	if strings.Contains(sealed, secret) {
		t.Error("the secret is kept in the open")
	}
	now := time.Date(2026, 3, 10, 12, 0, 10, 0, time.UTC)
	step := func(u domain.UserID, code string, now time.Time) int {
		n, err := factors.StepOf(u, sealed, code, now)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	code, err := totp.GenerateCode(secret, now)
	if err != nil {
		t.Fatal(err)
	}
	first := step("anna", code, now)
	if first == 0 || step("anna", code, now.Add(30*time.Second)) != first || step("anna", code, now.Add(-30*time.Second)) != first {
		t.Error("the code is not good in its step and beside it")
	}
	for _, at := range []time.Duration{-2 * time.Minute, 2 * time.Minute} {
		if step("anna", code, now.Add(at)) != 0 {
			t.Errorf("the code is good %s later", at)
		}
	}
	if step("anna", "", now) != 0 || step("anna", code+"0", now) != 0 {
		t.Error("another code is good")
	}
	if _, err := factors.StepOf("berta", sealed, code, now); !errors.Is(err, access.ErrFactorDoesNotOpen) {
		t.Errorf("the secret of one account opens for another: %v", err)
	}
	other, err := access.NewFactors([]byte(strings.Repeat("o", 32)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.StepOf("anna", sealed, code, now); !errors.Is(err, access.ErrFactorDoesNotOpen) {
		t.Errorf("the secret opens with another key: %v", err)
	}
	codes, digests := access.NewRecoveryCodes()
	if len(codes) != 8 || len(slices.Compact(slices.Sorted(slices.Values(codes)))) != 8 {
		t.Errorf("the recovery codes are %v", codes)
	}
	for i, code := range codes {
		if access.RecoveryDigest(" "+strings.ToUpper(code)) != digests[i] {
			t.Errorf("%s does not have its digest", code)
		}
	}
}
