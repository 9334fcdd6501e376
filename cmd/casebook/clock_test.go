package main

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/security"
	"casebook/domain/user"
)

// TestAStepOfTheServersClockIsRecordedAndMeasured sets the clock of a running server an hour forward and back.
func TestAStepOfTheServersClockIsRecordedAndMeasured(t *testing.T) {
	var ahead atomic.Int64
	begun := time.Now()
	in := startBy(t, t.TempDir(), clock{
		now:    func() time.Time { return time.Now().Round(0).Add(time.Duration(ahead.Load())) },
		passed: func() time.Duration { return time.Since(begun) },
	})
	admin := in.account("admin", user.Grant{Role: user.Admin})
	metrics := func(want string) {
		t.Helper()
		request, err := http.NewRequest(http.MethodGet, "http://"+in.adminAddress+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		var text string
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if _, text = in.do(request, ""); strings.Contains(text, "\n"+want+"\n") {
				return
			}
		}
		t.Errorf("no metric says %q", want)
	}
	metrics("casebook_clock_steps_total 0")
	ahead.Store(int64(time.Hour))
	metrics("casebook_clock_steps_total 1")
	in.must(admin, user.RegisterUser{OfUser: domain.ForUser("other"), Name: "Other"})
	ahead.Store(0)
	metrics("casebook_clock_steps_total 2")
	metrics("casebook_log_clock_steps 1")

	var by []time.Duration
	days := map[domain.Date]bool{domain.DateOf(begun.UTC()): true, domain.DateOf(time.Now().Add(time.Hour).UTC()): true}
	for day := range days {
		for r, err := range in.log.ReadStream(t.Context(), security.Decider.Stream(string(day)), 0) {
			if err != nil {
				t.Fatal(err)
			}
			if s, is := r.Event.(security.ClockStepped); is {
				by = append(by, s.To.Sub(s.From).Round(time.Minute))
			}
		}
	}
	if len(by) != 2 || by[0]+by[1] != 0 || by[0].Abs() != time.Hour {
		t.Errorf("steps by %v are recorded", by)
	}
}
