package api

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"

	"github.com/golang-jwt/jwt/v5"
)

const submit = "/api/v1/commands/SubmitDiary"

// TestEveryRefusalSaysWhyAndRecordsNothing sends what must not be taken, and reads status, code and sentence.
func TestEveryRefusalSaysWhyAndRecordsNothing(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	self, crc := c.as(tr.self), c.as(tr.crc)
	entry := func(change func(*diary.SubmitDiary)) func() reply {
		return func() reply {
			e := tr.entry(4)
			change(&e)
			return self.command(e)
		}
	}
	body := `{"patient":"` + string(tr.patient) + `","instrument":"pain-diary","capturedAt":"2026-02-04T20:30:00+01:00","answers":{`
	for _, x := range []struct {
		name     string
		send     func() reply
		status   int
		code     string
		sentence string
	}{
		{"nothing", func() reply { return self.post(submit, "") }, 400, "malformed_json", "not JSON"},
		{"not JSON", func() reply { return self.post(submit, `{"patient":`) }, 400, "malformed_json", "at byte 11"},
		{"two objects", func() reply { return self.post(submit, `{}{}`) }, 400, "malformed_json", "not JSON"},
		{"an answer twice", func() reply { return self.post(submit, body+`"worst":2,"worst":9}}`) }, 400, "malformed_json", "twice"},
		{"an unknown field", func() reply { return self.post(submit, `{"dose":1}`) }, 400, "unknown_field", `has a field "dose"`},
		{"a field that is missing", func() reply { return self.post(submit, `{"patient":"`+string(tr.patient)+`"}`) }, 400,
			"value_missing", `field "instrument" is missing`},
		{"no patient", func() reply { return self.post(submit, strings.Replace(body, `"patient"`, `"zone"`, 1)+`}}`) }, 400,
			"value_missing", `field "patient" is missing`},
		{"null for a field", func() reply {
			return c.as(tr.manager).post("/api/v1/commands/SetEnrollmentTarget", `{"study":"`+
				string(tr.study)+`","caps":null}`)
		}, 400, "value_missing", `field "caps" is missing`},
		{"a wrong type", func() reply { return self.post(submit, `{"patient":7}`) }, 400, "wrong_type", "must be a string"},
		{"a time that is none", func() reply { return self.post(submit, `{"capturedAt":"yesterday"}`) }, 400, "wrong_type", "a time such as"},
		{"an unknown command", func() reply { return self.post("/api/v1/commands/StopTheWorld", `{}`) }, 404, "command_not_found",
			`"StopTheWorld"`},
		{"a process's command", func() reply { return crc.post("/api/v1/commands/ConfirmEnrollment", `{}`) }, 404, "command_not_found",
			"no command"},
		{"another content type", func() reply { return self.post(submit, `{}`, "Content-Type", "text/plain") }, 415, "wrong_content_type",
			"not declared as JSON"},
		{"another charset", func() reply { return self.post(submit, `{}`, "Content-Type", "application/json; charset=latin1") }, 415,
			"wrong_content_type", "not declared as JSON"},
		{"a compressed body", func() reply { return self.post(submit, `{}`, "Content-Encoding", "gzip") }, 415, "wrong_content_type", "encoded"},
		{"a long key", func() reply { return self.post(submit, `{}`, keyHeader, strings.Repeat("k", 201)) }, 400, "malformed_key",
			"201 characters"},
		{"out of range", entry(func(e *diary.SubmitDiary) { e.Answers["worst"] = 11 }), 422, "answer_out_of_range", "worst"},
		{"an unknown patient", entry(func(e *diary.SubmitDiary) { e.Patient = domain.NewPatientID(tr.study, "S-999") }), 403,
			"not_allowed", "S-999"},
		{"a malformed patient", entry(func(e *diary.SubmitDiary) { e.Patient = "nobody" }), 400, "malformed_id", `"nobody"`},
		{"an unknown zone", entry(func(e *diary.SubmitDiary) { e.Zone = "Mars/Olympus" }), 400, "unknown_zone", "Mars/Olympus"},
		{"a time that no record can carry", entry(func(e *diary.SubmitDiary) {
			e.CapturedAt = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
		}), 400,
			"value_out_of_range", "9999"},
		{"another site's patient", entry(func(e *diary.SubmitDiary) { e.Patient = tr.other }), 403, "not_allowed", string(tr.self)},
		{"another patient", func() reply { e := tr.entry(4); e.Patient = tr.other; return self.command(e) }, 403, "not_allowed", "SubmitDiary"},
		{"no token", func() reply { return c.post(submit, `{}`) }, 401, "token_missing", "no bearer token"},
		{"another scheme", func() reply { return c.post(submit, `{}`, "Authorization", "Basic bnVyc2U6cGFzc3dvcmQ=") }, 401, "token_missing",
			"no bearer token"},
		{"another method", func() reply { return self.get(submit) }, 405, "method_not_allowed", "GET"},
		{"another address", func() reply { return self.post("/api/v2/commands/SubmitDiary", `{}`) }, 404, "not_found", "nothing at this address"},
	} {
		t.Run(x.name, func(t *testing.T) {
			recordsNothing(t, func() {
				p := x.send().refused(t, x.status, x.code)
				if !strings.Contains(p.Detail, x.sentence) {
					t.Errorf("the sentence is %q, and should say %q", p.Detail, x.sentence)
				}
				if p.Remedy == "" || !strings.HasSuffix(p.Detail, p.Remedy) {
					t.Errorf("the detail %q does not end with the remedy %q", p.Detail, p.Remedy)
				}
			})
		})
	}
}

