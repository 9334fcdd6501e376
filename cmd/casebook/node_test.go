package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"casebook/embedded/node"
	"casebook/embedded/node/store"
)

// TestNodeRefusesUnsafeOptions tries options that would let strangers in or send passwords unencrypted, and incomplete
// ones.
func TestNodeRefusesUnsafeOptions(t *testing.T) {
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"insecure with password": {[]string{"--insecure", "--admin-password-file", password}, "--insecure"},
		"no private key":         {[]string{"--tls-cert", password}, "--tls-key"},
		"not a certificate":      {[]string{"--tls-cert", password, "--tls-key", password}, "--tls-cert"},
		"no such file":           {[]string{"--admin-password-file", filepath.Join(dir, "nothing")}, "nothing"},
	} {
		code := exitFailure
		if name == "no such file" {
			code = exitUsage
		}
		printed := tool(t, code, append([]string{"node", "--data", filepath.Join(dir, "store")}, tc.args...)...)
		if !strings.Contains(printed, tc.want) {
			t.Errorf("%s: it prints %s", name, printed)
		}
		if _, err := os.Stat(filepath.Join(dir, "store")); err == nil {
			t.Errorf("%s: a store was created", name)
		}
	}
	c := nodeServeCommand{Listen: "127.0.0.1:0", AdminPasswordFile: password, OpsPasswordFile: password}
	o, err := c.options()
	if err != nil || len(o.Users) != 2 || o.Users[0].Password != "s3cret" || o.Insecure || !slices.Contains(o.Protected, "patient-") {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestBackupRestoreAndVerify backs up a store while it runs and while it is stopped, restores and verifies it, and then
// damages it, which verify has to find.
func TestBackupRestoreAndVerify(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	password := at("password")
	if err := os.WriteFile(password, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := node.Open(t.Context(), node.Options{
		Dir: at("data/eventstore"), Listen: "127.0.0.1:0", Users: []node.User{
			{Name: "admin", Password: "s3cret", Groups: []string{node.Admins}},
			{Name: "ops", Password: "s3cret", Groups: []string{node.Operators}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + n.Addr()
	prints := func(code int, want string, args ...string) {
		t.Helper()
		if printed := tool(t, code, append([]string{"node"}, args...)...); !strings.Contains(printed, want) {
			t.Errorf("casebook node %v does not print %q but:\n%s", args, want, printed)
		}
	}
	prints(exitFailure, "is being served", "verify", "--data", at("data"))
	prints(exitFailure, "no server runs", "backup", "--data", at("data"), "--to", at("x.tar")) // it is not known where it listens
	prints(exitFailure, "401", "backup", "--node", url, "--to", at("x.tar"))
	prints(exitFailure, "no address", "backup", "--node", "nonsense", "--to", at("x.tar"))
	// Operators may not read all streams, so they may not make a backup.
	prints(exitFailure, "403", "backup", "--node", url, "--user", "ops", "--password-file", password, "--to", at("x.tar"))
	prints(exitOK, "online.tar", "backup", "--node", url, "--password-file", password, "--to", at("online.tar"))
	prints(exitFailure, "exists", "backup", "--node", url, "--password-file", password, "--to", at("online.tar"))
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	fillStore(t, at("data/eventstore"), 1000)
	prints(exitOK, "events   1000 in 10 streams, all stored as they were written", "verify", "--data", at("data"))
	prints(exitFailure, "no data of Casebook", "verify", "--data", at("nothing"))
	prints(exitOK, "offline.tar", "backup", "--data", at("data"), "--to", at("offline.tar"))
	prints(exitOK, "events   0", "restore", "--from", at("online.tar"), "--data", at("empty"))
	prints(exitOK, "events   1000", "restore", "--from", at("offline.tar"), "--data", at("copy"))
	prints(exitFailure, "not empty", "restore", "--from", at("offline.tar"), "--data", at("copy"))
	prints(exitOK, "events   1000", "verify", "--data", at("copy"))
	left, err := filepath.Glob(at("*.tmp-*"))
	if err != nil || len(left) > 0 || len(tool(t, exitOK, "node", "backup", "--data", at("copy"), "--to", "-")) < 1000 {
		t.Errorf("the backups left %v, %v", left, err)
	}

	// Flip a bit in a table of the storage engine, where old events are stored.
	tables, err := filepath.Glob(filepath.Join(at("copy"), eventStoreDir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	content, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/3] ^= 1
	if err := os.WriteFile(tables[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	prints(exitFailure, "damaged", "verify", "--data", at("copy"))
}

// fillStore appends events. Closing the store writes them to the tables of the storage engine.
func fillStore(t *testing.T, dir string, events int) {
	t.Helper()
	s, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		stream := fmt.Sprint("s-", i%10)
		done := make(chan store.Result, 1)
		p := store.Propose(stream, store.NewID(), "T", true, nil, fmt.Appendf(nil, `{"n":%d}`, i))
		if err := s.Submit(&store.Append{
			Stream: stream, Expected: store.Any, Events: []store.Proposed{p}, Done: func(r store.Result) { done <- r },
		}); err != nil {
			t.Fatal(err)
		}
		if r := <-done; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
