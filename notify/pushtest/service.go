// Package pushtest has a push service for tests. It stands for the service of a browser and for the browser itself: it checks who sends
// (VAPID, RFC 8292), and decrypts what arrives (RFC 8291), with code of its own.
package pushtest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Service is a push service with the browsers that have subscribed at it.
type Service struct {
	// URL is the origin of the service, and Roots verify its certificate.
	URL   string
	Roots *x509.CertPool
	// arrived tells that something has arrived.
	arrived chan struct{}

	mu       sync.Mutex
	browsers map[string]*browser
	faults   []string
}

type browser struct {
	key     *ecdh.PrivateKey
	auth    []byte
	server  string
	answers []int
	got     []Notification
}

// Notification is what has arrived at a browser.
type Notification struct {
	// Text is what the sender has encrypted.
	Text string
	// Contact is whom the sender names.
	Contact string
	// TTL, Topic and Urgency are the headers.
	TTL, Topic, Urgency string
}

// Start starts a service. It ends with the test, which fails if what arrived was not as it should be.
func Start(t testing.TB) *Service {
	t.Helper()
	s := &Service{browsers: map[string]*browser{}, arrived: make(chan struct{}, 1)}
	server := httptest.NewTLSServer(s)
	s.URL, s.Roots = server.URL, x509.NewCertPool()
	s.Roots.AddCert(server.Certificate())
	t.Cleanup(func() {
		server.Close()
		for _, fault := range s.faults {
			t.Error("the push service: " + fault)
		}
	})
	return s
}

// Subscribe is what a browser does for an app: it subscribes for the public key of a server, and returns the address and the keys.
// answers are the first answers of the service, such as 500; after them it accepts what is right.
func (s *Service) Subscribe(serverKey string, answers ...int) (endpoint, p256dh, auth string) {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	b := &browser{key: key, auth: []byte(rand.Text()[:16]), server: serverKey, answers: answers}
	path := "/send/" + rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.browsers[path] = b
	encode := base64.RawURLEncoding.EncodeToString
	return s.URL + path, encode(key.PublicKey().Bytes()), encode(b.auth)
}

// Got returns what has arrived at a browser.
func (s *Service) Got(endpoint string) []Notification {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.browsers[strings.TrimPrefix(endpoint, s.URL)].got)
}

// Await waits until as many notifications as that have arrived at a browser, and returns them.
func (s *Service) Await(t testing.TB, endpoint string, many int) []Notification {
	t.Helper()
	for limit := time.After(time.Minute); ; {
		if got := s.Got(endpoint); len(got) >= many {
			return got
		}
		select {
		case <-s.arrived:
		case <-limit:
			t.Fatalf("only %d of %d notifications have arrived", len(s.Got(endpoint)), many)
		}
	}
}

// ServeHTTP takes a notification.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.browsers[r.URL.Path]
	if b == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	n, err := b.open(r, s.URL)
	if err != nil {
		s.faults = append(s.faults, err.Error())
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if len(b.answers) > 0 {
		w.WriteHeader(b.answers[0])
		b.answers = b.answers[1:]
		return
	}
	b.got = append(b.got, n)
	w.WriteHeader(http.StatusCreated)
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

func (b *browser) open(r *http.Request, origin string) (n Notification, err error) {
	if r.Method != http.MethodPost || r.Header.Get("Content-Encoding") != "aes128gcm" || r.Header.Get("TTL") == "" {
		return n, fmt.Errorf("%s with the headers %v is no notification", r.Method, r.Header)
	}
	if n.Contact, err = b.sender(r.Header.Get("Authorization"), origin); err != nil {
		return n, err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 5000))
	if err != nil || len(body) > 4096 { // RFC 8291, section 4: a service need not take more
		return n, fmt.Errorf("a notification has %d bytes: %w", len(body), err)
	}
	text, err := b.decrypt(body)
	n.Text, n.TTL, n.Topic, n.Urgency = string(text), r.Header.Get("TTL"), r.Header.Get("Topic"), r.Header.Get("Urgency")
	if len(n.Topic) > 32 { // RFC 8030, section 5.4
		return n, fmt.Errorf("the topic %q is too long", n.Topic)
	}
	return n, err
}

// sender checks who sends (RFC 8292, sections 2 and 3), and returns the contact.
func (b *browser) sender(header, origin string) (contact string, err error) {
	parameters, isVAPID := strings.CutPrefix(header, "vapid ")
	token, key := "", ""
	for part := range strings.SplitSeq(parameters, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			token = value
		case "k":
			key = value
		}
	}
	if !isVAPID || key != b.server {
		return "", errors.New("it is not sent by the server that the browser has subscribed for")
	}
	point, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		return "", err
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return "", err
	}
	var claims jwt.RegisteredClaims
	if _, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return public, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience(origin), jwt.WithExpirationRequired()); err != nil {
		return "", err
	}
	if claims.ExpiresAt.After(time.Now().Add(24 * time.Hour)) {
		return "", errors.New("the proof is good for more than a day")
	}
	return claims.Subject, nil
}

// decrypt opens one record (RFC 8188, section 2) with the keys of RFC 8291, section 3.4.
func (b *browser) decrypt(body []byte) ([]byte, error) {
	if len(body) < 21 || len(body) < 21+int(body[20]) {
		return nil, errors.New("the notification is too short")
	}
	salt, size, senderKey, sealed := body[:16], binary.BigEndian.Uint32(body[16:20]), body[21:21+int(body[20])], body[21+int(body[20]):]
	if uint64(len(sealed)) > uint64(size) {
		return nil, errors.New("the notification has more than one record")
	}
	sender, err := ecdh.P256().NewPublicKey(senderKey)
	if err != nil {
		return nil, err
	}
	shared, err := b.key.ECDH(sender)
	if err != nil {
		return nil, err
	}
	info := "WebPush: info\x00" + string(b.key.PublicKey().Bytes()) + string(senderKey)
	secret, err := hkdf.Key(sha256.New, shared, b.auth, info, 32)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, secret, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, err
	}
	nonce, err := hkdf.Key(sha256.New, secret, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	padded, err := gcm.Open(nil, nonce, sealed, nil)
	if err != nil {
		return nil, err
	}
	text := strings.TrimRight(string(padded), "\x00")
	if !strings.HasSuffix(text, "\x02") { // the last record
		return nil, errors.New("the record does not end as the last one does")
	}
	return []byte(strings.TrimSuffix(text, "\x02")), nil
}
