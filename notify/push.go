package notify

import (
	"context"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	webpush "github.com/SherClockHolmes/webpush-go"
	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// pushTimeout is how long a push service may take to accept a notification.
	pushTimeout = 10 * time.Second
	// maxPushTTL is how long a push service may keep a notification at most; some keep nothing for longer.
	maxPushTTL = 28 * 24 * time.Hour
	// rememberedPushes is how many accepted notifications are remembered, so that they are not repeated.
	rememberedPushes = 1 << 16
	// minPushSecretBytes is the smallest secret that the key pair is made from.
	minPushSecretBytes = 32
)

// ErrGone marks a subscription that the push service does not know, or not any more: nothing will ever arrive by it.
var ErrGone = errors.New("the subscription has ended")

// PushConfig configures notifications to devices by their push services.
type PushConfig struct {
	// Secret is what the key pair is made from that tells push services who sends (VAPID, RFC 8292): at least 32 random bytes. Devices
	// subscribe for the public key, so another secret ends all subscriptions.
	Secret []byte
	// Contact is whom a push service can ask about the sender: an e-mail address, or an https URL.
	Contact string
	// Services are the origins, such as https://push.example.org:8443, of push services in private networks. All others have to have
	// public addresses: who subscribes names the address, and must not reach what only this machine can reach.
	Services []string
	// RootCAs verify the services' certificates; nil for the roots of the system.
	RootCAs *x509.CertPool
}

// Push sends notifications to devices. It is safe for concurrent use.
type Push struct {
	public, private string
	contact         string
	client          *http.Client
	// accepted holds what push services have accepted, so that a repeat goes only where it failed.
	accepted *lru.Cache[acceptedPush, struct{}]
}

type acceptedPush struct{ message, endpoint string }

// PushSubscription is where a push service takes notifications for one device, and what they are encrypted with (RFC 8291).
type PushSubscription struct{ Endpoint, P256DH, Auth string }

// PushMessage is one notification. The push service does not see what it says.
type PushMessage struct {
	// ID is a UUID. A device shows notifications with the same one once.
	ID string
	// Payload is what the app's service worker gets: JSON of at most two KiB.
	Payload json.RawMessage
	// Until is when the notification is out of date; the push service drops it then.
	Until time.Time
}

// maxPushBytes is what fits into a notification; push services accept 4096 bytes with the encryption.
const maxPushBytes = 2048

// OpenPush makes what sends notifications. It returns a Problem with the code push_settings_invalid for a configuration that is invalid.
func OpenPush(c PushConfig) (*Push, error) {
	invalid := func(what, remedy string) (*Push, error) {
		return nil, refused("push_settings_invalid", "%s", what).do(remedy)
	}
	if contact, err := url.Parse(c.Contact); err != nil || contact.Scheme != "https" || contact.Host == "" {
		address, err := mail.ParseAddress(strings.TrimPrefix(c.Contact, "mailto:"))
		if err != nil {
			return invalid("the contact for push services is no e-mail address and no https URL", "write trial@example.org")
		}
		c.Contact = address.Address
	}
	if len(c.Secret) < minPushSecretBytes {
		return invalid("the key for push services is too short", fmt.Sprintf("give it at least %d random bytes", minPushSecretBytes))
	}
	key, err := pushKey(c.Secret)
	if err != nil {
		return invalid("no key pair for push services can be made", "use another secret")
	}
	allowed := map[string]bool{}
	for _, origin := range c.Services {
		address, err := url.Parse(origin)
		if err != nil || address.Scheme != "https" || address.Host == "" || address.Path != "" {
			return invalid("the origin of a push service is no https URL without a path", "write https://push.example.org:8443")
		}
		port := address.Port()
		if port == "" {
			port = "443"
		}
		allowed[net.JoinHostPort(address.Hostname(), port)] = true
	}
	accepted, err := lru.New[acceptedPush, struct{}](rememberedPushes)
	if err != nil {
		return invalid("sent notifications cannot be remembered", "")
	}
	encode := base64.RawURLEncoding.EncodeToString
	return &Push{public: encode(key.PublicKey().Bytes()), private: encode(key.Bytes()), contact: c.Contact, accepted: accepted,
		client: &http.Client{
			Timeout: pushTimeout,
			// A redirect would lead around the check of the address.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				DialContext:         pushDialer(allowed),
				TLSClientConfig:     &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
				TLSHandshakeTimeout: pushTimeout,
				ForceAttemptHTTP2:   true,
				MaxConnsPerHost:     inFlight, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
				MaxResponseHeaderBytes: maxAnswerBytes,
			},
		}}, nil
}

