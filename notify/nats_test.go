package notify

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startNATS runs a NATS server with JetStream until the test ends. change may change its options.
func startNATS(t *testing.T, change ...func(*server.Options)) *server.Server {
	t.Helper()
	options := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	}
	for _, f := range change {
		f(options)
	}
	s, err := server.NewServer(options)
	must(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	return s
}

// connectJetStream returns a client that reads and creates the server's streams.
func connectJetStream(t *testing.T, s *server.Server, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(s.ClientURL(), options...)
	must(t, err)
	t.Cleanup(conn.Close)
	streams, err := jetstream.New(conn)
	must(t, err)
	return streams
}

func TestNATSStoresARepeatedMessageOnce(t *testing.T) {
	s := startNATS(t)
	config := Config{Broker: s.ClientURL(), NATS: NATSConfig{Provision: true}}
	m := anAlert()
	channel := open(t, config)
	must(t, channel.Send(t.Context(), m))
	must(t, channel.Send(t.Context(), m))
	must(t, open(t, config).Send(t.Context(), m)) // another process
	other := anAlert()
	must(t, channel.Send(t.Context(), other))

	stream, err := connectJetStream(t, s).Stream(t.Context(), "casebook_alerts")
	must(t, err)
	info, err := stream.Info(t.Context())
	must(t, err)
	if info.State.Msgs != 2 {
		t.Errorf("the stream holds %d messages, want 2", info.State.Msgs)
	}
	if info.Config.Duplicates != defaultDuplicates || info.Config.MaxAge != defaultMaxAge || info.Config.Storage != jetstream.FileStorage {
		t.Errorf("the stream has the configuration %+v", info.Config)
	}
	stored, err := stream.GetMsg(t.Context(), 1)
	must(t, err)
	if string(stored.Data) != string(m.Payload) || stored.Subject != m.Topic {
		t.Errorf("the stream holds %s with the subject %s", stored.Data, stored.Subject)
	}
	if diff := cmp.Diff(nats.Header{
		nats.MsgIdHdr: {m.ID}, "_watermill_message_uuid": {m.ID}, MetadataContentType: {"application/json"},
		MetadataCorrelationID: {m.CorrelationID}, MetadataTraceID: {m.TraceID}, MetadataOccurredAt: {"2026-03-01T20:30:00.000005Z"},
	}, stored.Header); diff != "" {
		t.Error(diff)
	}
}

func TestAnExistingStreamIsUsedAndNotChanged(t *testing.T) {
	s := startNATS(t)
	streams := connectJetStream(t, s)
	existing := jetstream.StreamConfig{Name: "everything", Subjects: []string{"casebook.>"}, MaxMsgs: 7}
	_, err := streams.CreateStream(t.Context(), existing)
	must(t, err)
	for _, provision := range []bool{true, false} {
		channel := open(t, Config{Broker: s.ClientURL(), NATS: NATSConfig{Provision: provision}})
		must(t, channel.Send(t.Context(), anAlert()))
	}
	stream, err := streams.Stream(t.Context(), "everything")
	must(t, err)
	if info := stream.CachedInfo(); info.State.Msgs != 2 || info.Config.MaxMsgs != 7 {
		t.Errorf("the stream is now %+v", info)
	}
	if _, err := streams.Stream(t.Context(), "casebook_alerts"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a second stream was made: %v", err)
	}
}

func TestSendFailsUntilTheTopicHasAStream(t *testing.T) {
	s := startNATS(t)
	channel := open(t, Config{Broker: s.ClientURL()})
	m := anAlert()
	wantProblem(t, channel.Send(t.Context(), m), "broker_failed", false)
	_, err := connectJetStream(t, s).CreateStream(t.Context(), jetstream.StreamConfig{Name: "alerts", Subjects: []string{m.Topic}})
	must(t, err)
	must(t, channel.Send(t.Context(), m))
}

func TestMessageTooLargeForTheServerIsRejected(t *testing.T) {
	s := startNATS(t, func(o *server.Options) { o.MaxPayload = 1 << 10 })
	m := anAlert()
	m.Payload = append(append([]byte(`"`), make([]byte, 2<<10)...), '"')
	for i := 1; i < len(m.Payload)-1; i++ {
		m.Payload[i] = 'a'
	}
	channel := open(t, Config{Broker: s.ClientURL(), NATS: NATSConfig{Provision: true}})
	wantProblem(t, channel.Send(t.Context(), m), "broker_rejected", true)
}

func TestUnreachableBrokerFailsSendButNotOpen(t *testing.T) {
	s := startNATS(t)
	url := s.ClientURL()
	port := s.Addr().String()
	s.Shutdown()
	s.WaitForShutdown()
	log := &logBuffer{}
	channel := open(t, Config{Broker: url, NATS: NATSConfig{Provision: true}, Logger: log.logger()})
	m := anAlert()
	wantProblem(t, channel.Send(t.Context(), m), "broker_failed", false)
	if log.String() == "" {
		t.Error("the log does not say that the broker cannot be reached")
	}
	_, portNumber, err := splitPort(port)
	must(t, err)
	startNATS(t, func(o *server.Options) { o.Port = portNumber })
	must(t, channel.Send(t.Context(), m))
}

func TestNATSWithAPasswordOverTLS(t *testing.T) {
	pair, roots := selfSigned(t)
	s := startNATS(t, func(o *server.Options) {
		o.Username, o.Password = "casebook", "hunter2/@:"
		o.TLS, o.TLSConfig = true, pair
	})
	log := &logBuffer{}
	at := "@" + s.Addr().String()
	config := Config{
		Broker: "nats+tls://casebook:hunter2%2F%40%3A" + at, NATS: NATSConfig{Provision: true}, RootCAs: roots, Logger: log.logger(),
	}
	must(t, open(t, config).Send(t.Context(), anAlert()))

	wrong := config
	wrong.Broker = "nats+tls://casebook:hunter2" + at
	err := open(t, wrong).Send(t.Context(), anAlert())
	wantProblem(t, err, "broker_failed", false)
	config.Logger.Info("configured", "config", config, "and", wrong)
	wantNoSecret(t, "hunter2", err, config, wrong, log)
}

func TestBrokerSendEndsWithItsContext(t *testing.T) {
	s := startNATS(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the caller gave up")
	cancel(reason)
	if err := open(t, Config{Broker: s.ClientURL()}).Send(ctx, anAlert()); !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
}
