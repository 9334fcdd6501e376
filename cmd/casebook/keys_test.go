package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casebook/domain/blind"
	"casebook/domain/randomisation"
	"casebook/eventlog"

	"github.com/google/uuid"
)

// sealedInstallation returns the data directory of a stopped server whose log holds a sealed value.
func sealedInstallation(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s, err := start(t.Context(), flagsFor(dir), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	event := randomisation.MinimisationDefined{Study: "S1", Seed: blind.Of("secret"), Minimisation: blind.Of(randomisation.Minimisation{})}
	meta := eventlog.Metadata{Study: "S1", Actor: "anna", RecordedAt: time.Now().UTC()}
	_, err = s.log.Append(t.Context(), "randomisation-S1", eventlog.EmptyTail, uuid.New(), meta, event)
	if err := errors.Join(err, s.close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestNoKeyIsMadeForALogThatAnotherKeySealed starts a server on a log with sealed values: without their key, with another
// one, and with the right one. A refused start creates nothing.
func TestNoKeyIsMadeForALogThatAnotherKeySealed(t *testing.T) {
	dir := sealedInstallation(t)
	key, err := os.ReadFile(filepath.Join(dir, blindingKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	// As after a restore, only the log is there.
	restored := t.TempDir()
	if err := os.CopyFS(filepath.Join(restored, eventStoreDir), os.DirFS(filepath.Join(dir, eventStoreDir))); err != nil {
		t.Fatal(err)
	}
	serve := func(ctx context.Context, more ...string) (int, string) {
		var out, errOut lockedBuffer
		code := run(ctx, append([]string{"serve", "--data", restored, "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0",
			"--node-listen", "127.0.0.1:0", "--mongo-listen", "127.0.0.1:0"}, more...), &out, &errOut)
		return code, errOut.String()
	}
	other := filepath.Join(t.TempDir(), "other.key")
	tool(t, exitOK, "key", other)
	tool(t, exitFailure, "key", other) // a key is never overwritten
	before := tree(t, restored)
	for name, flags := range map[string][]string{
		"missing": nil, "misnamed": {"--blinding-key-file", filepath.Join(t.TempDir(), "nothing.key")}, "another": {"--blinding-key-file", other},
	} {
		want := errKeyMissing
		if name == "another" {
			want = errWrongKey
		}
		if code, printed := serve(t.Context(), flags...); code != exitFailure || !strings.Contains(printed, want.Error()) {
			t.Errorf("with the key %s, serve ends with %d and prints %s", name, code, printed)
		}
		if after := tree(t, restored); after != before {
			t.Errorf("with the key %s, the directory became\n%s", name, after)
		}
	}
	if err := os.WriteFile(filepath.Join(restored, blindingKeyFile), key, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := start(t.Context(), flagsFor(restored), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// TestNoKeyIsMadeForARealEventStore starts a server on an event store that is not its own, without keys.
func TestNoKeyIsMadeForARealEventStore(t *testing.T) {
	in := install(t)
	data := filepath.Join(t.TempDir(), "data")
	for _, key := range []string{blindingKeyFile, tokenKeyFile} {
		printed := tool(t, exitFailure, "serve", "--data", data, "--eventstore", in.stores.eventStoreURL, "--mongo", in.stores.mongoURL,
			"--http", "127.0.0.1:0", "--admin", "127.0.0.1:0")
		if !strings.Contains(printed, errKeyMissing.Error()) || !strings.Contains(printed, key) {
			t.Errorf("without %s, serve prints %s", key, printed)
		}
		if _, err := os.Stat(filepath.Join(data, key)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was made", key)
		}
		text, err := os.ReadFile(filepath.Join(in.dir, key))
		if err == nil {
			err = os.MkdirAll(data, 0o700)
		}
		if err := errors.Join(err, os.WriteFile(filepath.Join(data, key), text, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}
