package access

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

const (
	// Issuer is the issuer and the audience of the tokens that Casebook signs itself.
	Issuer = "casebook"
	// clockSkew is how far the clock of an identity provider may differ from ours.
	clockSkew = 30 * time.Second
	// minKeyBytes is the minimum length of a key for HS256 (RFC 7518, section 3.2).
	minKeyBytes = 32
)

// Tokens signs and verifies bearer tokens. Our own tokens are signed with HS256. The tokens of an identity provider
// (RS256, ES256) are verified with the keys that it publishes.
type Tokens struct {
	key      []byte
	provider *provider
}

type provider struct {
	keys             jwt.Keyfunc
	issuer, audience string
}

// NewTokens returns Tokens that sign with this key of at least 32 bytes.
func NewTokens(key []byte) (*Tokens, error) {
	if len(key) < minKeyBytes {
		return nil, fmt.Errorf("the token key has %d bytes; it needs at least %d", len(key), minKeyBytes)
	}
	return &Tokens{key: key}, nil
}

// TrustProvider makes Verify also accept tokens of an identity provider: signed with RS256 or ES256 by one of the keys
// at jwksURL, and with this issuer and audience. The keys are fetched now, and again when a token names an unknown key,
// until ctx ends.
func (t *Tokens) TrustProvider(ctx context.Context, jwksURL, issuer, audience string) error {
	if issuer == "" || audience == "" {
		return errors.New("an identity provider needs its issuer and our audience; without them, tokens for other systems would be accepted")
	}
	keys, err := keyfunc.NewDefaultCtx(ctx, []string{jwksURL})
	if err != nil {
		return fmt.Errorf("fetch the identity provider's keys from %s: %w", jwksURL, err)
	}
	t.provider = &provider{keys: keys.Keyfunc, issuer: issuer, audience: audience}
	return nil
}

// Proof is what a verified token proves.
type Proof struct {
	User domain.UserID
	// IssuedAt is when the token was signed; the zero time if the token does not say it.
	IssuedAt time.Time
	// AuthenticatedAt is when the person signed in; the zero time in a token without a sign-in.
	AuthenticatedAt time.Time
	// InSession says that the token comes from a sign-in here, to the account's sessions of this Version. Other tokens, such
	// as those of an identity provider, are compared with the account's sessions by time.
	InSession bool
	Version   int
	// Device is the patient's device that the sign-in enrolled, by the enrolment of this number; empty for other sign-ins.
	Device    user.DeviceID
	Enrolment int
	// SecondFactor says that the person proved a second factor at the sign-in.
	SecondFactor bool
}

// Sign returns a token for a program that acts as the user. It expires after validFor, and proves no sign-in.
func (t *Tokens) Sign(u domain.UserID, now time.Time, validFor time.Duration) (string, error) {
	return t.sign(claims{Audience: jwt.ClaimStrings{Issuer}, Subject: string(u), ExpiresAt: dateOf(now.Add(validFor))}, now)
}

// SignFor returns a token for a user who has signed in, as p says; p.IssuedAt has no meaning here. It expires after
// validFor.
func (t *Tokens) SignFor(p Proof, now time.Time, validFor time.Duration) (string, error) {
	c := p.claims(Issuer)
	c.ExpiresAt = dateOf(now.Add(validFor))
	return t.sign(c, now)
}

// SignRefresh returns a token that proves nothing by itself, and is exchanged for tokens of the same sign-in. It expires
// after validFor; with 0 it lasts as long as the account's sessions and the enrolment of its device.
func (t *Tokens) SignRefresh(p Proof, now time.Time, validFor time.Duration) (string, error) {
	c := p.claims(refreshAudience)
	if validFor > 0 {
		c.ExpiresAt = dateOf(now.Add(validFor))
	}
	return t.sign(c, now)
}

func (t *Tokens) sign(c claims, now time.Time) (string, error) {
	c.Issuer, c.ID, c.IssuedAt = Issuer, uuid.NewString(), dateOf(now)
	return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(t.key)
}

