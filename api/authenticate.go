package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"casebook/access"
	"casebook/domain"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/labstack/echo/v4"
)

// prove proves who asks, by the token alone. It needs no store, so it comes before a place is taken. Its refusals are
// recorded in the security log.
func (c *call) prove() error {
	token := bearerToken(c.Request().Header.Get(echo.HeaderAuthorization))
	proof, ok := c.api.verified.lookUp(token, c.api.now())
	if !ok {
		var err error
		if proof, err = c.api.tokens.Verify(token); err != nil {
			c.recordRefusal("", noScope, err)
			return err
		}
		c.api.verified.remember(token, proof, c.api.now())
	}
	c.proof = proof
	return nil
}

// authenticate loads the grants that hold now, after prove. Its refusals are recorded in the security log.
func (c *call) authenticate() error {
	proof := c.proof
	// Whoever holds a good token may have been deactivated or may have lost roles since (21 CFR 11.10(g)).
	principal, err := c.api.handler.Authenticated(c.ctx(), proof)
	if err == nil && !slices.Contains(beforePasswordChange, c.action) {
		err = principal.MustHaveOwnPassword()
	}
	if err != nil {
		if isAccess(err) {
			c.recordRefusal(proof.User, noScope, err)
		}
		return err
	}
	c.principal = principal
	return nil
}

// beforePasswordChange is all that people may do while somebody else has chosen their password.
var beforePasswordChange = []string{"ChangePassword", "SignOut"}

// recordRefusal puts a refusal of access into the security log.
func (c *call) recordRefusal(user domain.UserID, scope domain.Scope, why error) {
	c.recordRefusalOf(c.action, user, scope, why)
}

// recordRefusalOf is recordRefusal for one of several actions of a request.
func (c *call) recordRefusalOf(action string, user domain.UserID, scope domain.Scope, why error) {
	c.api.handler.RecordRefusal(c.ctx(), access.Refused{User: user, Action: action, Scope: scope, Address: c.RealIP(), TraceID: c.trace,
		Why: why})
}

// isAccess says whether the error refuses access, as opposed to any other refusal or a failure.
func isAccess(err error) bool {
	switch problemStatus(err) {
	case http.StatusUnauthorized, http.StatusForbidden:
		return true
	}
	return false
}

// bearerToken returns the token of an Authorization header, or nothing where the header has another form.
func bearerToken(header string) string {
	const scheme = "bearer "
	if len(header) <= len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimSpace(header[len(scheme):])
}

// trustVerified is how long a token is taken as verified. It bounds how long a token of an identity provider outlives
// the withdrawal of the key that signed it.
const trustVerified = time.Minute

// verifiedTokens remembers for a short while which tokens have been verified, by their hash: verifying costs more than
// everything else about a small request, RS256 most of all. It says nothing about grants, which are loaded every time.
type verifiedTokens struct {
	cache *lru.Cache[[sha256.Size]byte, verifiedToken]
}

type verifiedToken struct {
	proof access.Proof
	until time.Time
}

func newVerifiedTokens(size int) (*verifiedTokens, error) {
	cache, err := lru.New[[sha256.Size]byte, verifiedToken](size)
	if err != nil {
		return nil, fmt.Errorf("remember up to %d verified tokens: %w", size, err)
	}
	return &verifiedTokens{cache: cache}, nil
}

func (v *verifiedTokens) lookUp(token string, now time.Time) (access.Proof, bool) {
	if token == "" {
		return access.Proof{}, false
	}
	known, ok := v.cache.Get(sha256.Sum256([]byte(token)))
	if !ok || !now.Before(known.until) {
		return access.Proof{}, false
	}
	return known.proof, true
}

// remember keeps a token that has just been verified, until it expires or trustVerified is over.
func (v *verifiedTokens) remember(token string, proof access.Proof, now time.Time) {
	until := now.Add(trustVerified)
	expires, ok := expiryOf(token)
	if !ok {
		return
	}
	if expires.Before(until) {
		until = expires
	}
	v.cache.Add(sha256.Sum256([]byte(token)), verifiedToken{proof: proof, until: until})
}

// expiryOf reads when a verified token expires. The fraction of a second is cut off, to the safe side.
func expiryOf(token string) (time.Time, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, false
	}
	var claims struct {
		Expires float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Expires <= 0 {
		return time.Time{}, false
	}
	return time.Unix(int64(claims.Expires), 0), true
}

// clientAddress says how a request's address is found: from the connection, or from what a trusted proxy reports.
func clientAddress(proxies []netip.Prefix) echo.IPExtractor {
	if len(proxies) == 0 {
		return echo.ExtractIPDirect()
	}
	trust := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range proxies {
		trust = append(trust, echo.TrustIPRange(&net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}))
	}
	return echo.ExtractIPFromXFFHeader(trust...)
}

// noScope is the scope of what belongs to no study.
var noScope domain.Scope