// TestWhoMayNotIsToldWhoMay, and what to do instead.
func TestWhoMayNotIsToldWhoMay(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	crc := c.as(tr.crc)
	of := domain.ForPatient(tr.patient)
	for _, x := range []struct {
		send func() reply
		says []string
	}{
		{func() reply { return crc.command(tr.entry(4)) }, []string{"TranscribeDiary", "patient and caregiver"}},
		{func() reply {
			return crc.command(diary.CorrectDiary{OfPatient: of, Request: 1, Reasoned: domain.Because("mistyped")})
		}, []string{"AskDiaryCorrection", "the role investigator"}},
		{func() reply { return crc.get("/api/v1/studies/" + string(tr.study) + "/parked-messages") }, []string{"data_manager and auditor"}},
	} {
		p := x.send().refused(t, http.StatusForbidden, "not_allowed")
		for _, words := range x.says {
			if !strings.Contains(p.Remedy, words) {
				t.Errorf("the remedy %q does not say %q", p.Remedy, words)
			}
		}
	}
	// An instrument that is not assigned: those that are, are named.
	paper := tr.transcription(4)
	paper.Instrument = "phq-9"
	p := crc.command(paper).refused(t, http.StatusUnprocessableEntity, "instrument_not_assigned")
	if !strings.Contains(p.Remedy, "pain-diary") {
		t.Errorf("the remedy is %q", p.Remedy)
	}
}

func TestABodyThatIsTooLargeIsNotRead(t *testing.T) {
	c := serve(t, nil).as(newTrial(t).crc)
	for name, length := range map[string]int64{"of announced length": 64 << 20, "of unknown length": -1} {
		t.Run(name, func(t *testing.T) {
			recordsNothing(t, func() {
				endless := &counted{left: 64 << 20}
				request, err := http.NewRequest(http.MethodPost, c.url+submit, endless)
				if err != nil {
					t.Fatal(err)
				}
				request.ContentLength = length
				request.Header.Set("Authorization", "Bearer "+c.token)
				response, err := c.http.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}
				_ = response.Body.Close()
				reply{Response: response, body: text}.refused(t, http.StatusRequestEntityTooLarge, "body_too_large")
			})
		})
	}
	ten := `{"patient":"` + strings.Repeat("x", 10<<20) + `"}`
	c.post(submit, ten).refused(t, http.StatusRequestEntityTooLarge, "body_too_large")
	c.post("/api/v1/commands:batch", ten).refused(t, http.StatusRequestEntityTooLarge, "body_too_large")
	c.post(submit, `{"dose":1}`).refused(t, http.StatusBadRequest, "unknown_field") // and the next request is served
}

