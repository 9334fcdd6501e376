package api

import (
	"fmt"
	"testing"
	"time"

	"casebook/admission"
	"casebook/domain"
	"casebook/domain/refuse"

	"github.com/prometheus/client_golang/prometheus"
)

func TestAGateLetsSoManyIn(t *testing.T) {
	g := newGate(2)
	for range 2 {
		if err := g.enter(); err != nil {
			t.Fatal(err)
		}
	}
	r, ok := refuse.As(g.enter())
	if !ok || r.Code != "overloaded" || r.Kind != refuse.KindOverload {
		t.Errorf("a full gate says %v", r)
	}
	g.leave()
	if err := g.enter(); err != nil {
		t.Errorf("a place was free: %v", err)
	}
	var open gate
	if err := open.enter(); err != nil {
		t.Errorf("no gate refuses: %v", err)
	}
	open.leave()
}

func TestSignInsAreLimitedByAddress(t *testing.T) {
	limit, err := newSignInLimit(Limits{SignInsPerMinute: 6, SignInBurst: 2, SignInAddresses: 3})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const hospital = "192.0.2.1"
	allowed := func(u domain.UserID, address string, at time.Time) bool {
		_, ok := limit.allow(u, address, at)
		return ok
	}
	limit.succeeded("dr.lindner", hospital)
	for range 100 { // one account that fails again and again, and what is no id, count once each
		limit.failed("nurse.weber", hospital, now)
		if !allowed("nurse.beck", hospital, now) {
			t.Fatal("the failures of one account keep another one out")
		}
	}
	limit.failed("no id", hospital, now)
	wait, ok := limit.allow("nurse.beck", hospital, now)
	if ok || wait <= 0 || wait > 10*time.Second {
		t.Errorf("after failures of several accounts another one is allowed, or is to wait %s", wait)
	}
	if !allowed("dr.lindner", hospital, now) {
		t.Error("failures of others keep out an account that has been signed in to from there")
	}
	if !allowed("nurse.beck", "192.0.2.2", now) {
		t.Error("another address is refused too")
	}
	if !allowed("nurse.beck", hospital, now.Add(wait)) {
		t.Error("after the time named it is still refused")
	}
	limit.failed("a", "2001:db8:1:2::1", now)
	limit.failed("b", "2001:db8:1:2::ffff", now)
	if allowed("c", "2001:db8:1:2:3::7", now) {
		t.Error("the addresses of one IPv6 network are not taken as one")
	}
	if limit.networks.Len() > 3 || limit.known.Len() > 3 {
		t.Errorf("%d addresses and %d accounts are remembered", limit.networks.Len(), limit.known.Len())
	}
}

func TestLabelsStayBounded(t *testing.T) {
	a := &API{bodies: newTransfers(bodyBounds), answers: newTransfers(answerBounds), batches: admission.NewTally(1, 1)}
	m, err := newMetrics(prometheus.NewRegistry(), a)
	if err != nil {
		t.Fatal(err)
	}
	m.codes.max = 3
	for i := range 10 {
		m.refused(fmt.Sprint("code_", i))
		m.refused(fmt.Sprint("code_", i))
	}
	if n := len(m.codes.known); n != 3 {
		t.Errorf("%d codes are known", n)
	}
	if got := m.codes.bounded("code_0"); got != "code_0" {
		t.Errorf("a known code became %s", got)
	}
	if got := m.codes.bounded("code_9"); got != "other" {
		t.Errorf("a code beyond the bound became %s", got)
	}
}
