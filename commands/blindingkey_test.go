package commands_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain/refuse"
	"casebook/domain/security"
	"casebook/embedded/node"
	"casebook/embedded/storetest"
	"casebook/eventlog"
)

// recorder returns a handler with the key of a byte on an event store.
func recorder(t *testing.T, url string, secret byte) *commands.Handler {
	t.Helper()
	keys, err := eventlog.NewBlindingKeys(bytes.Repeat([]byte{secret}, eventlog.BlindingKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: url, Registry: contexts.Registry(), BlindingKeys: keys,
		Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands()})
}

func isOtherKey(err error) bool {
	refusal, ok := refuse.As(err)
	return ok && refusal.Code == "blinding_key_differs"
}

func TestAnotherBlindingKeyThanTheRecordedOneIsRefused(t *testing.T) {
	n, err := node.Open(t.Context(), node.Options{Dir: filepath.Join(t.TempDir(), "node"), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	url := n.ConnectionString()
	right, other := recorder(t, url, 1), recorder(t, url, 2)
	for range 2 {
		if err := right.RecordBlindingKey(t.Context(), "", ""); err != nil {
			t.Fatal(err)
		}
		if err := other.RecordBlindingKey(t.Context(), "", ""); !isOtherKey(err) {
			t.Errorf("another key is recorded, or fails with: %v", err)
		}
	}
	// A record that somebody has damaged stops nobody.
	stream := security.KeyDecider.Stream(security.BlindingKey)
	if _, err := storetest.Forge(t.Context(), url, stream, "BlindingKeyRecorded", []byte(`{"check":"x"}`), nil); err != nil {
		t.Fatal(err)
	}
	if err := right.RecordBlindingKey(t.Context(), "", ""); err != nil {
		t.Errorf("with a damaged record: %v", err)
	}
	// While the event store is away, it is waited for.
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := right.RecordBlindingKey(ctx, "", ""); !errors.Is(err, context.DeadlineExceeded) || ctx.Err() == nil {
		t.Errorf("without an event store: %v", err)
	}
}

// TestAProgramEndsWhenItsKeyIsReplaced: what it sealed from then on would open for nobody.
func TestAProgramEndsWhenItsKeyIsReplaced(t *testing.T) {
	n, err := node.Open(t.Context(), node.Options{Dir: filepath.Join(t.TempDir(), "node"), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	running, replacing := recorder(t, n.ConnectionString(), 1), recorder(t, n.ConnectionString(), 2)
	if err := running.RecordBlindingKey(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- running.Run(t.Context()) }()
	if err := running.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	lost, err := eventlog.NewBlindingKeys(bytes.Repeat([]byte{1}, eventlog.BlindingKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	if err := replacing.RecordBlindingKey(t.Context(), lost.Check(), "lost"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, commands.ErrKeyReplaced) {
		t.Errorf("it ends with %v", err)
	}
}