// counted is a body of so many bytes.
type counted struct{ left int }

func (b *counted) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.EOF
	}
	n := min(len(p), b.left)
	for i := range n {
		p[i] = ' '
	}
	b.left -= n
	return n, nil
}

func TestForgedTokensAreRefused(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	key := []byte(strings.Repeat("k", 32))
	claims := func(change func(*jwt.RegisteredClaims)) jwt.RegisteredClaims {
		all := jwt.RegisteredClaims{Issuer: access.Issuer, Audience: jwt.ClaimStrings{access.Issuer}, Subject: string(tr.self),
			ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}
		change(&all)
		return all
	}
	same := func(*jwt.RegisteredClaims) {}
	signed := func(method jwt.SigningMethod, key any, all jwt.RegisteredClaims) string {
		token, err := jwt.NewWithClaims(method, all).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good := signed(jwt.SigningMethodHS256, key, claims(same))
	parts := strings.Split(good, ".")
	for _, x := range []struct{ name, token, code string }{
		{"expired", signed(jwt.SigningMethodHS256, key, claims(func(r *jwt.RegisteredClaims) {
			r.ExpiresAt = jwt.NewNumericDate(time.Now().Add(-time.Second))
		})), "token_expired"},
		{"without an expiry", signed(jwt.SigningMethodHS256, key, claims(func(r *jwt.RegisteredClaims) { r.ExpiresAt = nil })), "token_invalid"},
		{"of another key", signed(jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), claims(same)), "token_invalid"},
		{"of another method", signed(jwt.SigningMethodHS512, key, claims(same)), "token_invalid"},
		{"without a signature", signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(same)), "token_invalid"},
		{"of another issuer", signed(jwt.SigningMethodHS256, key, claims(func(r *jwt.RegisteredClaims) { r.Issuer = "elsewhere" })),
			"token_invalid"},
		{"for another audience", signed(jwt.SigningMethodHS256, key,
			claims(func(r *jwt.RegisteredClaims) { r.Audience = jwt.ClaimStrings{"elsewhere"} })), "token_invalid"},
		{"with its signature cut off", parts[0] + "." + parts[1] + ".", "token_invalid"},
		{"of nobody here", signed(jwt.SigningMethodHS256, key, claims(func(r *jwt.RegisteredClaims) { r.Subject = "somebody.else" })),
			"account_not_found"},
		{"of a process", signed(jwt.SigningMethodHS256, key, claims(func(r *jwt.RegisteredClaims) { r.Subject = "process:enrollment" })),
			"token_invalid"},
		{"that is no token", "abc", "token_invalid"},
	} {
		t.Run(x.name, func(t *testing.T) {
			recordsNothing(t, func() {
				bad := c
				bad.token = x.token
				for range 2 { // what was refused once is not remembered as good
					bad.command(tr.entry(4)).refused(t, http.StatusUnauthorized, x.code)
				}
				bad.get("/api/v1/me").refused(t, http.StatusUnauthorized, x.code)
			})
		})
	}
	c.token = good
	if r := c.get("/api/v1/me"); r.StatusCode != http.StatusOK {
		t.Errorf("the good token is answered %d: %s", r.StatusCode, r.body)
	}
}

func TestAVerifiedTokenIsForgottenWhenItExpires(t *testing.T) {
	tokens, err := access.NewTokens([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	short, err := tokens.Sign("somebody", begin, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	long, err := tokens.Sign("somebody", begin, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	known, err := newVerifiedTokens(2)
	if err != nil {
		t.Fatal(err)
	}
	known.remember(short, access.Proof{User: "somebody"}, begin)
	known.remember(long, access.Proof{User: "somebody"}, begin)
	for _, x := range []struct {
		token string
		after time.Duration
		known bool
	}{{short, 0, true}, {short, 20 * time.Second, false}, {long, 50 * time.Second, true}, {long, trustVerified, false}} {
		if _, ok := known.lookUp(x.token, begin.Add(x.after)); ok != x.known {
			t.Errorf("after %s it is known: %v", x.after, ok)
		}
	}
	if _, ok := known.lookUp(short+"x", begin); ok {
		t.Error("another token is known")
	}
}
