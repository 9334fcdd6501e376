package notify

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
)

func openInProcessUntilEnd(t *testing.T) *InProcess {
	t.Helper()
	p, ok := open(t, Config{Broker: "inprocess:"}).(*InProcess)
	if !ok {
		t.Fatal("the channel is not an InProcess")
	}
	return p
}

// receive receives one message and acknowledges it.
func receive(t testing.TB, from <-chan *message.Message) *message.Message {
	t.Helper()
	m, open := <-from
	if !open {
		t.Error("the subscription has ended")
		return message.NewMessage("", nil)
	}
	m.Ack()
	return m
}

func TestSubscribersInThisProcessGetMessagesInOrder(t *testing.T) {
	p := openInProcessUntilEnd(t)
	var readers sync.WaitGroup
	sent := []Message{anAlert(), anAlert(), anAlert()}
	for range 2 {
		from, err := p.Subscribe(t.Context(), "casebook.alerts")
		must(t, err)
		readers.Go(func() {
			for _, want := range sent {
				got := receive(t, from)
				if got.UUID != want.ID || string(got.Payload) != string(want.Payload) {
					t.Errorf("got %s %s, want %s", got.UUID, got.Payload, want.ID)
				}
				if diff := cmp.Diff(message.Metadata{
					MetadataContentType: "application/json", MetadataCorrelationID: "c-7",
					MetadataTraceID: want.TraceID, MetadataOccurredAt: "2026-03-01T20:30:00.000005Z",
				}, got.Metadata); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
	for _, m := range sent {
		must(t, p.Send(t.Context(), m))
	}
	readers.Wait()
}

func TestMessageWithoutSubscribersIsDropped(t *testing.T) {
	p := openInProcessUntilEnd(t)
	elsewhere, err := p.Subscribe(t.Context(), "casebook.others")
	must(t, err)
	must(t, p.Send(t.Context(), anAlert()))
	select {
	case m := <-elsewhere:
		t.Errorf("another topic's subscriber got %s", m.UUID)
	default:
	}
}

func TestNackedMessageIsDeliveredAgain(t *testing.T) {
	p := openInProcessUntilEnd(t)
	from, err := p.Subscribe(t.Context(), "casebook.alerts")
	must(t, err)
	m := anAlert()
	sent := make(chan error, 1)
	go func() { sent <- p.Send(t.Context(), m) }()
	(<-from).Nack()
	if again := receive(t, from); again.UUID != m.ID {
		t.Errorf("got %s, want %s again", again.UUID, m.ID)
	}
	must(t, <-sent)
}

// The tests with synctest have an artificial clock: five seconds pass at once.
func TestSubscribersThatDoNotAcknowledgeAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openInProcess((&logBuffer{}).logger())
		idle, err := p.Subscribe(t.Context(), "casebook.alerts")
		must(t, err)
		forgetful, err := p.Subscribe(t.Context(), "casebook.alerts")
		must(t, err)
		refusing, err := p.Subscribe(t.Context(), "casebook.alerts")
		must(t, err)
		good, err := p.Subscribe(t.Context(), "casebook.alerts")
		must(t, err)
		var readers sync.WaitGroup
		readers.Go(func() { <-forgetful })
		readers.Go(func() {
			for m := range refusing {
				m.Nack()
			}
		})
		readers.Go(func() { receive(t, good); receive(t, good) })
		must(t, p.Send(t.Context(), anAlert()))
		must(t, p.Send(t.Context(), anAlert()))
		readers.Wait()
		for _, from := range []<-chan *message.Message{idle, forgetful, refusing} {
			if _, open := <-from; open {
				t.Error("a subscriber that did not acknowledge still gets messages")
			}
		}
		must(t, p.Close())
		if _, open := <-good; open {
			t.Error("closing the channel does not end a subscription")
		}
	})
}

func TestSendInProcessEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openInProcess((&logBuffer{}).logger())
		_, err := p.Subscribe(t.Context(), "casebook.alerts")
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), ackTimeout/2)
		defer cancel()
		err = p.Send(ctx, anAlert())
		wantProblem(t, err, "broker_failed", false)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v does not wrap the context's error", err)
		}
		must(t, p.Close())
	})
}

func TestSubscriptionEndsWithItsContext(t *testing.T) {
	p := openInProcessUntilEnd(t)
	ctx, cancel := context.WithCancel(t.Context())
	from, err := p.Subscribe(ctx, "casebook.alerts")
	must(t, err)
	sent := make(chan error, 1)
	go func() { sent <- p.Send(t.Context(), anAlert()) }()
	<-from // the subscriber has received a message, and does not acknowledge it
	cancel()
	must(t, <-sent)
	if _, open := <-from; open {
		t.Error("the subscription goes on")
	}
}

func TestCloseEndsAWaitingSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openInProcess((&logBuffer{}).logger())
		_, err := p.Subscribe(t.Context(), "casebook.alerts")
		must(t, err)
		sent := make(chan error, 1)
		go func() { sent <- p.Send(t.Context(), anAlert()) }()
		synctest.Wait()
		began := time.Now()
		must(t, p.Close())
		<-sent
		if took := time.Since(began); took != 0 {
			t.Errorf("closing waited %v for a subscriber", took)
		}
		wantProblem(t, p.Send(t.Context(), anAlert()), "channel_closed", false)
		_, err = p.Subscribe(t.Context(), "casebook.alerts")
		wantProblem(t, err, "channel_closed", false)
		must(t, p.Close())
	})
}
