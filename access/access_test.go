package access_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"

	"github.com/golang-jwt/jwt/v5"
)

var key = []byte("0123456789abcdef0123456789abcdef")

func tokens(t *testing.T) *access.Tokens {
	t.Helper()
	tokens, err := access.NewTokens(key)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestATokenProvesItsUser(t *testing.T) {
	now := time.Now().Truncate(time.Microsecond)
	token, err := tokens(t).Sign("anna", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tokens(t).Verify(token)
	if err != nil || p.User != "anna" || !p.IssuedAt.Equal(now) || !p.AuthenticatedAt.IsZero() || p.InSession || p.SecondFactor {
		t.Errorf("got %+v, %v", p, err)
	}
}

// TestASessionKeepsItsSignIn: a refresh token continues its sign-in, and is good for nothing else.
func TestASessionKeepsItsSignIn(t *testing.T) {
	signedIn := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
	want := access.Proof{User: "anna", AuthenticatedAt: signedIn, InSession: true, Version: 3, SecondFactor: true}
	refresh, err := tokens(t).SignRefresh(want, signedIn, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tokens(t).VerifyRefresh(refresh)
	if err != nil {
		t.Fatal(err)
	}
	token, err := tokens(t).SignFor(p, time.Now(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tokens(t).Verify(token)
	if err != nil || !got.AuthenticatedAt.Equal(signedIn) || got.Version != 3 || !got.InSession || !got.SecondFactor || got.User != "anna" {
		t.Errorf("got %+v, %v", got, err)
	}
	for what, verify := range map[string]func() (access.Proof, error){
		"a refresh token as an access token": func() (access.Proof, error) { return tokens(t).Verify(refresh) },
		"an access token as a refresh token": func() (access.Proof, error) { return tokens(t).VerifyRefresh(token) },
	} {
		if p, err := verify(); !refusedAs(err, "token_invalid") {
			t.Errorf("%s: got %+v, %v", what, p, err)
		}
	}
	old, err := tokens(t).SignRefresh(want, signedIn, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := tokens(t).VerifyRefresh(old); !refusedAs(err, "token_expired") {
		t.Errorf("got %+v, %v", p, err)
	}
}

// TestTokensThatOtherProgramsReadOtherwiseAreRefused: a token means the same to everybody, or nothing.
func TestTokensThatOtherProgramsReadOtherwiseAreRefused(t *testing.T) {
	in := time.Now().Add(time.Hour).Unix()
	sign := func(header, claims map[string]any) string {
		all := jwt.MapClaims{"iss": access.Issuer, "aud": access.Issuer, "sub": "anna", "exp": in}
		for name, value := range claims {
			all[name] = value
		}
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, all)
		for name, value := range header {
			token.Header[name] = value
		}
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if _, err := tokens(t).Verify(sign(nil, nil)); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"exp as a string":         sign(nil, map[string]any{"exp": strconv.FormatInt(in, 10)}),
		"nbf as a string":         sign(nil, map[string]any{"nbf": "1"}),
		"iat as a string":         sign(nil, map[string]any{"iat": "1"}),
		"auth_time as a string":   sign(nil, map[string]any{"auth_time": strconv.FormatInt(in, 10)}),
		"exp that is no number":   sign(nil, map[string]any{"exp": true}),
		"exp before all time":     sign(nil, map[string]any{"exp": -1}),
		"a critical header":       sign(map[string]any{"crit": []string{"b64"}, "b64": true}, nil),
		"an empty list of crit":   sign(map[string]any{"crit": []string{}}, nil),
		"a critical null":         sign(map[string]any{"crit": nil}, nil),
		"an account of no person": sign(nil, map[string]any{"sub": "process:operator.anna"}),
	} {
		if p, err := tokens(t).Verify(token); !refusedAs(err, "token_invalid") {
			t.Errorf("%s: got %+v, %v", name, p, err)
		}
	}
}

func refusedAs(err error, code string) bool {
	r, ok := refuse.As(err)
	return ok && r.Code == code
}

func TestForgedAndOldTokensAreRefused(t *testing.T) {
	sign := func(method jwt.SigningMethod, key any, change func(*jwt.RegisteredClaims)) string {
		claims := jwt.RegisteredClaims{
			Issuer: access.Issuer, Audience: jwt.ClaimStrings{access.Issuer}, Subject: "anna",
			ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour)),
		}
		if change != nil {
			change(&claims)
		}
		token, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	elliptic256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(change func(*jwt.RegisteredClaims)) string { return sign(jwt.SigningMethodHS256, key, change) }
	good := sign(jwt.SigningMethodHS256, key, nil)
	anHourAgo := jwt.NewNumericDate(time.Now().Add(-time.Hour))
	for name, c := range map[string]struct{ token, code string }{
		"no token":            {"", "token_missing"},
		"not a token":         {"abc", "token_invalid"},
		"another key":         {sign(jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), nil), "token_invalid"},
		"no signature":        {sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), "token_invalid"},
		"another method":      {sign(jwt.SigningMethodHS512, key, nil), "token_invalid"},
		"unknown provider":    {sign(jwt.SigningMethodES256, elliptic256, nil), "token_invalid"},
		"a changed signature": {good[:len(good)-4] + "AAAA", "token_invalid"},
		"expired":             {changed(func(c *jwt.RegisteredClaims) { c.ExpiresAt = anHourAgo }), "token_expired"},
		"no expiry":           {changed(func(c *jwt.RegisteredClaims) { c.ExpiresAt = nil }), "token_invalid"},
		"another issuer":      {changed(func(c *jwt.RegisteredClaims) { c.Issuer = "other" }), "token_invalid"},
		"another audience":    {changed(func(c *jwt.RegisteredClaims) { c.Audience = jwt.ClaimStrings{"other"} }), "token_invalid"},
		"no user":             {changed(func(c *jwt.RegisteredClaims) { c.Subject = "" }), "token_invalid"},
		"a process's name":    {changed(func(c *jwt.RegisteredClaims) { c.Subject = "process:enrollment" }), "token_invalid"},
	} {
		u, err := tokens(t).Verify(c.token)
		if r, ok := refuse.As(err); !ok || r.Code != c.code {
			t.Errorf("%s: got %+v, %v, want %s", name, u, err, c.code)
		}
	}
}

func TestOnlyTheOwnerCanReadAKeyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "token.key")
	made, err := access.LoadOrCreateKey(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := access.LoadOrCreateKey(file)
	if err != nil || string(again) != string(made) {
		t.Errorf("the key changed: %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(file, []byte("c2hvcnQ="), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := access.LoadOrCreateKey(file); err == nil {
		t.Error("LoadOrCreateKey accepts a short key")
	}
	if _, err := access.NewTokens([]byte("short")); err == nil {
		t.Error("NewTokens accepts a short key")
	}
}

func TestPasswordsMatchOnlyTheirOwnDigest(t *testing.T) {
	digest, err := access.DigestPassword(t.Context(), "velvet anchor copper mist")
	if err != nil {
		t.Fatal(err)
	}
	other, err := access.DigestPassword(t.Context(), "velvet anchor copper mist")
	if err != nil || other == digest {
		t.Errorf("the same password got the same digest twice: %v", err)
	}
	for password, want := range map[string]bool{"velvet anchor copper mist": true, "correct horse batterY": false, "": false} {
		if got, err := access.PasswordMatches(t.Context(), access.OfOwners, digest, password); err != nil || got != want {
			t.Errorf("%q matches: %v, %v", password, got, err)
		}
	}
	if got, err := access.PasswordMatches(t.Context(), access.OfOwners, "", ""); err != nil || got {
		t.Errorf("a password matches the empty digest: %v, %v", got, err)
	}
	for _, broken := range []string{
		"x", "$argon2i$v=19$m=1,t=1,p=1$AA$AA", "$argon2id$v=1$m=1,t=1,p=1$AA$AA", "$argon2id$v=19$m=1$AA$AA",
		"$argon2id$v=19$m=8,t=1,p=1$!!$AA",
	} {
		if _, err := access.PasswordMatches(t.Context(), access.OfOwners, broken, "x"); err == nil {
			t.Errorf("%s was accepted as a digest", broken)
		}
	}
}

// TestR4_AGrantReachesNoFurtherThanItsScope tries grants on scopes that they cover and on others.
func TestR4_AGrantReachesNoFurtherThanItsScope(t *testing.T) {
	const s, other = domain.StudyID("S"), domain.StudyID("T")
	one, two := domain.SiteID("1"), domain.SiteID("2")
	scopes := map[string]domain.Scope{
		"system": {}, "study": {Study: s}, "site": {Study: s, Site: one}, "patient": {Study: s, Site: one, Patient: "S.1"},
		"other study": {Study: other}, "other site": {Study: s, Site: two}, "other patient": {Study: s, Site: one, Patient: "S.2"},
		"patient elsewhere": {Study: s, Site: two, Patient: "S.3"}, "site of other study": {Study: other, Site: one},
	}
	everything := access.To(access.StudyMembers, access.ThePatient, access.Admins, access.Processes)
	for _, c := range []struct {
		grant   user.Grant
		reaches []string
	}{
		{user.Grant{Role: user.CRC, Study: s, Site: one}, []string{"site", "patient", "other patient"}},
		{user.Grant{Role: user.Monitor, Study: s}, []string{"study", "site", "patient", "other site", "other patient", "patient elsewhere"}},
		{user.Grant{Role: user.PatientRole, Study: s, Patient: "S.1"}, []string{"patient"}},
		{user.Grant{Role: user.PatientRole, Study: s}, nil},
		{user.Grant{Role: user.Admin}, []string{"system"}},
		{user.Grant{Role: user.CRC}, nil},
	} {
		who := access.Principal{User: "x", Grants: []user.Grant{c.grant}}
		for name, scope := range scopes {
			_, err := who.Authorize("Act", everything, scope)
			want := false
			for _, r := range c.reaches {
				want = want || r == name
			}
			if (err == nil) != want {
				t.Errorf("%+v on %s: %v", c.grant, name, err)
			}
			if err != nil {
				if r, ok := refuse.As(err); !ok || r.Code != "not_allowed" || r.Kind != refuse.KindForbidden {
					t.Errorf("refused with %v", err)
				}
			}
		}
	}
	crc := access.Principal{User: "x", Grants: []user.Grant{{Role: user.CRC, Study: s, Site: one}}}
	if _, err := crc.Authorize("Act", access.DataManagers, scopes["site"]); err == nil {
		t.Error("a role is allowed what only another role may do")
	}
}

func TestSitesOfAPrincipal(t *testing.T) {
	who := access.Principal{Grants: []user.Grant{
		{Role: user.CRC, Study: "S", Site: "1"}, {Role: user.Monitor, Study: "S", Site: "2"}, {Role: user.CRC, Study: "T", Site: "3"},
	}}
	if sites, all := who.Sites(access.ClinicalReaders, "S"); all || len(sites) != 2 {
		t.Errorf("got %v, %v", sites, all)
	}
	who.Grants = append(who.Grants, user.Grant{Role: user.Auditor, Study: "S"})
	if _, all := who.Sites(access.ClinicalReaders, "S"); !all {
		t.Error("an auditor does not see the whole study")
	}
	if !who.WorksIn("S") || who.WorksIn("X") || who.WorksIn("") || !access.Process("p").WorksIn("X") {
		t.Error("WorksIn is wrong")
	}
	if access.IsProcess("anna") || !access.IsProcess(access.Process("p").User) || access.Process("p").User.Validate() == nil {
		t.Error("a person can have a process's name")
	}
}
