package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain/blind"
	"casebook/domain/randomisation"
	"casebook/eventlog"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// withoutKeys starts a server that needs no blinding key, and so records none, and returns what is needed to run others on its
// stores.
func withoutKeys(t *testing.T) installation {
	t.Helper()
	flags := flagsFor(t.TempDir())
	flags.Roles = []string{"projections"}
	s, err := start(t.Context(), flags, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return installation{server: s, t: t, dir: flags.Stores.Data}
}

// newKey makes a key and returns its file.
func newKey(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "some.key")
	tool(t, exitOK, "key", file)
	return file
}

// startWithKey starts a process of the role sagas on the stores, with the blinding key in a file, and ends it if it starts.
func (in installation) startWithKey(file string) error {
	flags := flagsFor(in.t.TempDir())
	flags.Roles = []string{"sagas"}
	flags.Stores.Eventstore, flags.Stores.Mongo, flags.Stores.BlindingKeyFile = in.stores.eventStoreURL, in.stores.mongoURL, file
	s, err := start(in.t.Context(), flags, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return s.close()
}

// isWrongKey says that a start was refused because of the key in a file.
func isWrongKey(err error, file string) bool {
	return errors.Is(err, errWrongKey) && strings.Contains(err.Error(), file) && strings.Contains(err.Error(), "another installation's")
}

// recordedKey returns the check of the key that the log records, and how often a key is recorded.
func (in installation) recordedKey(t *testing.T) (check string, times int) {
	t.Helper()
	check, err := commands.RecordedBlindingKey(t.Context(), in.blindLog)
	if err != nil {
		t.Fatal(err)
	}
	in.eachEvent(t, func(e eventlog.Recorded) {
		if e.Type == "BlindingKeyRecorded" {
			times++
		}
	})
	return check, times
}

// TestOfTwoKeysOnANewLogOneIsRefused starts processes with two different keys at once on a log without a sealed value. Each of
// them would seal values that the other cannot open.
func TestOfTwoKeysOnANewLogOneIsRefused(t *testing.T) {
	in := withoutKeys(t)
	keys := [2]string{newKey(t), newKey(t)}
	const starts = 6
	failures := [starts]error{}
	var group errgroup.Group
	for i := range starts {
		group.Go(func() error {
			failures[i] = in.startWithKey(keys[i%2])
			return nil
		})
	}
	_ = group.Wait()
	right := 0
	if failures[0] != nil {
		right = 1
	}
	for i, err := range failures {
		if i%2 == right && err != nil {
			t.Errorf("with the key that was recorded first, a process does not start: %v", err)
		}
		if i%2 != right && !isWrongKey(err, keys[i%2]) {
			t.Errorf("with the other key, a process starts or fails with: %v", err)
		}
	}
	if _, times := in.recordedKey(t); times != 1 {
		t.Errorf("the key is recorded %d times", times)
	}
	tool(t, exitOK, "audit", "verify", "--eventstore", in.stores.eventStoreURL, "--blinding-key-file", keys[right])
	// The same holds for a process that starts later.
	if err := in.startWithKey(keys[1-right]); !isWrongKey(err, keys[1-right]) {
		t.Errorf("later, with the other key, a process starts or fails with: %v", err)
	}
	if err := in.startWithKey(keys[right]); err != nil {
		t.Errorf("later, with the right key: %v", err)
	}
	// If it is lost, the operator replaces it, because nothing was sealed with it.
	lost := filepath.Join(t.TempDir(), "lost.key")
	tool(t, exitFailure, "key", lost, "--replace-lost") // in which log?
	tool(t, exitOK, "key", lost, "--replace-lost", "--eventstore", in.stores.eventStoreURL, "--as", "Carla Ruiz")
	if err := in.startWithKey(lost); err != nil {
		t.Errorf("with the key that replaces a lost one: %v", err)
	}
	if err := in.startWithKey(keys[right]); !isWrongKey(err, keys[right]) {
		t.Errorf("with the key that was replaced, a process starts or fails with: %v", err)
	}
}

// TestTheKeyOfAnOlderLogIsRecorded starts processes on a log with a sealed value that an older program wrote, which recorded no
// key.
func TestTheKeyOfAnOlderLogIsRecorded(t *testing.T) {
	in := withoutKeys(t)
	file := newKey(t)
	secret, err := loadKey(file, "", false)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := eventlog.NewBlindingKeys(secret)
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: in.stores.eventStoreURL, Registry: contexts.Registry(),
		BlindingKeys: keys})
	if err != nil {
		t.Fatal(err)
	}
	event := randomisation.MinimisationDefined{Study: "S1", Seed: blind.Of("secret"), Minimisation: blind.Of(randomisation.Minimisation{})}
	meta := eventlog.Metadata{Study: "S1", Actor: "anna", RecordedAt: time.Now().UTC()}
	_, err = log.Append(t.Context(), "randomisation-S1", eventlog.EmptyTail, uuid.New(), meta, event)
	if err := errors.Join(err, log.Close()); err != nil {
		t.Fatal(err)
	}
	other := newKey(t)
	if err := in.startWithKey(other); !isWrongKey(err, other) {
		t.Errorf("with another key, a process starts or fails with: %v", err)
	}
	if check, times := in.recordedKey(t); times != 0 {
		t.Errorf("the key of a refused process is recorded: %s", check)
	}
	if err := in.startWithKey(file); err != nil {
		t.Fatal(err)
	}
	if check, times := in.recordedKey(t); times != 1 || check != keys.Check() {
		t.Errorf("recorded %d times is %q, want %q", times, check, keys.Check())
	}
	lost := filepath.Join(t.TempDir(), "lost.key")
	printed := tool(t, exitFailure, "key", lost, "--replace-lost", "--eventstore", in.stores.eventStoreURL)
	if !strings.Contains(printed, "backup") {
		t.Errorf("the key of sealed values is replaced, or it says %s", printed)
	}
	if _, err := os.Stat(lost); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key is left behind: %v", err)
	}
}

// TestAnEmbeddedLogKeepsItsKey exchanges the key of an embedded log without a sealed value. Only a key that was lost is replaced.
func TestAnEmbeddedLogKeepsItsKey(t *testing.T) {
	dir := t.TempDir()
	try := func() error {
		s, err := start(t.Context(), flagsFor(dir), slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		return s.close()
	}
	file := filepath.Join(dir, blindingKeyFile)
	if err := try(); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	put := func(key []byte) {
		t.Helper()
		if err := os.WriteFile(file, key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(other)
	if err := try(); !isWrongKey(err, file) {
		t.Errorf("with another key, the server starts or fails with: %v", err)
	}
	put(first)
	if err := try(); err != nil {
		t.Errorf("with the key put back: %v", err)
	}
	// Nothing was sealed with the key yet, so a lost one does no harm.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := try(); err != nil {
		t.Errorf("with the key lost: %v", err)
	}
	put(first)
	if err := try(); !isWrongKey(err, file) {
		t.Errorf("with the key that was replaced, the server starts or fails with: %v", err)
	}
}
