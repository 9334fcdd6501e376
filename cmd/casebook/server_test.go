package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/readmodels"
	userviews "casebook/readmodels/user"

	"golang.org/x/sync/errgroup"
)

// installation is a server with all roles, on embedded stores in a directory and on free ports.
type installation struct {
	*server
	t   testing.TB
	url string
	dir string
}

func flagsFor(dir string) serverFlags {
	return serverFlags{
		Stores: storeFlags{Data: dir, MongoDatabase: "casebook", NodeListen: "127.0.0.1:0", MongoListen: "127.0.0.1:0"},
		HTTP:   "127.0.0.1:0", Admin: "127.0.0.1:0", Roles: []string{"api", "projections", "sagas"}, Notify: notifyFlags{Broker: "inprocess:"},
	}
}

func install(t testing.TB) installation {
	t.Helper()
	return startIn(t, t.TempDir())
}

func startIn(t testing.TB, dir string) installation {
	t.Helper()
	return startBy(t, dir, clock{})
}

// startBy is startIn for a server with a clock of the test.
func startBy(t testing.TB, dir string, by clock) installation {
	t.Helper()
	return startWithFlags(t, flagsFor(dir), by)
}

// startWithFlags is startBy for a server with flags of the test.
func startWithFlags(t testing.TB, flags serverFlags, by clock) installation {
	t.Helper()
	dir := flags.Stores.Data
	logFile, err := os.OpenFile(filepath.Join(dir, "casebook.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s, err := startWith(context.Background(), flags, by, slog.New(slog.NewJSONHandler(logFile, nil)))
	if err != nil {
		t.Fatal(err)
	}
	in := installation{server: s, t: t, url: "http://" + s.httpAddress, dir: dir}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			if text, err := os.ReadFile(logFile.Name()); err == nil {
				t.Logf("the end of the server's log:\n%s", text[max(0, len(text)-4000):])
			}
		}
		_ = logFile.Close()
	})
	return in
}

// account registers a user with grants, as two administrators, and returns the user's token.
func (in installation) account(id domain.UserID, grants ...user.Grant) string {
	in.t.Helper()
	of := domain.ForUser(id)
	in.send(administrator("first.admin"), user.RegisterUser{OfUser: of, Name: string(id)})
	in.send(administrator("second.admin"), user.ConfirmAccount{OfUser: of})
	for _, g := range grants {
		first := administrator("first.admin")
		in.send(first, user.GrantRole{OfUser: of, Grant: g})
		if g.Role.NeedsSecond(first.User) {
			in.send(administrator("second.admin"), user.ConfirmRole{OfUser: of, Grant: g})
		}
	}
	token, err := in.tokens.Sign(id, time.Now(), time.Hour)
	if err != nil {
		in.t.Fatal(err)
	}
	return token
}

// send sends a command that has to be accepted.
func (in installation) send(who access.Principal, command any) {
	in.t.Helper()
	if err := sendAs(context.Background(), in.handler, who, command, ""); err != nil {
		in.t.Fatalf("%T: %v", command, err)
	}
}

func administrator(id domain.UserID) access.Principal {
	return access.Principal{User: id, Grants: []user.Grant{{Role: user.Admin}}}
}

// answered holds the fields of a command's answer that the tests need.
type answered struct {
	Stream   string        `json:"stream"`
	Revision int64         `json:"revision"`
	Position uint64        `json:"position"`
	Held     commands.Held `json:"held"`
	Events   []struct {
		Type string `json:"type"`
	} `json:"events"`
}

// command sends a command and returns the status, the answer and the body.
func (in installation) command(token, key string, command any) (int, answered, string) {
	in.t.Helper()
	body, err := json.Marshal(command)
	if err != nil {
		in.t.Fatal(err)
	}
	path := "/api/v1/commands/" + commandName(command)
	request, err := http.NewRequest(http.MethodPost, in.url+path, bytes.NewReader(body))
	if err != nil {
		in.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	var a answered
	status, text := in.do(request, token)
	if status == http.StatusOK {
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			in.t.Fatal(err)
		}
	}
	return status, a, text
}

// must sends a command that has to be accepted.
func (in installation) must(token string, command any) answered {
	in.t.Helper()
	status, a, text := in.command(token, "", command)
	if status != http.StatusOK {
		in.t.Fatalf("%T: %d %s", command, status, text)
	}
	return a
}

