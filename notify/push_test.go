package notify

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"casebook/notify/pushtest"
)

const aMessageID = "5d2c8a1e-3c55-4c1f-9e0b-8c1f6b6f2a77"

func openPush(t *testing.T, s *pushtest.Service, change func(*PushConfig)) *Push {
	t.Helper()
	c := PushConfig{Secret: []byte(strings.Repeat("k", 32)), Contact: "trial@example.org", Services: []string{s.URL}, RootCAs: s.Roots}
	if change != nil {
		change(&c)
	}
	p, err := OpenPush(c)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

func subscribe(s *pushtest.Service, p *Push, answers ...int) (to PushSubscription) {
	to.Endpoint, to.P256DH, to.Auth = s.Subscribe(p.PublicKey(), answers...)
	return to
}

func aPush(until time.Duration) PushMessage {
	return PushMessage{ID: aMessageID, Payload: json.RawMessage(`{"title":"Ihr Tagebuch ist offen"}`), Until: time.Now().Add(until)}
}

// TestADeviceReadsWhatIsPushed: the service of the test checks the proof of the sender, and decrypts.
func TestADeviceReadsWhatIsPushed(t *testing.T) {
	s := pushtest.Start(t)
	p := openPush(t, s, nil)
	to := subscribe(s, p)
	for range 2 { // the second time as after a lost answer
		must(t, p.Send(t.Context(), to, aPush(time.Hour)))
	}
	got := s.Got(to.Endpoint)
	if len(got) != 1 || got[0].Text != `{"title":"Ihr Tagebuch ist offen"}` || got[0].Contact != "mailto:trial@example.org" ||
		got[0].Topic != strings.ReplaceAll(aMessageID, "-", "") {
		t.Errorf("it got %+v", got)
	}
	if ttl, err := strconv.Atoi(got[0].TTL); err != nil || ttl < 3500 || ttl > 3600 {
		t.Errorf("it is kept for %s seconds", got[0].TTL)
	}
	late := subscribe(s, p)
	must(t, p.Send(t.Context(), late, aPush(-time.Second)))
	if len(s.Got(late.Endpoint)) != 0 {
		t.Error("what is out of date was sent")
	}
	// The key is the same after a restart, and another one with another secret.
	if again := openPush(t, s, nil); again.PublicKey() != p.PublicKey() {
		t.Error("a restart has another key")
	}
	if other := openPush(t, s, func(c *PushConfig) { c.Secret = []byte(strings.Repeat("l", 32)) }); other.PublicKey() == p.PublicKey() {
		t.Error("another secret has the same key")
	}
}

func TestWhatBecomesOfAPushThatIsNotTaken(t *testing.T) {
	s := pushtest.Start(t)
	p := openPush(t, s, nil)
	for answer, code := range map[int]string{404: "push_gone", 410: "push_gone", 400: "push_rejected", 403: "push_rejected",
		413: "push_rejected", 302: "push_rejected", 429: "push_failed", 500: "push_failed", 503: "push_failed"} {
		to := subscribe(s, p, answer)
		err := p.Send(t.Context(), to, aPush(time.Hour))
		var problem *Problem
		if !errors.As(err, &problem) || problem.Code != code || errors.Is(err, ErrGone) != (code == "push_gone") ||
			errors.Is(err, ErrRejected) != (code == "push_rejected") {
			t.Errorf("%d is %v, want %s", answer, err, code)
		}
		if path := strings.TrimPrefix(to.Endpoint, s.URL); strings.Contains(err.Error(), path) {
			t.Errorf("the problem says where the device is: %v", err)
		}
		must(t, p.Send(t.Context(), to, aPush(time.Hour))) // the next attempt goes out
		if len(s.Got(to.Endpoint)) != 1 {
			t.Errorf("after %d it got %v", answer, s.Got(to.Endpoint))
		}
	}
}

// TestAPushReachesNoPrivateAddress: who subscribes names the address, and could name one behind the firewall.
func TestAPushReachesNoPrivateAddress(t *testing.T) {
	s := pushtest.Start(t)
	p := openPush(t, s, func(c *PushConfig) { c.Services = nil })
	to := subscribe(s, p)
	if err := p.Send(t.Context(), to, aPush(time.Hour)); !errors.Is(err, ErrRejected) || len(s.Got(to.Endpoint)) != 0 {
		t.Errorf("it was sent: %v", err)
	}
	for address, public := range map[string]bool{"93.184.215.14": true, "2606:2800:21f::1": true, "127.0.0.1": false, "10.1.2.3": false,
		"172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "0.0.0.0": false, "::1": false,
		"fe80::1": false, "fd00::1": false, "224.0.0.1": false, "255.255.255.255": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false,
		"fec0::1": false, "2001:0:7f00:1::1": false, "::ffff:10.1.2.3": false, "2001:4860:4860::8888": true} {
		if isPublic(netip.MustParseAddr(address)) != public {
			t.Errorf("%s is public: %v", address, !public)
		}
	}
}

func TestPushSettingsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*PushConfig){
		"no contact":       func(c *PushConfig) { c.Contact = "" },
		"a short secret":   func(c *PushConfig) { c.Secret = c.Secret[:31] },
		"no origin":        func(c *PushConfig) { c.Services = []string{"push.example.org"} },
		"in the clear":     func(c *PushConfig) { c.Services = []string{"http://push.example.org"} },
		"with a path":      func(c *PushConfig) { c.Services = []string{"https://push.example.org/send"} },
		"a contact by ftp": func(c *PushConfig) { c.Contact = "ftp://example.org" },
	} {
		c := PushConfig{Secret: []byte(strings.Repeat("k", 32)), Contact: "https://example.org/contact"}
		if _, err := OpenPush(c); err != nil {
			t.Fatal(err)
		}
		change(&c)
		var problem *Problem
		if _, err := OpenPush(c); !errors.As(err, &problem) || problem.Code != "push_settings_invalid" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
