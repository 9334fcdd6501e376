package eventlog_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/embedded/node/clustertest"
	"casebook/eventlog"

	"github.com/google/uuid"
)

// switchboard passes the bytes of connections to a node. A test can silence single connections: they stay open and take bytes, and
// nothing comes back.
type switchboard struct {
	node     string
	listener net.Listener
	copying  sync.WaitGroup

	mu    sync.Mutex
	lines []*line
}

// line is one connection of a switchboard. Once it is silent, no answers go back.
type line struct {
	client, node net.Conn
	silent       chan struct{} // closed when the line is silent
	silence      func()
}

func openSwitchboard(t *testing.T, node string) *switchboard {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &switchboard{node: node, listener: listener}
	s.copying.Go(s.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		for _, l := range s.all() {
			_, _ = l.client.Close(), l.node.Close()
		}
		s.copying.Wait()
	})
	return s
}

func (s *switchboard) accept() {
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		node, err := net.Dial("tcp", s.node)
		if err != nil {
			_ = client.Close()
			continue
		}
		l := &line{client: client, node: node, silent: make(chan struct{})}
		l.silence = sync.OnceFunc(func() { close(l.silent) })
		s.mu.Lock()
		s.lines = append(s.lines, l)
		s.mu.Unlock()
		s.copying.Go(func() {
			_, _ = io.Copy(node, client)
			_ = node.Close()
		})
		s.copying.Go(func() {
			defer func() { _ = client.Close() }()
			answers := make([]byte, 32<<10)
			for {
				n, err := node.Read(answers)
				select {
				case <-l.silent:
					n = 0
				default:
				}
				if _, failed := client.Write(answers[:n]); err != nil || failed != nil {
					return
				}
			}
		})
	}
}

func (s *switchboard) all() []*line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*line(nil), s.lines...)
}

// TestSilentConnectionAmongOthers: one connection to the node takes requests and never answers, while others to the same node are
// well. It is noticed, whichever it is, and the requests and the subscription that used it go on over another one. So they do when
// all connections that there are fall silent, and new ones are well.
func TestSilentConnectionAmongOthers(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	node, err := url.Parse(c.NodeURL())
	if err != nil {
		t.Fatal(err)
	}
	replaced := 0
	for silent, last := 0, false; !last; silent++ {
		s := openSwitchboard(t, node.Host)
		log := connect(t, strings.Replace(c.NodeURL(), node.Host, s.listener.Addr().String(), 1))
		name := stream("note")
		first, err := log.Append(t.Context(), name, eventlog.EmptyTail, uuid.New(), meta("x"), noted{"before"})
		if err != nil {
			t.Fatal(err)
		}
		followed, live := make(chan any, 10), make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		ended, isLive := make(chan error, 1), sync.OnceFunc(func() { close(live) })
		go func() {
			ended <- log.Follow(ctx, eventlog.Subscription{After: first.Position}, func(_ context.Context, b eventlog.Batch) error {
				for _, r := range b.Events {
					if r.Stream == name {
						followed <- r.Event
					}
				}
				if b.Live {
					isLive()
				}
				return nil
			})
		}()
		<-live
		before := s.all()
		last = silent == len(before)
		hushed := before
		if !last {
			hushed = before[silent : silent+1]
		}
		for _, l := range hushed {
			l.silence()
		}

		var asked sync.WaitGroup
		asked.Go(func() {
			if _, err := log.Append(t.Context(), name, first.Tail, uuid.New(), meta("x"), noted{"meanwhile"}); err != nil {
				t.Errorf("connection %d: an append ended with %v", silent, err)
			}
		})
		asked.Go(func() {
			if _, _, err := log.Last(t.Context(), name); err != nil {
				t.Errorf("connection %d: a read ended with %v", silent, err)
			}
		})
		asked.Go(func() {
			if _, err := log.End(t.Context()); err != nil {
				t.Errorf("connection %d: the question for the end ended with %v", silent, err)
			}
		})
		asked.Wait()
		select {
		case event := <-followed:
			if event != (noted{"meanwhile"}) {
				t.Errorf("connection %d: %v was delivered", silent, event)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("connection %d: the subscription does not go on", silent)
		}
		if found := readAll(t, log, name); len(found) != 2 {
			t.Errorf("connection %d: the stream has %d events, want 2", silent, len(found))
		}
		if len(s.all()) > len(before) {
			replaced++
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("connection %d: %v", silent, err)
		}
	}
	if replaced == 0 {
		t.Error("no connection was replaced")
	}
}