// pushKey makes the key pair from a secret. One in 2^32 secrets gives no key at the first attempt.
func pushKey(secret []byte) (*ecdh.PrivateKey, error) {
	for attempt := range 8 {
		scalar, err := hkdf.Key(sha256.New, secret, nil, fmt.Sprintf("casebook web push %d", attempt), sha256.Size)
		if err != nil {
			return nil, err
		}
		if key, err := ecdh.P256().NewPrivateKey(scalar); err == nil {
			return key, nil
		}
	}
	return nil, errors.New("no attempt gave a key")
}

// errNotPublic means that an endpoint leads to where only this machine, or its network, can reach.
var errNotPublic = errors.New("the address is not public")

// pushDialer dials public addresses, and those of the allowed hosts. It looks at the address that the name has at that moment.
func pushDialer(allowed map[string]bool) func(context.Context, string, string) (net.Conn, error) {
	anywhere := &net.Dialer{Timeout: pushTimeout}
	public := &net.Dialer{Timeout: pushTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !isPublic(to.Addr().Unmap()) {
			return errNotPublic
		}
		return nil
	}}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if allowed[address] {
			return anywhere.DialContext(ctx, network, address)
		}
		return public.DialContext(ctx, network, address)
	}
}

// sharedSpaces are address spaces that netip counts as global and that are not public: of carriers (RFC 6598), for tests (RFC 2544), for
// protocols (RFC 6890), reserved ones, and those behind translators (RFC 6052, RFC 8215) and tunnels (RFC 3056), which lead to any IPv4
// address.
var sharedSpaces = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("fec0::/10")}

func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(sharedSpaces, func(p netip.Prefix) bool { return p.Contains(a) })
}

// PublicKey is the key that browsers subscribe for, as applicationServerKey: an uncompressed point on P-256 in base64url.
func (p *Push) PublicKey() string { return p.public }

// Send returns when the push service has accepted the notification. It fails with push_gone, which wraps ErrGone, for a subscription that
// has ended, with push_rejected, which wraps ErrRejected, where sending it again fails again, and otherwise with push_failed.
func (p *Push) Send(ctx context.Context, to PushSubscription, m PushMessage) error {
	if len(m.Payload) > maxPushBytes || !json.Valid(m.Payload) {
		return refused("push_rejected", "notification %s is no JSON of at most %d bytes", m.ID, maxPushBytes).permanent()
	}
	sent := acceptedPush{m.ID, to.Endpoint}
	left := min(time.Until(m.Until), maxPushTTL)
	if left <= 0 || p.accepted.Contains(sent) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	answer, err := webpush.SendNotificationWithContext(ctx, m.Payload,
		&webpush.Subscription{Endpoint: to.Endpoint, Keys: webpush.Keys{P256dh: to.P256DH, Auth: to.Auth}},
		&webpush.Options{HTTPClient: p.client, Subscriber: p.contact, VAPIDPublicKey: p.public, VAPIDPrivateKey: p.private,
			TTL: int(left / time.Second), Topic: strings.ReplaceAll(m.ID, "-", ""), Urgency: webpush.UrgencyNormal})
	if err != nil {
		if errors.Is(err, errNotPublic) {
			return refused("push_rejected", "notification %s was to go to an address that is not public", m.ID).
				do("name a push service in a private network in the configuration").permanent()
		}
		return p.failed(m).because(err)
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswerBytes) // so that the connection can be used again
	switch status := answer.StatusCode; {
	case status >= 200 && status < 300:
		p.accepted.Add(sent, struct{}{})
		return nil
	case status == http.StatusNotFound, status == http.StatusGone:
		return refused("push_gone", "the push service answered notification %s with %d", m.ID, status).because(ErrGone)
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
		return p.failed(m).because(fmt.Errorf("it answered %d", status))
	default:
		return refused("push_rejected", "the push service answered notification %s with %d", m.ID, status).
			do("look at the key and the contact for push services").permanent()
	}
}

// failed does not say where it was sent: the path of the address is what the device is known by.
func (p *Push) failed(m PushMessage) *Problem {
	return refused("push_failed", "the push service did not accept notification %s", m.ID).do("send it again later")
}

// Close ends idle connections.
func (p *Push) Close() error {
	p.client.CloseIdleConnections()
	return nil
}
