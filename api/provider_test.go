package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"casebook/access"

	"github.com/golang-jwt/jwt/v5"
)

const (
	providerName = "https://identity.example"
	ourAudience  = "casebook"
)

// provider is an identity provider with one key of each kind.
type provider struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
	url string
}

func newProvider(t *testing.T) provider {
	t.Helper()
	var p provider
	var err error
	if p.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if p.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	point, err := p.ec.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	keys, err := json.Marshal(map[string]any{"keys": []map[string]string{
		{"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": b64(p.rsa.N.Bytes()), "e": b64(big.NewInt(int64(p.rsa.E)).Bytes())},
		{"kty": "EC", "kid": "ec", "use": "sig", "alg": "ES256", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])},
	}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(keys) }))
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func sign(t *testing.T, method jwt.SigningMethod, kid string, key any, claims jwt.RegisteredClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = kid
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTokensOfATrustedProviderAreTaken(t *testing.T) {
	p := newProvider(t)
	c := serve(t, func(o *options) {
		if err := o.Tokens.TrustProvider(t.Context(), p.url, providerName, ourAudience); err != nil {
			t.Fatal(err)
		}
	})
	tr := newTrial(t)
	claims := jwt.RegisteredClaims{Issuer: providerName, Audience: jwt.ClaimStrings{ourAudience}, Subject: string(tr.self),
		ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}
	for day, token := range []string{sign(t, jwt.SigningMethodRS256, "rsa", p.rsa, claims), sign(t, jwt.SigningMethodES256, "ec", p.ec,
		claims)} {
		c.token = token
		c.accepted(tr.entry(4 + 2*day))
		c.accepted(tr.entry(5 + 2*day)) // by way of the verified tokens
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*jwt.RegisteredClaims)) jwt.RegisteredClaims {
		changed := claims
		change(&changed)
		return changed
	}
	for _, x := range []struct{ name, token, code string }{
		{"another issuer", sign(t, jwt.SigningMethodRS256, "rsa", p.rsa,
			with(func(r *jwt.RegisteredClaims) { r.Issuer = "https://elsewhere.example" })), "token_invalid"},
		{"another audience", sign(t, jwt.SigningMethodRS256, "rsa", p.rsa,
			with(func(r *jwt.RegisteredClaims) { r.Audience = jwt.ClaimStrings{"elsewhere"} })), "token_invalid"},
		{"our own name", sign(t, jwt.SigningMethodRS256, "rsa", p.rsa, with(func(r *jwt.RegisteredClaims) { r.Issuer = access.Issuer })),
			"token_invalid"},
		{"expired", sign(t, jwt.SigningMethodES256, "ec", p.ec, with(func(r *jwt.RegisteredClaims) {
			r.ExpiresAt = jwt.NewNumericDate(time.Now().Add(-time.Hour))
		})), "token_expired"},
		{"another key under a known name", sign(t, jwt.SigningMethodRS256, "rsa", other, claims), "token_invalid"},
		{"an unknown key", sign(t, jwt.SigningMethodRS256, "unknown", other, claims), "token_invalid"},
		{"another method", sign(t, jwt.SigningMethodRS512, "rsa", p.rsa, claims), "token_invalid"},
		{"the public key as a secret", sign(t, jwt.SigningMethodHS256, "rsa", p.rsa.N.Bytes(), claims), "token_invalid"},
		{"no signature", sign(t, jwt.SigningMethodNone, "rsa", jwt.UnsafeAllowNoneSignatureType, claims), "token_invalid"},
		{"a signature cut short", cutShort(sign(t, jwt.SigningMethodRS256, "rsa", p.rsa, claims)), "token_invalid"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c.t, c.token = t, x.token
			recordsNothing(t, func() { c.command(tr.entry(20)).refused(t, http.StatusUnauthorized, x.code) })
		})
	}
}

func cutShort(token string) string { return token[:len(token)-4] }
