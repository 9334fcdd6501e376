package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/admission"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/user"
	"casebook/embedded/node"
	"casebook/eventlog"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestHealthAndReadiness(t *testing.T) {
	c := serve(t, nil)
	health := read[Health](t, c.get("/healthz"))
	if health.Status != "ok" || health.Build != "test" {
		t.Errorf("health is %+v", health)
	}
	r := c.get("/readyz")
	ready := read[Readiness](t, r)
	if r.StatusCode != http.StatusOK || !ready.Ready {
		t.Errorf("readiness is %d %s", r.StatusCode, r.body)
	}
	names, needed := namesOf(ready.Checks, func(Check) bool { return true }), namesOf(ready.Checks, func(c Check) bool { return c.Needed })
	if want := []string{"event-log", "commands"}; !slices.Equal(needed, want) {
		t.Errorf("commands need %q", needed)
	}
	for _, v := range append([]string{"projections"}, viewChecks()...) {
		if !slices.Contains(names, v) {
			t.Errorf("there is no check %s in %q", v, names)
		}
	}
	if r := c.send(http.MethodHead, "/healthz", nil); r.StatusCode != http.StatusOK || len(r.body) > 0 {
		t.Errorf("HEAD is answered %d with %d bytes", r.StatusCode, len(r.body))
	}
	lost := serve(t, func(o *options) {
		o.Ready = func(context.Context) error { return errors.New("the log at 10.0.0.1 is gone") }
	})
	r = lost.get("/readyz")
	if ready = read[Readiness](t, r); r.StatusCode != http.StatusServiceUnavailable || ready.Ready ||
		strings.Contains(string(r.body), "10.0.0.1") {
		t.Errorf("without the log readiness is %d %s", r.StatusCode, r.body)
	}
	if failed := namesOf(ready.Checks, func(c Check) bool { return !c.OK }); !slices.Equal(failed, names) {
		t.Errorf("without the log only %q have failed", failed)
	}
}

// namesOf returns the names of some checks.
func namesOf(checks []Check, some func(Check) bool) (names []string) {
	for _, c := range checks {
		if some(c) {
			names = append(names, c.Name)
		}
	}
	return names
}

// viewChecks are the names of the checks of the views.
func viewChecks() (names []string) {
	for _, v := range contexts.Views() {
		names = append(names, "view "+v.Name)
	}
	return names
}

// TestElectionTakesNoRequestsAway: while the event store elects a leader, for which requests wait, and just after it, readiness names
// what fails and stays. After a time that no election takes it does not.
func TestElectionTakesNoRequestsAway(t *testing.T) {
	for name, leaderless := range map[string]struct {
		since, until time.Duration // ago
		want         int
	}{
		"an election":              {since: 5 * time.Second, until: -1, want: http.StatusOK},
		"just after an election":   {since: 5 * time.Second, until: time.Second, want: http.StatusOK},
		"long after an election":   {since: time.Minute, until: 55 * time.Second, want: http.StatusServiceUnavailable},
		"an outage":                {since: 11 * time.Second, until: -1, want: http.StatusServiceUnavailable},
		"just after a long outage": {since: time.Minute, until: time.Second, want: http.StatusServiceUnavailable},
	} {
		c := serve(t, func(o *options) {
			o.Ready = func(context.Context) error { return errors.New("no node leads") }
			o.Leaderless = func() (since, until time.Time) {
				now := time.Now()
				if leaderless.until >= 0 {
					until = now.Add(-leaderless.until)
				}
				return now.Add(-leaderless.since), until
			}
		})
		r := c.get("/readyz")
		if ready := read[Readiness](t, r); r.StatusCode != leaderless.want || ready.Checks[0].OK {
			t.Errorf("in %s, readiness is %d %s", name, r.StatusCode, r.body)
		}
	}
}

