package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"casebook/access"
)

// FuzzCommandsOverHTTP sends arbitrary bodies. The answer must have a described status, must not be a failure of the
// server, and every problem must be complete.
func FuzzCommandsOverHTTP(f *testing.F) {
	c := serve(f, nil)
	tr := newTrial(f)
	c = c.as(tr.self)
	entry, err := json.Marshal(tr.entry(4))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []struct{ path, body, media string }{
		{"SubmitDiary", string(entry), "application/json"},
		{"SubmitDiary", `{"patient":"` + string(tr.patient) + `","answers":{"worst":1e400}}`, ""},
		{"SubmitDiary", `{"capturedAt":"0000-01-01T00:00:00Z","answers":null}`, "application/json;charset=utf-8"},
		{"AskDiaryCorrection", `{"patient":"` + string(tr.patient) + `","window":"\u0000","answers":{"worst":null},"reason":"x"}`, ""},
		{"ScreenPatient", `{"study":"` + string(tr.study) + `","site":"01","screeningNumber":"S-9","on":"2026-02-30"}`, ""},
		{"AssignInstrument", `{"patient":"` + string(tr.patient) + `","from":"9999-12-31","until":"0001-01-01"}`, ""},
		{"CloseDiaryWindows", `{"patient":"` + string(tr.patient) + `","through":"2026-02-05T00:00:00Z"}`, ""},
		{"PublishProtocolVersion", `{"protocol":{"instruments":[{"scores":[{"bands":[{}]}]}]}}`, ""},
		{"GrantRole", `{"user":"x","grant":{"role":"admin"}}`, ""},
		{"batch", `{"commands":[{"command":"SubmitDiary","body":{}},7]}`, ""},
		{"..%2f..", `[]`, "text/plain"},
		{"SubmitDiary", "\xff\xfe", "application/json;charset"},
	} {
		f.Add(seed.path, seed.body, seed.media)
	}
	f.Fuzz(func(t *testing.T, name, body, media string) {
		path := "/api/v1/commands/x"
		if name == "batch" {
			path = "/api/v1/commands:batch"
		}
		request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		if name != "batch" {
			request.URL.Path = "/api/v1/commands/" + name
		}
		request.Header.Set("Authorization", "Bearer "+c.token)
		request.Header["Content-Type"] = []string{media}
		recorder := httptest.NewRecorder()
		c.api.Handler().ServeHTTP(recorder, request)
		switch {
		case recorder.Code == http.StatusOK:
		case recorder.Code >= 500 || recorder.Code < 400:
			t.Errorf("%s %q is answered %d: %s", name, body, recorder.Code, recorder.Body)
		default:
			var p Problem
			if err := json.Unmarshal(recorder.Body.Bytes(), &p); err != nil || p.Code == "" || p.Detail == "" || p.Status != recorder.Code {
				t.Errorf("%s %q is answered with the problem %s", name, body, recorder.Body)
			}
		}
	})
}

// BenchmarkRefusedDiary is the path of a request without the stores: routing, token, body, decoding, refusal.
func BenchmarkRefusedDiary(b *testing.B) {
	c := serve(b, nil)
	tr := newTrial(b)
	benchmarkPosts(b, c.as(tr.self), `{"patient":"`+string(tr.patient)+`","instrument":7}`, http.StatusBadRequest)
}

// BenchmarkDiaryOfADecidedWindow is everything but the append: the decision finds that the window has its entry.
func BenchmarkDiaryOfADecidedWindow(b *testing.B) {
	c := serve(b, nil)
	tr := newTrial(b)
	body, err := json.Marshal(tr.entry(4))
	if err != nil {
		b.Fatal(err)
	}
	c.as(tr.self).accepted(tr.entry(4))
	benchmarkPosts(b, c.as(tr.self), string(body), http.StatusConflict)
}

func benchmarkPosts(b *testing.B, c client, body string, status int) {
	b.Helper()
	b.ReportAllocs()
	handler := c.api.Handler()
	for b.Loop() {
		request := httptest.NewRequest(http.MethodPost, submit, strings.NewReader(body))
		request.Header.Set("Authorization", "Bearer "+c.token)
		request.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if recorder.Code != status {
			b.Fatalf("answered %d: %s", recorder.Code, recorder.Body)
		}
	}
}

func BenchmarkVerifiedToken(b *testing.B) {
	known, err := newVerifiedTokens(10)
	if err != nil {
		b.Fatal(err)
	}
	c := serve(b, nil).as("somebody")
	begin := time.Now()
	known.remember(c.token, access.Proof{User: "somebody"}, begin)
	for b.Loop() {
		if _, ok := known.lookUp(c.token, begin); !ok {
			b.Fatal("forgotten")
		}
	}
}