// Verify returns what the token proves, or refuses it (token_missing, token_expired, token_invalid).
func (t *Tokens) Verify(token string) (Proof, error) {
	if token == "" {
		return Proof{}, refuse.Unauthenticated("token_missing", "the request carries no bearer token").
			Do("sign in, and send the token in the header Authorization: Bearer ...")
	}
	return proofOf(t.parse(token))
}

// VerifyRefresh returns the sign-in that a refresh token continues, or refuses it (token_expired, token_invalid).
func (t *Tokens) VerifyRefresh(token string) (Proof, error) {
	var parsed claims
	_, err := refreshTokens.ParseWithClaims(token, &parsed, t.ownKey)
	return proofOf(parsed, err)
}

func proofOf(c claims, err error) (Proof, error) {
	if errors.Is(err, jwt.ErrTokenExpired) {
		return Proof{}, refuse.Unauthenticated("token_expired", "the token has expired").Do("sign in again")
	}
	if err != nil {
		return Proof{}, refuse.Unauthenticated("token_invalid", "the token is not valid").Do("sign in again")
	}
	u := domain.UserID(c.Subject)
	if err := u.Validate(); err != nil {
		return Proof{}, refuse.Unauthenticated("token_invalid", "the token's subject is not a user id").Do("sign in again")
	}
	p := Proof{User: u, IssuedAt: c.IssuedAt.time(), AuthenticatedAt: c.AuthTime.time(), SecondFactor: c.hasSecondFactor()}
	if c.Issuer == Issuer && c.Session != nil {
		p.InSession, p.Version, p.Device, p.Enrolment = true, *c.Session, c.Device, c.Enrolment
	}
	return p, nil
}

// parse verifies the token as one of ours, and then as one of the identity provider.
func (t *Tokens) parse(token string) (claims, error) {
	var parsed claims
	_, err := ownTokens.ParseWithClaims(token, &parsed, t.ownKey)
	if err == nil || t.provider == nil || !errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		return parsed, err
	}
	parsed = claims{}
	_, err = jwt.ParseWithClaims(token, &parsed, t.provider.key, jwt.WithValidMethods([]string{"RS256", "ES256"}),
		jwt.WithIssuer(t.provider.issuer), jwt.WithAudience(t.provider.audience), jwt.WithExpirationRequired(),
		jwt.WithLeeway(clockSkew))
	return parsed, err
}

// ownKey returns the key of our own tokens.
func (t *Tokens) ownKey(token *jwt.Token) (any, error) { return t.key, understood(token) }

// key returns the identity provider's key for the token.
func (p *provider) key(token *jwt.Token) (any, error) {
	if err := understood(token); err != nil {
		return nil, err
	}
	return p.keys(token)
}

// understood refuses tokens with critical headers: the library understands none, and a token with a critical header that is
// not understood must be refused (RFC 7515, section 4.1.11).
func understood(token *jwt.Token) error {
	if _, found := token.Header["crit"]; found {
		return errors.New("the token has critical headers")
	}
	return nil
}

// refreshAudience keeps refresh tokens and access tokens apart.
const refreshAudience = Issuer + "/refresh"

// These verify our own tokens. They accept a single method, so that no token can choose how it is verified.
var (
	ownTokens = jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(Issuer), jwt.WithAudience(Issuer),
		jwt.WithExpirationRequired())
	refreshTokens = jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(Issuer), jwt.WithAudience(refreshAudience))
)

// LoadOrCreateKey returns the key of at least 32 bytes that the file holds in base64. If the file does not exist, it is
// created with a random key, and only its owner can read it.
func LoadOrCreateKey(path string) ([]byte, error) {
	text, err := os.ReadFile(path) // #nosec G304 -- the operator names the file
	if errors.Is(err, os.ErrNotExist) {
		return createKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(key) < minKeyBytes {
		return nil, fmt.Errorf("%s does not hold a key: at least %d bytes in base64", path, minKeyBytes)
	}
	return key, nil
}

func createKey(path string) ([]byte, error) {
	key := make([]byte, minKeyBytes)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the key's folder: %w", err)
	}
	if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(key)), 0o600); err != nil {
		return nil, fmt.Errorf("keep the key: %w", err)
	}
	return key, nil
}
