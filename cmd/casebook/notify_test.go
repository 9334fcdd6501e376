package main

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"casebook/notify"

	"github.com/alecthomas/kong"
	nats "github.com/nats-io/nats-server/v2/server"
)

// TestNATSBrokerNeedsNoStream sends a message with the flags that serve takes, to a NATS server without any stream.
func TestNATSBrokerNeedsNoStream(t *testing.T) {
	s, err := nats.NewServer(&nats.Options{Host: "127.0.0.1", Port: nats.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
		NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	send := func(args ...string) error {
		t.Helper()
		var flags notifyFlags
		parser, err := kong.New(&flags)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(append(args, "--broker", s.ClientURL())); err != nil {
			t.Fatal(err)
		}
		channels, err := flags.open(t.Context(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = channels[0].Close() }()
		return channels[0].Send(t.Context(), notify.Message{
			ID: "0b6d1c3e-54d0-4f0a-9d43-6f1f4f0a7c11", Topic: "casebook.alerts", Subject: "Severe pain reported",
			Text: "A patient reports severe pain.", Payload: json.RawMessage(`{}`), OccurredAt: time.Now(),
		})
	}
	if err := send("--no-nats-create-stream"); err == nil {
		t.Error("a message was accepted without a stream")
	}
	if err := send(); err != nil {
		t.Errorf("the stream was not created: %v", err)
	}
}
