package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain/user"
	"casebook/embedded/credentials"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// serving is a process that runs the test's binary as casebook serve.
type serving struct {
	t *testing.T
	// program is the file that is run; the test's binary if it is empty.
	program, name string
	flags, env    []string
	*exec.Cmd
}

// begin starts the process. It does not wait until the process serves.
func (s *serving) begin() {
	s.t.Helper()
	s.Cmd = exec.Command(cmp.Or(s.program, os.Args[0]), append([]string{"serve", "--log-level", "error"}, s.flags...)...)
	s.Env = append(append(os.Environ(), asMain+"=1"), s.env...)
	log, err := os.OpenFile(filepath.Join(s.t.ArtifactDir(), s.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Stderr = log
	if err := s.Start(); err != nil {
		s.t.Fatal(err)
	}
	of := s.Cmd
	s.t.Cleanup(func() {
		_ = of.Process.Kill()
		_ = of.Wait() // it may have ended before
		_ = log.Close()
	})
}

func (s *serving) signal(signal os.Signal) {
	s.t.Helper()
	if err := s.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
}

// end asks the process to end, and waits until it has.
func (s *serving) end() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	if err := s.Wait(); err != nil {
		s.t.Errorf("%v ended with %v", s.flags, err)
	}
}

// apart returns a process that only holds the stores, and one that does all the rest. Neither is started. token is an
// administrator's.
func apart(t *testing.T) (stores, all *serving, address, token string) {
	t.Helper()
	dir, ofLog, ofViews := t.TempDir(), freePort(t), freePort(t)
	flags := flagsFor(dir)
	flags.Roles = []string{"api"}
	s, err := start(context.Background(), flags, slog.New(slog.DiscardHandler)) // makes the keys
	if err != nil {
		t.Fatal(err)
	}
	in := installation{server: s, t: t, url: s.url()}
	token = in.account("anna", user.Grant{Role: user.Admin})
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	access, err := credentials.LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	address = freePort(t)
	stores = &serving{t: t, name: "stores", flags: []string{"--data", dir, "--roles", "api", "--node-listen", ofLog, "--mongo-listen", ofViews,
		"--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"}}
	all = &serving{t: t, name: "process", flags: []string{"--data", t.TempDir(), "--http", address, "--admin", "127.0.0.1:0",
		"--blinding-key-file", filepath.Join(dir, blindingKeyFile), "--key-file", filepath.Join(dir, tokenKeyFile)},
		env: []string{"CASEBOOK_EVENTSTORE=" + access.EventStoreURL(ofLog, access.Owner),
			"CASEBOOK_MONGO=" + access.MongoURL(ofViews, access.Owner)}}
	return stores, all, address, token
}

// awaitReadiness waits until /readyz answers with a status, and the checks that have failed are those that are meant.
func awaitReadiness(t *testing.T, address, when string, within time.Duration, want int, failed func(names []string) bool) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		status, names := probe(t, address, "/readyz")
		if status == want && failed(names) {
			if alive, _ := probe(t, address, "/healthz"); alive != http.StatusOK {
				t.Errorf("%s, /healthz answers %d", when, alive)
			}
			t.Logf("%s: %d after %s", when, status, time.Since(begun).Round(time.Millisecond))
			return
		}
		if time.Since(begun) > within {
			t.Fatalf("%s, /readyz answers %d after %s, and %q have failed", when, status, within, names)
		}
	}
}

func none(names []string) bool { return len(names) == 0 }

// only returns what says whether just these checks have failed.
func only(names ...string) func([]string) bool {
	return func(failed []string) bool { return slices.Equal(failed, names) }
}

// all returns what says whether these checks have failed, and maybe others.
func all(names ...string) func([]string) bool {
	return func(failed []string) bool {
		return !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(failed, n) })
	}
}

