package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"casebook/commands"
	"casebook/domain/diary"
)

// fakeServer answers requests, and checks that each diary is a valid command.
func fakeServer(t *testing.T, answer func(n int64, w http.ResponseWriter)) *httptest.Server {
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := new(bytes.Buffer)
		if _, err := body.ReadFrom(r.Body); err != nil {
			t.Error(err)
		}
		if strings.HasSuffix(r.URL.Path, "/SubmitDiary") {
			var command diary.SubmitDiary
			if err := commands.Decode(body.Bytes(), &command); err != nil {
				t.Errorf("%s: %v", body, err)
			}
			if len(command.Answers) != 5 || command.Patient == "" || r.Header.Get("Authorization") != "Bearer t" {
				t.Errorf("sent %+v", command)
			}
		}
		answer(n.Add(1), w)
	}))
	t.Cleanup(s.Close)
	return s
}

func cohortAt(url string, phones int) *cohort {
	c := &cohort{lag: newLagSampler(), api: newClient(url), study: "L1", first: "2020-01-01", phones: make([]phone, phones)}
	for i := range c.phones {
		c.phones[i].id, c.phones[i].bearer = "L1.P1", "Bearer t"
	}
	return c
}

func TestEveryRequestFillsAnotherWindow(t *testing.T) {
	s := fakeServer(t, func(n int64, w http.ResponseWriter) {
		_, _ = w.Write([]byte(`{"stream":"x","position":` + strconv.FormatInt(n, 10) + `}`))
	})
	c := cohortAt(s.URL, 4)
	m, err := measure(t.Context(), c, 2, 100*time.Millisecond, 0)
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, p := range c.phones {
		sent += p.next
	}
	if m.Requests == 0 || int64(sent) != m.Requests {
		t.Errorf("%d requests were measured and %d windows filled", m.Requests, sent)
	}
	if m.P50 == 0 || m.P50 > m.P99 || m.P99 > m.Max {
		t.Errorf("quantiles %v, %v, %v", m.P50, m.P99, m.Max)
	}
}

func TestRefusedRequestEndsTheMeasurement(t *testing.T) {
	s := fakeServer(t, func(n int64, w http.ResponseWriter) {
		if n > 3 {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte(`{"code":"diary_too_late","detail":"no"}`))
			return
		}
		_, _ = w.Write([]byte(`{"position":7}`))
	})
	_, err := measure(t.Context(), cohortAt(s.URL, 1), 1, time.Minute, 0)
	var p *problem
	if !errors.As(err, &p) || p.Code != "diary_too_late" {
		t.Errorf("got %v", err)
	}
}

func TestMoreConnectionsThanPatientsAreRefused(t *testing.T) {
	if _, err := measure(context.Background(), cohortAt("http://127.0.0.1:1", 2), 3, time.Second, 0); err == nil {
		t.Error("two patients shared three connections")
	}
}

func TestPositionOf(t *testing.T) {
	for body, want := range map[string]uint64{`{"a":1,"position":42,"b":2}`: 42, `{}`: 0, `{"position":`: 0, `{"position":x}`: 0} {
		if got := positionOf([]byte(body)); got != want {
			t.Errorf("%s has the position %d, want %d", body, got, want)
		}
	}
}

func TestReportShowsMedians(t *testing.T) {
	r := Report{Rows: []Row{{
		Connections: 8, Casebook: []Measurement{{PerSecond: 30}, {PerSecond: 10}, {PerSecond: 20}},
		Rival: []Measurement{{PerSecond: 10}, {PerSecond: 40}, {PerSecond: 5}},
	}}}
	if ratio := r.Rows[0].Ratio(); ratio != 2 {
		t.Errorf("the ratio is %v", ratio)
	}
	var out bytes.Buffer
	if err := r.WriteTable(&out); err != nil || !strings.Contains(out.String(), "2.00") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestMemoryOfNoProcessIsZero(t *testing.T) {
	if now, _ := MemoryOf(0); now != 0 {
		t.Errorf("no process has %d bytes", now)
	}
}

// TestRateIsKept checks that all connections together send no more requests than the rate allows, and that some diaries
// are sampled in the view.
func TestRateIsKept(t *testing.T) {
	var queries atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && queries.Add(1) == 1 { // the first query is refused, and has to be sent again
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"code":"view_behind"}`))
			return
		}
		_, _ = w.Write([]byte(`{"position":7}`))
	}))
	t.Cleanup(s.Close)
	c := cohortAt(s.URL, 4)
	m, err := measure(t.Context(), c, 4, 300*time.Millisecond, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if m.Requests == 0 || m.Requests > 304 {
		t.Errorf("%d requests in 0.3 s at 1,000 per second", m.Requests)
	}
	p50, p99, err := c.lag.result()
	if err != nil || m.Requests > 4*sampleEvery && (queries.Load() < 2 || p50 == 0 || p99 < p50) {
		t.Errorf("%d queries, quantiles %v and %v, %v", queries.Load(), p50, p99, err)
	}
}