// query sends a query, which waits for a position unless it is 0, and decodes the answer.
func (in installation) query(token, path string, position uint64, into any) {
	in.t.Helper()
	request, err := http.NewRequest(http.MethodGet, in.url+path, nil)
	if err != nil {
		in.t.Fatal(err)
	}
	if position > 0 {
		request.Header.Set("Casebook-Position", strconv.FormatUint(position, 10))
	}
	status, text := in.do(request, token)
	for begun := time.Now(); strings.Contains(text, `"view_building"`) && time.Since(begun) < time.Minute; {
		time.Sleep(10 * time.Millisecond) // the server has only just started
		status, text = in.do(request, token)
	}
	if status != http.StatusOK {
		in.t.Fatalf("%s: %d %s", path, status, text)
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		in.t.Fatal(err)
	}
}

func (in installation) do(request *http.Request, token string) (int, string) {
	in.t.Helper()
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		in.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		in.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// shared returns a path in the folder of public data, which is not part of the repository. It skips the test if the
// data are missing.
func shared(t testing.TB, path string) string {
	t.Helper()
	full := filepath.Join("..", "..", "..", "shared", "data", path)
	if _, err := os.Stat(full); err != nil {
		t.Skipf("the public data are missing: %v", err)
	}
	return full
}

func TestPortInUseIsReportedWithItsFlag(t *testing.T) {
	in := install(t)
	for flag, change := range map[string]func(*serverFlags){
		"--http":         func(f *serverFlags) { f.HTTP = in.httpAddress },
		"--admin":        func(f *serverFlags) { f.Admin = in.adminAddress },
		"--node-listen":  func(f *serverFlags) { f.Stores.NodeListen = in.stores.node.Addr() },
		"--mongo-listen": func(f *serverFlags) { f.Stores.MongoListen = in.stores.mongo.Addr() },
	} {
		f := flagsFor(t.TempDir())
		change(&f)
		if s, err := start(context.Background(), f, slog.New(slog.DiscardHandler)); err == nil {
			_ = s.close()
			t.Errorf("%s: the server started on a port that is in use", flag)
		} else if !bytes.Contains([]byte(err.Error()), []byte(flag)) {
			t.Errorf("the error does not name %s: %v", flag, err)
		}
	}
}

func TestHealthAndMetrics(t *testing.T) {
	in := install(t)
	for _, address := range []string{in.url + "/healthz", in.url + "/readyz", in.url + "/openapi.json", in.url + "/docs",
		"http://" + in.adminAddress + "/metrics", "http://" + in.adminAddress + "/debug/pprof/"} {
		request, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		var status int
		for range 100 { // it may take a moment until the server is ready
			if status, _ = in.do(request, ""); status == http.StatusOK {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if status != http.StatusOK {
			t.Errorf("%s answers %d", address, status)
		}
	}
	request, err := http.NewRequest(http.MethodGet, "http://"+in.adminAddress+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, text := in.do(request, "")
	for begun := time.Now(); !strings.Contains(text, "\ncasebook_projection_position") && time.Since(begun) < 10*time.Second; {
		time.Sleep(20 * time.Millisecond) // a view has this metric from its first batch on
		_, text = in.do(request, "")
	}
	if strings.Contains(text, "\ncasebook_node_sync_seconds_count 0\n") {
		t.Error("commits were made, and none is in casebook_node_sync_seconds")
	}
	request, err = http.NewRequest(http.MethodGet, "http://"+in.adminAddress+"/debug/pprof/block?debug=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, blocked := in.do(request, ""); !strings.Contains(blocked, " @ ") {
		t.Errorf("nothing is sampled of what waits: %s", blocked)
	}
	for _, name := range []string{"casebook_node_sync_seconds_count", "casebook_mongo_sync_seconds_count",
		"casebook_node_commits_total", "casebook_mongo_documents", "casebook_projection_position", "go_goroutines"} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("the metrics lack %s", name)
		}
	}
}

func TestHelpAndVersionArePrinted(t *testing.T) {
	for _, args := range [][]string{
		{"--help"}, {"serve", "--help"}, {"demo", "--help"}, {"users", "add", "--help"}, {"projections", "list", "--help"}, {"version"},
	} {
		var out, errOut bytes.Buffer
		if code := run(context.Background(), args, &out, &errOut); code != exitOK || out.Len() == 0 {
			t.Errorf("%v ends with %d: %s%s", args, code, out.String(), errOut.String())
		}
	}
	var out, errOut bytes.Buffer
	if code := run(context.Background(), []string{"nonsense"}, &out, &errOut); code != exitUsage || errOut.Len() == 0 {
		t.Errorf("an unknown command ends with %d: %s", code, errOut.String())
	}
}

// lockedBuffer is a buffer for the output of a command that runs in another goroutine.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// lastRecorded returns the position of the last event of the trial record. Behind it the log may hold events of the event
// store's own, which no view is told of.
func lastRecorded(t testing.TB, log *eventlog.Log) (position uint64) {
	t.Helper()
	err := log.FollowToEnd(t.Context(), eventlog.Subscription{Undecoded: true}, func(_ context.Context, b eventlog.Batch) error {
		if n := len(b.Events); n > 0 {
			position = b.Events[n-1].Position.Commit
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return position
}

// countRecorded counts the events of a type in the log.
func countRecorded(t testing.TB, log *eventlog.Log, of string) (n int) {
	t.Helper()
	count := func(_ context.Context, b eventlog.Batch) error {
		n += len(b.Events)
		return nil
	}
	if err := log.FollowToEnd(t.Context(), eventlog.Subscription{Types: []string{of}, Undecoded: true}, count); err != nil {
		t.Fatal(err)
	}
	return n
}

// viewsAheadOfTheLog returns a directory with views of a log that has been replaced by an older one, here an empty one.
func viewsAheadOfTheLog(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := start(t.Context(), flagsFor(dir), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	in := installation{server: s, t: t}
	in.account("anna")
	err = s.views.WaitFor(t.Context(), userviews.UserDirectory, lastRecorded(t, s.log))
	if err := errors.Join(err, s.close(), os.RemoveAll(filepath.Join(dir, "eventstore"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestServingViewsOfAnotherLog: a server whose views were made from another log than the one that is there serves. It takes
// commands, names the views in its readiness, in the list and in a metric, and answers no query from them, until they are rebuilt
// or dropped.
func TestServingViewsOfAnotherLog(t *testing.T) {
	dir := viewsAheadOfTheLog(t)
	serve := func() installation {
		t.Helper()
		s, err := start(context.Background(), flagsFor(dir), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return installation{server: s, t: t, url: s.url(), dir: dir}
	}
	in := serve()
	token := in.account("berta", user.Grant{Role: user.Admin})
	get := func(address string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		return in.do(request, token)
	}
	await := func(what string, holds func() bool) {
		t.Helper()
		for begun := time.Now(); !holds(); time.Sleep(50 * time.Millisecond) {
			if time.Since(begun) > time.Minute {
				t.Fatal(what)
			}
		}
	}
	name := "view " + userviews.UserDirectory.Name
	await("readiness does not name the view", func() bool {
		status, failed := probe(t, in.httpAddress, "/readyz")
		return status == http.StatusOK && slices.Contains(failed, name)
	})
	await("the query is not refused", func() bool {
		status, text := get(in.url + "/api/v1/users")
		return status == http.StatusServiceUnavailable && strings.Contains(text, "view_other_past")
	})
	if _, text := get("http://" + in.adminAddress + "/metrics"); !strings.Contains(text, `casebook_view_other_past{view="user-directory"} 1`) {
		t.Error("the metric does not tell of the view")
	}
	printed := tool(t, exitOK, "projections", "list", "--data", dir)
	if !strings.Contains(printed, string(readmodels.OtherPast)) || !strings.Contains(printed, "casebook projections rebuild user-directory") {
		t.Errorf("the list says:\n%s", printed)
	}
	tool(t, exitOK, "projections", "rebuild", "user-directory", "--data", dir)
	await("the rebuilt view is not shown", func() bool {
		status, text := get(in.url + "/api/v1/users")
		return status == http.StatusOK && strings.Contains(text, "berta") && !strings.Contains(text, "anna")
	})
	if status, text := get(in.url + "/api/v1/projections"); status != http.StatusOK || !strings.Contains(text, string(readmodels.OtherPast)) {
		t.Errorf("the other views are shown as %d %s", status, text)
	}
	if err := in.close(); err != nil {
		t.Fatal(err)
	}
	tool(t, exitOK, "projections", "reset", "--data", dir)
	in = serve()
	await("not all views are well", func() bool {
		_, failed := probe(t, in.httpAddress, "/readyz")
		return len(failed) == 0
	})
	if err := in.close(); err != nil {
		t.Error(err)
	}
}

// TestAFailureAtTheStartIsReturned has a part fail before commands can be taken: the error is the part's failure, and
// not the cancellation that ends the others.
func TestAFailureAtTheStartIsReturned(t *testing.T) {
	in := install(t)
	s := &server{handler: commands.NewHandler(commands.Options{Log: in.log})} // it is not running, and never becomes ready
	ctx, stop := context.WithCancel(t.Context())
	group, ctx := errgroup.WithContext(ctx)
	s.stop, s.parts = stop, group
	failure := errors.New("the views are ahead of the log")
	group.Go(func() error { return failure })
	if err := s.awaitReady(ctx, false); !errors.Is(err, failure) || errors.Is(err, context.Canceled) {
		t.Errorf("it returns %v", err)
	}
	if err := s.release(); err != nil {
		t.Error(err)
	}
}

func TestAToolEndsWhenItsEngineFails(t *testing.T) {
	failure := errors.New("the views are ahead of the log")
	untilStopped := func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}
	watch := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := whileRunning(t.Context(), func(context.Context) error { return failure }, watch); !errors.Is(err, failure) {
		t.Errorf("with an engine that fails it returns %v", err)
	}
	if err := whileRunning(t.Context(), untilStopped, func(context.Context) error { return nil }); err != nil {
		t.Errorf("with a tool that is done it returns %v", err)
	}
	if err := whileRunning(t.Context(), untilStopped, func(context.Context) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("with a tool that fails it returns %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := whileRunning(ended, untilStopped, watch); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context it returns %v", err)
	}
}

func TestOnlyCancellationsAreDiscarded(t *testing.T) {
	wrapped := fmt.Errorf("command handler: %w", context.Canceled)
	failure := errors.New("the disk is full")
	for _, c := range []struct {
		err  error
		want bool
	}{
		{context.Canceled, true},
		{wrapped, true},
		{errors.Join(wrapped, context.Canceled), true},
		{failure, false},
		{context.DeadlineExceeded, false},
		{errors.Join(wrapped, failure), false},
		{fmt.Errorf("part: %w", errors.Join(context.Canceled, failure)), false},
	} {
		if got := isCancellation(c.err); got != c.want {
			t.Errorf("isCancellation(%q) is %v", c.err, got)
		}
	}
}

// TestACancellationFromElsewhereIsAFailure runs a command that fails with a cancellation, while its own context goes
// on.
func TestACancellationFromElsewhereIsAFailure(t *testing.T) {
	broken := brokenWriter{fmt.Errorf("write: %w", context.Canceled)}
	var errOut bytes.Buffer
	if code := run(t.Context(), []string{"version"}, broken, &errOut); code != exitFailure || !strings.Contains(errOut.String(), "write: ") {
		t.Errorf("it ends with %d and prints %q", code, errOut.String())
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	errOut.Reset()
	if code := run(ended, []string{"version"}, broken, &errOut); code != exitInterrupted || errOut.String() != "casebook: interrupted\n" {
		t.Errorf("with an ended context it ends with %d and prints %q", code, errOut.String())
	}
}

// TestAnInterruptedToolDoesNotSucceed interrupts commands that had something to do. A server that is stopped has done its
// work.
func TestAnInterruptedToolDoesNotSucceed(t *testing.T) {
	in := install(t)
	in.account("anna")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{
		{"users", "list", "--data", in.dir}, {"users", "add", "berta", "--name", "Berta", "--no-password", "--data", in.dir},
		{"projections", "verify", "alerts", "--data", in.dir}, {"projections", "list", "--data", in.dir},
		{"node", "backup", "--data", in.dir, "--to", filepath.Join(t.TempDir(), "backup.tar")},
		{"token", "--user", "anna", "--data", in.dir},
	} {
		if code := run(ended, args, io.Discard, io.Discard); code == exitOK {
			t.Errorf("casebook %v ends with %d", args, code)
		}
	}
	node := []string{"node", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--log-level", "error"}
	if code := run(ended, node, io.Discard, io.Discard); code != exitOK {
		t.Errorf("casebook node ends with %d", code)
	}
}

// brokenWriter fails with its error.
type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// TestServePrintsOnlyWhatItServes serves without the role api, until the addresses have been printed.
func TestServePrintsOnlyWhatItServes(t *testing.T) {
	for _, c := range []struct {
		roles []string
		api   bool
	}{
		{[]string{"projections"}, false},
		{[]string{"api"}, true},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		flags := flagsFor(t.TempDir())
		flags.Roles = c.roles
		var out lockedBuffer
		ended := make(chan error, 1)
		go func() { ended <- serveCommand{flags}.Run(ctx, streams{out: &out, err: io.Discard}) }()
		for ctx.Err() == nil && !strings.Contains(out.String(), "views:") {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if printed := out.String(); strings.Contains(printed, "API:") != c.api || !strings.Contains(printed, "admin:  http://127.0.0.1:") {
			t.Errorf("with the roles %v it prints:\n%s", c.roles, printed)
		}
	}
}
