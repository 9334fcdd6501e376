package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"casebook/domain/user"

	"github.com/golang-jwt/jwt/v5"
)

// claims are the contents of a token. They implement jwt.Claims.
type claims struct {
	Issuer    string           `json:"iss,omitempty"`
	Subject   string           `json:"sub,omitempty"`
	Audience  jwt.ClaimStrings `json:"aud,omitempty"`
	ID        string           `json:"jti,omitempty"`
	ExpiresAt *numericDate     `json:"exp,omitempty"`
	NotBefore *numericDate     `json:"nbf,omitempty"`
	IssuedAt  *numericDate     `json:"iat,omitempty"`
	// AuthTime is when the person signed in (OpenID Connect Core 1.0, section 2); nil in a token without a sign-in.
	AuthTime *numericDate `json:"auth_time,omitempty"`
	// Methods are how the person signed in (RFC 8176).
	Methods []string `json:"amr,omitempty"`
	// Session is the version of the account's sessions; nil in a token that comes from no sign-in here.
	Session *int `json:"casebook_session,omitempty"`
	// Device and Enrolment are the patient's device that the sign-in enrolled, if it did.
	Device    user.DeviceID `json:"casebook_device,omitempty"`
	Enrolment int           `json:"casebook_enrolment,omitempty"`
}

// The methods of RFC 8176 that we write, and those that prove a second factor.
const (
	methodPassword = "pwd"
	methodOneTime  = "otp"
)

var secondFactors = []string{methodOneTime, "mfa", "hwk", "sc"}

// claims returns the claims of a token for this sign-in.
func (p Proof) claims(audience string) claims {
	c := claims{Audience: jwt.ClaimStrings{audience}, Subject: string(p.User), AuthTime: dateOf(p.AuthenticatedAt),
		Methods: []string{methodPassword}}
	if p.InSession {
		c.Session, c.Device, c.Enrolment = &p.Version, p.Device, p.Enrolment
	}
	if p.SecondFactor {
		c.Methods = append(c.Methods, methodOneTime)
	}
	return c
}

func (c claims) hasSecondFactor() bool {
	return slices.ContainsFunc(c.Methods, func(m string) bool { return slices.Contains(secondFactors, m) })
}

// GetExpirationTime implements jwt.Claims.
func (c claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.ExpiresAt.forLibrary(), nil }

// GetIssuedAt implements jwt.Claims.
func (c claims) GetIssuedAt() (*jwt.NumericDate, error) { return c.IssuedAt.forLibrary(), nil }

// GetNotBefore implements jwt.Claims.
func (c claims) GetNotBefore() (*jwt.NumericDate, error) { return c.NotBefore.forLibrary(), nil }

// GetIssuer implements jwt.Claims.
func (c claims) GetIssuer() (string, error) { return c.Issuer, nil }

// GetSubject implements jwt.Claims.
func (c claims) GetSubject() (string, error) { return c.Subject, nil }

// GetAudience implements jwt.Claims.
func (c claims) GetAudience() (jwt.ClaimStrings, error) { return c.Audience, nil }

// numericDate is a time in a token: a JSON number of seconds (RFC 7519, section 2), with microseconds. The library's type
// also reads strings, which other programs understand in other ways, and it cuts the fraction off.
type numericDate time.Time

func dateOf(t time.Time) *numericDate {
	if t.IsZero() {
		return nil
	}
	return new(numericDate(t.Truncate(time.Microsecond)))
}

// MarshalJSON implements json.Marshaler.
func (d numericDate) MarshalJSON() ([]byte, error) {
	micros := time.Time(d).UnixMicro()
	text := strconv.FormatInt(micros/1e6, 10)
	if fraction := micros % 1e6; fraction > 0 {
		text += fmt.Sprintf(".%06d", fraction)
	}
	return []byte(text), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *numericDate) UnmarshalJSON(text []byte) error {
	var seconds float64
	if err := json.Unmarshal(text, &seconds); err != nil {
		return err
	}
	if bytes.Equal(text, []byte("null")) || seconds <= 0 || seconds > 1<<40 {
		return fmt.Errorf("%s is no time", text)
	}
	whole, fraction := math.Modf(seconds)
	*d = numericDate(time.Unix(int64(whole), int64(math.Round(fraction*1e6))*1000))
	return nil
}

func (d *numericDate) time() time.Time {
	if d == nil {
		return time.Time{}
	}
	return time.Time(*d)
}

func (d *numericDate) forLibrary() *jwt.NumericDate {
	if d == nil {
		return nil
	}
	return &jwt.NumericDate{Time: time.Time(*d)}
}