// TestAProcessWaitsForItsStores starts a process before its stores are there, and while they are frozen, and takes them away from
// it. It answers probes all the time, names what it waits for, ends for none of this, and is well again seconds after the stores
// are.
func TestAProcessWaitsForItsStores(t *testing.T) {
	stores, process, address, _ := apart(t)
	const soon = 5 * time.Second
	const afterElections = 15 * time.Second // it could be one until then
	process.begin()
	awaitReadiness(t, address, "without stores", soon, http.StatusServiceUnavailable, only(waitsForLog))
	time.Sleep(3 * time.Second)
	awaitReadiness(t, address, "still without stores", soon, http.StatusServiceUnavailable, only(waitsForLog))
	stores.begin()
	awaitReadiness(t, address, "when the stores have started", 2*soon, http.StatusOK, none)

	stores.signal(syscall.SIGSTOP)
	parts := []string{"event-log", "commands", "views", "verifier", "process enrollment", "projections"}
	for _, v := range contexts.Views() {
		parts = append(parts, "view "+v.Name)
	}
	awaitReadiness(t, address, "when the stores are frozen", soon, http.StatusOK, all(parts...))
	awaitReadiness(t, address, "when the stores stay frozen", afterElections, http.StatusServiceUnavailable, all(parts...))
	stores.signal(syscall.SIGCONT)
	awaitReadiness(t, address, "when the stores are thawed", soon, http.StatusOK, none)

	stores.end()
	awaitReadiness(t, address, "when the stores have ended", afterElections, http.StatusServiceUnavailable, all(parts...))
	stores.begin()
	awaitReadiness(t, address, "when the stores have started again", 2*soon, http.StatusOK, none)

	process.end()
	stores.signal(syscall.SIGSTOP)
	process.begin()
	awaitReadiness(t, address, "started while the stores are frozen", soon, http.StatusServiceUnavailable, only(waitsForLog))
	time.Sleep(12 * time.Second)
	awaitReadiness(t, address, "while the stores are still frozen", soon, http.StatusServiceUnavailable, only(waitsForLog))
	stores.signal(syscall.SIGCONT)
	awaitReadiness(t, address, "when the stores are thawed at last", 2*soon, http.StatusOK, none)
	process.end()
	stores.end()
}

// TestAProcessWaitsForTheStoreOfItsViews starts a process without a MongoDB, and takes the MongoDB away later. That takes no requests
// away: commands are taken.
func TestAProcessWaitsForTheStoreOfItsViews(t *testing.T) {
	stores, process, address, token := apart(t)
	const soon = 5 * time.Second
	// The stores' process has its MongoDB under another address, so that it can be taken away alone.
	of := slices.Index(stores.flags, "--mongo-listen") + 1
	mongo := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "mongo", stores.flags[of], freePort(t))
	t.Cleanup(mongo.Stop)
	stores.flags[of] = mongo.Upstream
	stores.begin()
	process.begin()
	awaitReadiness(t, address, "without MongoDB", 2*soon, http.StatusServiceUnavailable, only(waitsForViews))
	time.Sleep(3 * time.Second)
	if err := mongo.Start(); err != nil {
		t.Fatal(err)
	}
	awaitReadiness(t, address, "when MongoDB is there", 2*soon, http.StatusOK, none)
	mongo.Stop()
	want := []string{"views", "projections"}
	for _, v := range contexts.Views() {
		want = append(want, "view "+v.Name)
	}
	awaitReadiness(t, address, "when MongoDB is gone", 2*soon, http.StatusOK, func(failed []string) bool {
		return all(want...)(failed) && !slices.Contains(failed, "event-log") && !slices.Contains(failed, "commands")
	})
	for _, id := range []string{"bert", "carl"} {
		status, answer := ask(t.Context(), token, http.MethodPost, "http://"+address+"/api/v1/commands/RegisterUser",
			fmt.Sprintf(`{"user":%q,"name":%q}`, id, id))
		if status != http.StatusOK {
			t.Errorf("without MongoDB, a command is answered %d: %s", status, answer)
		}
		time.Sleep(2 * time.Second) // what was known of rights and states is asked again
	}
	status, answer := ask(t.Context(), token, http.MethodGet, "http://"+address+"/api/v1/users", "")
	if status != http.StatusServiceUnavailable {
		t.Errorf("without MongoDB, a query is answered %d: %s", status, answer)
	}
	if err := mongo.Start(); err != nil {
		t.Fatal(err)
	}
	awaitReadiness(t, address, "when MongoDB is back", soon, http.StatusOK, none)
	process.end()
	stores.end()
}
