package main

import (
	"bytes"
	"context"
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
	"casebook/domain/security"
	"casebook/embedded/node/clustertest"
	"casebook/eventlog"
	"casebook/eventlog/pubsub"

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
	tool(t, exitFailure, "key", lost, "--replace-lost", "--reason", "lost")                      // in which log?
	tool(t, exitFailure, "key", lost, "--replace-lost", "--eventstore", in.stores.eventStoreURL) // why?
	replaceKey(t, in, exitOK, lost)
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
	printed := replaceKey(t, in, exitFailure, lost)
	if !strings.Contains(printed, "backup") {
		t.Errorf("the key of sealed values is replaced, or it says %s", printed)
	}
	if _, err := os.Stat(lost); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key is left behind: %v", err)
	}
	// Somebody has recorded a wrong key all the same. The right one does not win by itself, and is not lost either.
	in.recordKeyOf(t, other)
	err = in.startWithKey(file)
	if !isWrongKey(err, file) && (err == nil || !strings.Contains(err.Error(), "casebook key "+file+" --replace-lost")) {
		t.Errorf("with the right key, while a wrong one is recorded: %v", err)
	}
	if printed := replaceKey(t, in, exitOK, file); !strings.Contains(printed, file) {
		t.Errorf("it prints %s", printed)
	}
	if err := in.startWithKey(file); err != nil {
		t.Errorf("with the right key, which is recorded again: %v", err)
	}
	if printed := replaceKey(t, in, exitFailure, other); !strings.Contains(printed, "opens none") {
		t.Errorf("the wrong key is recorded, or it says %s", printed)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("a key that was there before is removed: %v", err)
	}
	var replaced []security.BlindingKeyReplaced
	in.eachEvent(t, func(e eventlog.Recorded) {
		if r, is := e.Event.(security.BlindingKeyReplaced); is {
			replaced = append(replaced, r)
		}
	})
	if len(replaced) != 2 || replaced[1].Check != keys.Check() || replaced[1].Reason != "the file was lost" {
		t.Errorf("the record of what was replaced is %+v", replaced)
	}
}

// replaceKey records the key in a file in place of a lost one.
func replaceKey(t *testing.T, in installation, want int, file string) string {
	t.Helper()
	return tool(t, want, "key", file, "--replace-lost", "--eventstore", in.stores.eventStoreURL, "--as", "Carla Ruiz", "--reason",
		"the file was lost", "--settle", "100ms")
}

// recordKeyOf records the key in a file, whatever it opens.
func (in installation) recordKeyOf(t *testing.T, file string) {
	t.Helper()
	secret, err := loadKey(file, "", false)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := eventlog.NewBlindingKeys(secret)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := in.recordedKey(t)
	in.send(operator(), security.RecordBlindingKey{Check: keys.Check(), Replaces: before, Reason: "by mistake"})
}

// TestAKeyIsNotReplacedWhileProgramsRun: they would seal values with the key that is replaced.
func TestAKeyIsNotReplacedWhileProgramsRun(t *testing.T) {
	in := install(t)
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		members, err := pubsub.Members(t.Context(), in.stores.eventStoreURL, "casebook-")
		if err != nil || time.Since(began) > 30*time.Second {
			t.Fatalf("no program joins a group: %v", err)
		}
		if len(members) > 0 {
			break
		}
	}
	lost := filepath.Join(t.TempDir(), "lost.key")
	if printed := replaceKey(t, in, exitFailure, lost); !strings.Contains(printed, "stop all processes") {
		t.Errorf("it says %s", printed)
	}
	printed := tool(t, exitFailure, "key", lost, "--replace-lost", "--data", in.dir, "--reason", "x")
	if !strings.Contains(printed, "stop it") {
		t.Errorf("with the directory, it says %s", printed)
	}
	if _, err := os.Stat(lost); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key is left behind: %v", err)
	}
}

// TestANewKeyIsKeptWhileItIsNotKnownWhetherItIsRecorded: the cluster does not say whether it has taken the record of the key. The
// file is kept, and the same command completes it.
func TestANewKeyIsKeptWhileItIsNotKnownWhetherItIsRecorded(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{Election: 500 * time.Millisecond, WriteTimeout: 500 * time.Millisecond})
	replace := func(ctx context.Context, file string) (int, string) {
		var out, errOut bytes.Buffer
		code := run(ctx, []string{"key", file, "--replace-lost", "--eventstore", c.URL(), "--reason", "lost", "--settle", "100ms"}, &out, &errOut)
		return code, out.String() + errOut.String()
	}
	first, second := filepath.Join(t.TempDir(), "first.key"), filepath.Join(t.TempDir(), "second.key")
	if code, printed := replace(t.Context(), first); code != exitOK {
		t.Fatal(printed)
	}
	c.Busy(true)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if code, printed := replace(ctx, second); code != exitFailure || !strings.Contains(printed, "keep the file") {
		t.Errorf("it ends with %d, and prints %s", code, printed)
	}
	before, err := os.ReadFile(second)
	if err != nil {
		t.Fatalf("the key is not kept: %v", err)
	}
	c.Busy(false)
	if code, printed := replace(t.Context(), second); code != exitOK {
		t.Errorf("the second time it ends with %d, and prints %s", code, printed)
	}
	if after, err := os.ReadFile(second); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the key has changed: %v", err)
	}
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: c.URL(), Registry: contexts.Registry()})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := eventlog.NewBlindingKeys(mustLoad(t, second))
	if err != nil {
		t.Fatal(err)
	}
	check, err := commands.RecordedBlindingKey(t.Context(), log)
	if err := errors.Join(err, log.Close()); err != nil || check != keys.Check() {
		t.Errorf("recorded is %q, want %q: %v", check, keys.Check(), err)
	}
}

func mustLoad(t *testing.T, file string) []byte {
	t.Helper()
	secret, err := loadKey(file, "", false)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// TestAnEmbeddedLogKeepsItsKey exchanges the key of an embedded log without a sealed value. Only a key that was lost is replaced.
func TestAnEmbeddedLogKeepsItsKey(t *testing.T) {
	dir := t.TempDir()
	var said lockedBuffer
	replaced := 0
	try := func() error {
		s, err := start(t.Context(), flagsFor(dir), slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			return err
		}
		replaced = 0
		installation{server: s, t: t}.eachEvent(t, func(e eventlog.Recorded) {
			if r, is := e.Event.(security.BlindingKeyReplaced); is && r.Reason != "" {
				replaced++
			}
		})
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
	if !strings.Contains(said.String(), "a new one was made") || !strings.Contains(said.String(), file) {
		t.Errorf("with the key lost, the program only says %s", said.String())
	}
	put(first)
	if err := try(); !isWrongKey(err, file) {
		t.Errorf("with the key that was replaced, the server starts or fails with: %v", err)
	}
	if replaced != 1 {
		t.Errorf("the record says %d times why the key was replaced", replaced)
	}
}
