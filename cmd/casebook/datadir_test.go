package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/user"
	"casebook/embedded/node"
)

// tree returns the names, modes and sizes of everything below a directory. Files that a running server changes by itself
// are left out.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		line := info.Mode().String() + " " + strings.TrimPrefix(path, dir)
		if !e.IsDir() {
			line += " " + info.ModTime().String()
		}
		if e.Name() != "LOCK" { // taking the lock sets its time
			all = append(all, line)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

// stopped returns the data directory of a server that has run and was stopped, with the user anna.
func stopped(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s, err := start(t.Context(), flagsFor(dir), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	installation{server: s, t: t}.account("anna", user.Grant{Role: user.Admin})
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestReadingToolsCreateNothing runs tools that only read, on directories without data, on wrong ones, and on that of a
// stopped server. None of them may change a file.
func TestReadingToolsCreateNothing(t *testing.T) {
	data := stopped(t)
	empty, missing := t.TempDir(), filepath.Join(t.TempDir(), "missing")
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "letter.txt"), []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	tools := [][]string{
		{"users", "list"}, {"projections", "list"}, {"node", "verify"}, {"stores"},
		{"node", "scavenge", "--dry-run"},
	}
	for _, dir := range []string{empty, missing, other, filepath.Join(data, eventStoreDir), filepath.Join(data, mongoDir),
		filepath.Join(data, "sub"), filepath.Join(data, eventStoreDir, "sub")} {
		before := tree(t, filepath.Dir(dir))
		for _, args := range append(tools, []string{"node", "backup", "--to", "-"}, []string{"projections", "verify", "alerts"},
			[]string{"users", "add", "eve", "--name", "Eve", "--no-password"}, []string{"projections", "reset"},
			[]string{"token", "--user", "anna"}) {
			if printed := tool(t, exitFailure, append(args, "--data", dir)...); !strings.Contains(printed, "--data") &&
				!strings.Contains(printed, errNoData.Error()) && !strings.Contains(printed, errKeyMissing.Error()) &&
				!strings.Contains(printed, errNotRunning.Error()) {
				t.Errorf("casebook %v on %s prints %s", args, dir, printed)
			}
		}
		if after := tree(t, filepath.Dir(dir)); after != before {
			t.Errorf("%s was changed from\n%s\nto\n%s", dir, before, after)
		}
	}
	before := tree(t, data)
	for _, args := range tools {
		code := exitOK
		if args[0] == "stores" {
			code = exitFailure // no server runs
		}
		tool(t, code, append(args, "--data", data)...)
	}
	if after := tree(t, data); after != before {
		t.Errorf("the data of the stopped server were changed from\n%s\nto\n%s", before, after)
	}
}

// TestServersFillOnlyTheirOwnDirectory starts servers in directories that are not for them.
func TestServersFillOnlyTheirOwnDirectory(t *testing.T) {
	data := stopped(t)
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "letter.txt"), []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{home, filepath.Join(data, eventStoreDir), filepath.Join(data, "sub"), filepath.Join(data, mongoDir)} {
		before := tree(t, dir)
		for _, args := range [][]string{
			{"serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--node-listen", "127.0.0.1:0", "--mongo-listen", "127.0.0.1:0"},
			{"demo", "--once", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--node-listen", "127.0.0.1:0", "--mongo-listen", "127.0.0.1:0"},
			{"node", "--listen", "127.0.0.1:0"},
		} {
			if printed := tool(t, exitFailure, append(args, "--data", dir)...); !strings.Contains(printed, "--data") {
				t.Errorf("casebook %s in %s prints %s", args[0], dir, printed)
			}
		}
		if after := tree(t, dir); after != before {
			t.Errorf("%s was changed to\n%s", dir, after)
		}
	}
	// A restore into the folder of the store that was moved away would be found by no server.
	damaged := stopped(t)
	if err := os.Rename(filepath.Join(damaged, eventStoreDir), filepath.Join(t.TempDir(), "newer")); err != nil {
		t.Fatal(err)
	}
	if err := dataDir(filepath.Join(damaged, eventStoreDir)).mayBeFilled(); err == nil || !strings.Contains(err.Error(), damaged) {
		t.Errorf("the folder of the store may be filled as a data directory: %v", err)
	}
	// The shell opens the file for the output before the server starts.
	started := t.TempDir()
	if err := os.WriteFile(filepath.Join(started, "out"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dataDir(started).mayBeFilled(); err != nil {
		t.Error(err)
	}
}

// TestDataAreTheirOwnersAlone opens a directory whose files everybody could read, as an earlier program left it.
func TestDataAreTheirOwnersAlone(t *testing.T) {
	dir := stopped(t)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer keepFilesPrivate()()
	in := startIn(t, dir)
	in.account("berta")
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestToolsTalkToTheRunningServer gives the tools the server's own directory, as with CASEBOOK_DATA in the environment of
// both.
func TestToolsTalkToTheRunningServer(t *testing.T) {
	in := install(t)
	t.Setenv("CASEBOOK_DATA", in.dir)
	tool(t, exitOK, "users", "add", "anna", "--name", "Anna", "--no-password", "--role", "admin", "--as", "Berta Braun")
	if list := tool(t, exitOK, "users", "list"); !strings.Contains(list, "anna") {
		t.Errorf("the list is %s", list)
	}
	for r, err := range in.log.ReadStream(t.Context(), user.Decider.Stream("anna"), 0) {
		if err != nil || r.Metadata.Actor != "process:operator/Berta Braun" {
			t.Errorf("%s was recorded by %s, %v", r.Type, r.Metadata.Actor, err)
		}
	}
	in.account("script", user.Grant{Role: user.DataManager, Study: "PAIN1"})
	if printed := tool(t, exitFailure, "token", "--user", "anna"); !strings.Contains(printed, "role_needs_sign_in") {
		t.Errorf("a token of an administrator is answered: %s", printed)
	}
	if printed := tool(t, exitUsage, "token", "--user", "script", "--as", "a\u202eb"); !strings.Contains(printed, "value_unprintable") {
		t.Errorf("a name that nobody can read is answered: %s", printed)
	}
	tool(t, exitOK, "token", "--user", "script", "--valid-for", "2h", "--as", "Berta Braun")
	issued, recorded, err := in.log.Last(t.Context(), user.Decider.Stream("script"))
	if err != nil || !recorded {
		t.Fatal(err)
	}
	if e, is := issued.Event.(user.TokenIssued); !is || e.By != "process:operator/Berta Braun" || issued.Metadata.Actor != e.By ||
		e.Until.Sub(issued.Metadata.RecordedAt).Round(time.Minute) != 2*time.Hour {
		t.Errorf("recorded is %+v", issued.Event)
	}
	for _, wrong := range [][]string{{"--user", "nobody"}, {"--user", "script", "--valid-for=-1h"},
		{"--user", "script", "--valid-for", "48h"}} {
		if printed := tool(t, exitFailure, append([]string{"token"}, wrong...)...); strings.Count(printed, ".") > 4 {
			t.Errorf("a token was printed for %v: %s", wrong, printed)
		}
	}
	backup := filepath.Join(t.TempDir(), "log.tar")
	tool(t, exitOK, "node", "backup", "--to", backup)
	if printed := tool(t, exitFailure, "projections", "reset"); !strings.Contains(printed, errViewsInUse.Error()) {
		t.Errorf("views are dropped below a running server: %s", printed)
	}
	// The drill: the backup and the keys in a new directory are a whole installation.
	drill := filepath.Join(t.TempDir(), "drill")
	tool(t, exitOK, "node", "restore", "--from", backup, "--data", drill)
	for _, name := range []string{tokenKeyFile, blindingKeyFile} {
		text, err := os.ReadFile(filepath.Join(in.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(drill, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	restored := startIn(t, drill)
	if list := tool(t, exitOK, "users", "list", "--data", drill); !strings.Contains(list, "anna") {
		t.Errorf("the restored installation has the users %s", list)
	}
	token, err := in.tokens.Sign("anna", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var me struct {
		User domain.UserID `json:"user"`
	}
	if restored.query(token, "/api/v1/me", 0, &me); me.User != "anna" {
		t.Errorf("the restored installation knows the caller as %q", me.User)
	}
}

// TestNothingIsTriedOutOnARecord: neither the demo nor a benchmark writes into a log that serve has begun, wherever the settings of
// the shell point.
func TestNothingIsTriedOutOnARecord(t *testing.T) {
	dir := t.TempDir()
	s, err := start(t.Context(), flagsFor(dir), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	before := storeSize(t, dir)
	tool(t, exitFailure, "demo", "--data", dir, "--patients", "1", "--days", "1", "--once")
	tool(t, exitFailure, "bench", "diary", "--data", dir, "--duration", "10ms", "--rounds", "1", "--patients", "1")
	if after := storeSize(t, dir); after != before {
		t.Errorf("the log had %d bytes, and has %d", before, after)
	}
}

// TestABenchmarkRunsAgainOnItsStore: an event store that is given takes one benchmark after the other, with a new directory each
// time. The log of an installation is refused, with a directory of the benchmark's own and with that of the installation.
func TestABenchmarkRunsAgainOnItsStore(t *testing.T) {
	n, err := node.Open(t.Context(), node.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	bench := func(want int, url string, more ...string) {
		t.Helper()
		args := append([]string{"bench", "diary", "--eventstore", url, "--duration", "50ms", "--rounds", "1", "--patients", "2",
			"--connections", "1"}, more...)
		process := exec.CommandContext(t.Context(), os.Args[0], args...) //nolint:gosec // this program itself
		process.Env = append(os.Environ(), asMain+"=1")
		out, err := process.CombinedOutput()
		if got := process.ProcessState.ExitCode(); got != want {
			t.Errorf("casebook %v ends with %d, want %d: %v\n%s", args, got, want, err, out)
		}
	}
	for range 2 {
		bench(exitOK, n.ConnectionString())
	}
	in := install(t)
	if err := in.bootstrapAdmins(t.Context(), "a password for a test"); err != nil {
		t.Fatal(err)
	}
	before := lastRecorded(t, in.log)
	bench(exitFailure, in.stores.eventStoreURL)
	bench(exitFailure, in.stores.eventStoreURL, "--data", copied(t, in.dir, blindingKeyFile))
	if after := lastRecorded(t, in.log); after != before {
		t.Errorf("a benchmark has written into the log, which ended at %d and ends at %d", before, after)
	}
}

// copied returns a new directory with a copy of a file.
func copied(t *testing.T, dir, file string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := os.WriteFile(filepath.Join(to, file), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// storeSize is the size of the files of the embedded event store.
func storeSize(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, eventStoreDir), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}