// TestReadinessNamesThePartsAtFault: a process manager that waits, a view that has stopped, views that nobody keeps and a store of
// views that does not answer are named, in metrics too, and take no requests away: diaries are taken.
func TestReadinessNamesThePartsAtFault(t *testing.T) {
	database := "casebook-" + uuid.NewString()[:8]
	open := func() *readmodels.Store {
		s, err := readmodels.Connect(t.Context(), the.mongoURL, database, contexts.Views())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	store, served := open(), open()
	t.Cleanup(func() {
		if err := errors.Join(store.DropAll(context.Background()), store.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	c := serve(t, func(o *options) {
		o.engine.Store = served
		o.changes = nil
		o.Parts = []Part{{Name: "process enrollment", Check: func(context.Context) error { return errors.New("at 10.0.0.1 nobody answers") }},
			{Name: "process safety", Check: func(context.Context) error { return nil }}}
		o.Waiting = func() Waiting { return Waiting{StuckProcesses: 1, ParkedMessages: 2} }
	})
	view := patientviews.PatientLists
	lease, err := store.TakeLease(t.Context(), readmodels.Lease{View: view.Name}, "machine/1/x", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.SaveCheckpoint(t.Context(), readmodels.Checkpoint{Collection: view.Collection(), View: view.Name, Version: view.Version,
		State: readmodels.Stopped, Reason: "an event of 10.0.0.1", At: time.Now(), Token: lease.Token}); err != nil {
		t.Fatal(err)
	}
	r := c.get("/readyz")
	ready := read[Readiness](t, r)
	if r.StatusCode != http.StatusOK || !ready.Ready || strings.Contains(string(r.body), "10.0.0.1") {
		t.Errorf("readiness is %d %s", r.StatusCode, r.body)
	}
	if ready.Waiting == nil || *ready.Waiting != (Waiting{StuckProcesses: 1, ParkedMessages: 2}) {
		t.Errorf("what waits for people is %+v", ready.Waiting)
	}
	want := append([]string{"process enrollment", "projections"}, viewChecks()...)
	if failed := namesOf(ready.Checks, func(c Check) bool { return !c.OK }); !slices.Equal(failed, want) {
		t.Errorf("%q have failed", failed)
	}
	for _, check := range ready.Checks {
		is, of := strings.CutPrefix(check.Name, "view ")
		if state := map[bool]readmodels.State{true: readmodels.Stopped, false: readmodels.NotKept}[is == view.Name]; of && check.State != state {
			t.Errorf("%s is %q", check.Name, check.State)
		}
	}
	if err := served.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r = c.get("/readyz")
	want = append([]string{"views", "process enrollment", "projections"}, viewChecks()...)
	if failed := namesOf(read[Readiness](t, r).Checks, func(c Check) bool { return !c.OK }); r.StatusCode != http.StatusOK ||
		!slices.Equal(failed, want) {
		t.Errorf("without the store of the views readiness is %d, and %q have failed", r.StatusCode, failed)
	}
	text := string(listen(t, c.api, c.api.Admin()).get("/metrics").body)
	for _, line := range []string{`casebook_check_failed{check="views",needed="false"} 1`,
		`casebook_check_failed{check="commands",needed="true"} 0`, `casebook_check_failed{check="process enrollment",needed="false"} 1`} {
		if !strings.Contains(text, line) {
			t.Errorf("the metrics do not say %s", line)
		}
	}
	tr := newTrial(t)
	c.as(tr.self).accepted(tr.entry(4))
	if r := c.as(tr.manager).get("/api/v1/studies/" + string(tr.study) + "/patients"); r.StatusCode < http.StatusInternalServerError {
		t.Errorf("a query is answered %d: %s", r.StatusCode, r.body)
	}
}

func TestTheAdminSideHasMetricsAndProfiles(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	c.as(tr.self).accepted(tr.entry(4))
	c.as(tr.crc).get("/api/v1/patients/"+string(tr.other)).refused(t, http.StatusForbidden, "not_allowed")
	c.get("/nowhere/"+string(tr.patient)).refused(t, http.StatusNotFound, "not_found")
	admin := listen(t, c.api, c.api.Admin())
	text := string(admin.get("/metrics").body)
	for _, line := range []string{
		`casebook_commands_total{command="SubmitDiary",outcome="accepted"} 1`,
		`casebook_http_problems_total{code="not_allowed"} 1`,
		`casebook_http_request_duration_seconds_count{method="POST",route="/api/v1/commands/{command}",status="2xx"} 1`,
		`casebook_http_request_duration_seconds_count{method="GET",route="(none)",status="4xx"} 1`,
		`casebook_http_requests_in_flight 0`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("the metrics do not say %s:\n%s", line, text)
		}
	}
	if strings.Contains(text, string(tr.study)) {
		t.Error("the metrics name the study or a patient")
	}
	for _, path := range []string{"/healthz", "/readyz", "/debug/pprof/", "/debug/pprof/cmdline"} {
		if r := admin.get(path); r.StatusCode != http.StatusOK {
			t.Errorf("%s is answered %d", path, r.StatusCode)
		}
	}
	admin.get("/api/v1/me").refused(t, http.StatusNotFound, "not_found")
	for _, path := range []string{"/metrics", "/debug/pprof/"} {
		c.get(path).refused(t, http.StatusNotFound, "not_found")
	}
}

func TestTheDocsNeedNothingFromElsewhere(t *testing.T) {
	c := serve(t, nil)
	for _, path := range []string{"/", "/docs"} {
		if r := c.get(path); r.StatusCode != http.StatusFound || r.Header.Get("Location") != "/docs/" {
			t.Errorf("%s is answered %d, Location %q", path, r.StatusCode, r.Header.Get("Location"))
		}
	}
	page := c.get("/docs/")
	policy := page.Header.Get("Content-Security-Policy")
	if page.StatusCode != http.StatusOK || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") ||
		!strings.Contains(policy, "sha256-") || strings.Contains(policy, "script-src 'self' 'unsafe") {
		t.Errorf("the page is answered %d with %v", page.StatusCode, page.Header)
	}
	if bytes.Contains(page.body, []byte(`src="http`)) || bytes.Contains(page.body, []byte(`href="http`)) {
		t.Error("the page loads something from elsewhere")
	}
	for _, asset := range []string{"swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js"} {
		if r := c.get("/docs/" + asset); r.StatusCode != http.StatusOK || len(r.body) < 1000 {
			t.Errorf("%s is answered %d with %d bytes", asset, r.StatusCode, len(r.body))
		}
	}
	c.get("/docs/nothing.js").refused(t, http.StatusNotFound, "not_found")
	description := c.get("/openapi.json")
	if r := c.post("/openapi.json", ""); r.refused(t, http.StatusMethodNotAllowed, "method_not_allowed").Code != "" &&
		!strings.Contains(r.Header.Get("Allow"), "GET") {
		t.Errorf("a refused method is told to use %q", r.Header.Get("Allow"))
	}
	if !json.Valid(description.body) || description.Header.Get("Content-Type") != "application/json" {
		t.Errorf("the description is %s", description.Header.Get("Content-Type"))
	}
	if r := c.get("/openapi.json", "If-None-Match", description.Header.Get("Etag")); r.StatusCode != http.StatusNotModified ||
		len(r.body) > 0 {
		t.Errorf("the same description is answered %d", r.StatusCode)
	}
}

// lines is a log that tests read.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestTheLogNamesNoPatientAndNoSecret(t *testing.T) {
	var log lines
	c := serve(t, func(o *options) { o.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
	tr := newTrial(t)
	r := c.as(tr.self).command(tr.entry(4))
	c.as(tr.self).get("/api/v1/patients/" + string(tr.patient))
	c.post("/api/v1/sign-in", `{"user":"nobody.at.all","password":"a secret word"}`)
	text := log.String()
	for _, word := range []string{string(tr.patient), "a secret word", c.as(tr.self).token, "worst"} {
		if strings.Contains(text, word) {
			t.Errorf("the log holds %q:\n%s", word, text)
		}
	}
	var first struct{ Msg, Method, Route, Action, User, TraceID string }
	line, _, _ := strings.Cut(text, "\n")
	if err := json.Unmarshal([]byte(line), &first); err != nil {
		t.Fatal(err)
	}
	if first.Msg != "request" || first.Method != http.MethodPost || first.Route != "/api/v1/commands/{command}" ||
		first.Action != "SubmitDiary" ||
		first.User != string(tr.self) || first.TraceID != r.Header.Get("Trace-Id") {
		t.Errorf("the line is %s", line)
	}
}

// broken serves one route whose work goes wrong, through the path that all requests take.
func broken(t *testing.T, log io.Writer, work func(*call) error) (*API, client) {
	t.Helper()
	c := serve(t, func(o *options) { o.Logger = slog.New(slog.NewJSONHandler(log, nil)) })
	e := echo.New()
	c.api.route(e, http.MethodGet, "/broken", route{action: "Broken", timeout: time.Minute}, func(c *call) error {
		if err := c.enter(admission.Queries); err != nil {
			return err
		}
		return work(c)
	})
	return c.api, listen(t, c.api, e)
}

func TestFailuresTellTheirDetailToTheLogAlone(t *testing.T) {
	for name, work := range map[string]func(*call) error{
		"a failure": func(*call) error { return errors.New("cannot open /secret/path") },
		"a panic":   func(*call) error { panic("cannot open /secret/path") },
	} {
		t.Run(name, func(t *testing.T) {
			var log lines
			a, c := broken(t, &log, work)
			r := c.get("/broken")
			p := r.refused(t, http.StatusInternalServerError, "failure")
			if strings.Contains(string(r.body), "secret") {
				t.Errorf("the caller is told %s", r.body)
			}
			if text := log.String(); !strings.Contains(text, "/secret/path") || !strings.Contains(text, p.TraceID) {
				t.Errorf("the log says %s", text)
			}
			if n := a.admission.Stats(admission.Queries).InFlight; n != 0 {
				t.Error("the place was not given back")
			}
		})
	}
}

// one is a class that serves one request at a time, while one more waits.
var one = admission.Bounds{Least: 1, First: 1, Most: 1, Queue: 1, Wait: time.Minute}

// fill takes the places of a class, and lets as many requests wait as may, until the returned function is called.
func fill(t *testing.T, a *API, class admission.Class) (free func()) {
	t.Helper()
	served, err := a.admission.Enter(t.Context(), class, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if p, err := a.admission.Enter(ctx, class, ""); err == nil {
			p.Leave()
		}
	}()
	for a.admission.Stats(class).Waiting == 0 {
		time.Sleep(time.Millisecond)
	}
	return func() { cancel(); <-gone; served.Leave() }
}

func TestAFullServerTurnsAwayAndStaysHealthy(t *testing.T) {
	c := serve(t, func(o *options) {
		o.Limits.BatchesInFlight, o.Limits.Classes = 1, map[admission.Class]admission.Bounds{admission.Diaries: one}
	})
	tr := newTrial(t)
	free := fill(t, c.api, admission.Diaries)
	c.as(tr.self).command(tr.entry(4)).refused(t, http.StatusServiceUnavailable, "overloaded")
	if r := c.get("/healthz"); r.StatusCode != http.StatusOK {
		t.Errorf("health is answered %d", r.StatusCode)
	}
	free()
	c.api.batches.Take("somebody")
	c.as(tr.self).post("/api/v1/commands:batch", `{"commands":[]}`).refused(t, http.StatusServiceUnavailable, "overloaded")
	c.as(tr.self).accepted(tr.entry(4))
}

// TestLessImportantRequestsAreShedFirst: while diaries wait, queries are refused and unblinding is served. A full queue of
// queries refuses queries alone.
func TestLessImportantRequestsAreShedFirst(t *testing.T) {
	c := serve(t, func(o *options) {
		o.Limits.Classes = map[admission.Class]admission.Bounds{admission.Diaries: one, admission.Queries: one}
	})
	tr := newTrial(t)
	free := fill(t, c.api, admission.Queries)
	c.as(tr.crc).get("/api/v1/me").refused(t, http.StatusServiceUnavailable, "overloaded")
	c.as(tr.self).accepted(tr.entry(4)) // its capacity is its own
	free()
	free = fill(t, c.api, admission.Diaries)
	defer free()
	c.as(tr.crc).get("/api/v1/me").refused(t, http.StatusServiceUnavailable, "overloaded")
	c.as(tr.crc).get("/api/v1/events").refused(t, http.StatusServiceUnavailable, "overloaded")
	if c.api.admission.Sheds(admission.Unblinding) {
		t.Error("unblinding is refused because of diaries")
	}
}

// TestSlowBodiesHoldNobodyUp: however many bodies of one user, or of strangers, do not come, everybody else is served, those of
// the same user and of the same address too.
func TestSlowBodiesHoldNobodyUp(t *testing.T) {
	c := serve(t, nil)
	tr, p := newTrial(t), newPerson(t, c)
	const slow = 100 // more than one user or network of strangers may send at a time
	for path, token := range map[string]string{submit: c.as(tr.self).token, "/api/v1/sign-in": ""} {
		for range slow {
			connection, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = connection.Close() }()
			if _, err := fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{", path,
				token); err != nil {
				t.Fatal(err)
			}
		}
	}
	for { // until all have begun: those beyond the bounds are ended
		count, _, cut := c.api.bodies.figures()
		if int64(count)+cut == 2*slow {
			if count > bodyBounds.count[ofUser]*2 {
				t.Errorf("%d bodies are read at a time", count)
			}
			break
		}
		time.Sleep(time.Millisecond)
	}
	for _, class := range admission.Classes() {
		if s := c.api.admission.Stats(class); s.InFlight != 0 {
			t.Errorf("%d slow bodies hold places of %s", s.InFlight, class)
		}
	}
	c.as(tr.self).accepted(tr.entry(4))
	p.signIn("")
	if r := c.as(tr.crc).get("/api/v1/me"); r.StatusCode != http.StatusOK {
		t.Errorf("another request is answered %d: %s", r.StatusCode, r.body)
	}
}

func TestARequestThatTakesTooLongIsEnded(t *testing.T) {
	c := serve(t, func(o *options) { o.Limits.RequestTimeout = time.Nanosecond })
	tr := newTrial(t)
	c.as(tr.self).command(tr.entry(4)).refused(t, http.StatusGatewayTimeout, "timeout")
}

func TestABodyThatDoesNotComeIsNotWaitedForLong(t *testing.T) {
	c := serve(t, func(o *options) { o.Limits.BodyTimeout = 100 * time.Millisecond })
	c = c.as(newTrial(t).crc)
	connection, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	if _, err := fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{", submit,
		c.token); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	reply{Response: response, body: text}.refused(t, http.StatusRequestTimeout, "body_too_slow")
}

func TestAStoreThatCannotBeReachedIsToldApart(t *testing.T) {
	for name, x := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"the log's disk is full": {fmt.Errorf("append: %w", status.Error(codes.ResourceExhausted, "the disk is almost full")), 503,
			"store_full"},
		"the log, while appending": {fmt.Errorf("append: %w", status.Error(codes.Unavailable, "connection refused at 10.0.0.1")), 503,
			"store_unreachable"},
		"the log's answer did not come": {fmt.Errorf("no answer in time: %w", context.DeadlineExceeded), 503, "store_unreachable"},
		"the stream broke":              {fmt.Errorf("the append stream broke: %w", io.EOF), 503, "store_unreachable"},
		"the views":                     {fmt.Errorf("find: %w", mongo.CommandError{Labels: []string{"NetworkError"}}), 503, "store_unreachable"},
		"the views were too slow": {fmt.Errorf("find: %w", mongo.CommandError{Code: 50, Name: "MaxTimeMSExpired"}), 503,
			"store_unreachable"},
		"something else": {fmt.Errorf("decode: %w", status.Error(codes.DataLoss, "10.0.0.1")), 500, "failure"},
	} {
		p := problemOf(t.Context(), x.err)
		if gone := problemOf(ended(t), x.err); x.status == 503 && gone.Status != statusClientGone {
			t.Errorf("%s: without its client, %v is told as %+v", name, x.err, gone)
		}
		if p.Status != x.status || p.Code != x.code || (p.retryAfter > 0) != (x.status == 503) || strings.Contains(p.Detail, "10.0.0.1") {
			t.Errorf("%s: %v is told as %+v", name, x.err, p)
		}
	}
}

// ended is the context of a request whose client has gone.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestALogThatIsGoneIsNoFailureOfOurs(t *testing.T) {
	n, err := node.Open(t.Context(), node.Options{Dir: filepath.Join(t.TempDir(), "node"), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: n.ConnectionString(), Registry: contexts.Registry(),
		Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	c := serve(t, func(o *options) {
		o.Handler = commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands()})
	})
	who := domain.UserID("operator")
	body, err := json.Marshal(user.RegisterUser{OfUser: domain.ForUser(who), Name: "Operator"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.api.handler.Do(t.Context(), commands.Request{Name: "RegisterUser", Body: body, Principal: processPrincipal}); err != nil {
		t.Fatal(err)
	}
	if r := c.as(who).get("/api/v1/me"); r.StatusCode != http.StatusOK {
		t.Fatalf("answered %d: %s", r.StatusCode, r.body)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	c.as(who).command(user.ChangePassword{OfUser: domain.ForUser(who), Password: "a long pass phrase"}).refused(t,
		http.StatusServiceUnavailable, "rights_not_known")
}

func TestRequestsUnderWayAreFinishedWhenTheServerStops(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		if r.Context().Err() != nil {
			t.Error("the request was cut off")
		}
		_, _ = io.WriteString(w, "done")
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, listener, handler) }()
	answered := make(chan string, 1)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	go func() {
		r, err := (&http.Client{Transport: transport}).Get("http://" + listener.Addr().String())
		if err != nil {
			answered <- err.Error()
			return
		}
		defer func() { _ = r.Body.Close() }()
		text, _ := io.ReadAll(r.Body)
		answered <- string(text)
	}()
	<-entered
	stop()
	close(leave)
	if got := <-answered; got != "done" {
		t.Errorf("the request got %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestOnlyTrustedProxiesAreBelieved(t *testing.T) {
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.RemoteAddr = "10.1.2.3:4567"
	request.Header.Set("X-Forwarded-For", "198.51.100.7")
	for proxies, want := range map[string]string{"": "10.1.2.3", "10.0.0.0/8": "198.51.100.7", "192.0.2.0/24": "10.1.2.3"} {
		var trusted []netip.Prefix
		if proxies != "" {
			trusted = append(trusted, netip.MustParsePrefix(proxies))
		}
		if got := clientAddress(trusted)(request); got != want {
			t.Errorf("with the proxies %q the address is %s, want %s", proxies, got, want)
		}
	}
}
