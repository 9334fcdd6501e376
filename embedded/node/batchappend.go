package node

import (
	"errors"
	"io"
	"sync"
	"time"

	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	// Appends of one call that are taken in and not answered yet. Beyond these the call is not read from, so that
	// gRPC's flow control slows its client down.
	batchMaxInFlight      = 4096
	batchMaxInFlightBytes = 32 << 20
	// Appends of one call that have begun and whose last part has not come.
	batchMaxOpen      = 1024
	batchMaxOpenBytes = 16 << 20
)

// batchCall is one BatchAppend call: many appends over one stream, each answered by itself under its correlation id.
// One goroutine receives and hands on without waiting, another sends what the committer leaves for it.
type batchCall struct {
	node   *Node
	stream streams.Streams_BatchAppendServer

	// Of the receiving goroutine alone: appends whose parts are still coming, by correlation id.
	open      map[string]*batchedAppend
	openBytes int

	mu       sync.Mutex
	room     sync.Cond // signalled when appends were answered, or the call ended
	answers  []*batchedAppend
	inFlight int
	bytes    int
	ended    bool
	wake     chan struct{} // one slot: there are answers
}

// batchedAppend is one append of a call, from its first part to its answer.
type batchedAppend struct {
	store.Append
	call    *batchCall
	rawID   []byte
	echo    []byte // stream and expected position, as the answer repeats them
	refused *failure
	result  store.Result
	size    int
}

// BatchAppend serves the fast way to append.
func (s *streamsService) BatchAppend(stream streams.Streams_BatchAppendServer) error {
	s.node.batchStreams.Add(1)
	defer s.node.batchStreams.Add(-1)
	c := &batchCall{node: s.node, stream: stream, open: map[string]*batchedAppend{}, wake: make(chan struct{}, 1)}
	c.room.L = &c.mu
	received := make(chan error, 1)
	// The receiver may still be waiting for its client when this call returns, which is what ends its wait.
	s.node.workers.Go(func() { received <- c.receive() })
	err := c.send(received)
	c.end()
	return err
}

// send delivers answers until the client has closed its side and has all of them.
func (c *batchCall) send(received <-chan error) error {
	var spare []*batchedAppend
	stopping := c.node.stopping
	done := false
	for {
		c.mu.Lock()
		answers := c.answers
		c.answers = spare[:0]
		idle := c.inFlight == 0
		c.mu.Unlock()
		bytes := 0
		for _, a := range answers {
			if err := c.stream.SendMsg(a.encode()); err != nil {
				return err
			}
			bytes += a.size
		}
		if len(answers) > 0 {
			c.mu.Lock()
			c.inFlight -= len(answers)
			c.bytes -= bytes
			c.mu.Unlock()
			c.room.Signal()
			clear(answers)
		}
		spare = answers
		if len(answers) > 0 {
			continue
		}
		if done && idle {
			if stopping == nil {
				return errClosing
			}
			return nil
		}
		select {
		case <-c.wake:
		case err := <-received:
			if err != nil {
				return err
			}
			done, received = true, nil
		case <-stopping:
			// What was taken in is still answered; nothing more is.
			stopping, done = nil, true
			c.end()
		case <-c.stream.Context().Done():
			return c.stream.Context().Err()
		}
	}
}

// end lets the receiver take nothing more.
func (c *batchCall) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.room.Broadcast()
}

// receive hands appends to the sequencer in the order of their last parts.
func (c *batchCall) receive() error {
	var message batchRequest
	for {
		err := c.stream.RecvMsg(&message)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.take(&message); err != nil {
			return err
		}
	}
}

// take adds a part to its append and hands the append on if it was the last part.
func (c *batchCall) take(m *batchRequest) error {
	a, known := c.open[string(m.rawID)]
	if !known {
		a = &batchedAppend{call: c, rawID: m.rawID}
		a.begin(&m.options)
	}
	before := a.size
	if a.refused == nil {
		for i := range m.events {
			if a.refused = c.node.addEvent(&a.Append, &m.events[i]); a.refused != nil {
				break
			}
		}
		a.size = a.Append.Size
	}
	if a.refused != nil {
		a.Append.Events, a.size = nil, 0
	}
	if !m.final {
		c.openBytes += a.size - before
		if !known {
			c.open[string(m.rawID)] = a
		}
		if len(c.open) > batchMaxOpen || c.openBytes > batchMaxOpenBytes {
			return badRequest("too many appends of this call are incomplete; send the last part of each sooner")
		}
		return nil
	}
	if known {
		delete(c.open, string(m.rawID))
		c.openBytes -= before
	}
	return c.submit(a)
}

func (a *batchedAppend) refuse(f *failure) {
	if a.refused == nil {
		a.refused = f
	}
	a.Append.Events = nil
}

// begin takes the options, which come with the first part.
func (a *batchedAppend) begin(o *wireOptions) {
	if len(a.rawID) == 0 {
		a.refuse(badRequest("the append has no correlation id"))
	}
	stream, expected, f := o.target()
	if f == nil {
		f = a.call.node.authorize(a.call.stream.Context(), toWrite, stream)
	}
	if f != nil {
		a.refuse(f)
	}
	a.Stream, a.Expected = stream, expected
	a.Deadline = o.deadline(time.Now())
	a.echo = echoOptions(o)
}

// submit waits for room among the unanswered appends, then hands over.
func (c *batchCall) submit(a *batchedAppend) error {
	c.mu.Lock()
	for !c.ended && c.inFlight > 0 && (c.inFlight >= batchMaxInFlight || c.bytes+a.size > batchMaxInFlightBytes) {
		c.room.Wait()
	}
	if c.ended {
		c.mu.Unlock()
		return errClosing
	}
	c.inFlight++
	c.bytes += a.size
	c.mu.Unlock()
	if a.refused == nil {
		a.Append.Done = a.answer
		err := c.node.store.Submit(&a.Append)
		if err == nil {
			return nil
		}
		a.refused = storeFailure(err)
	}
	a.answer(store.Result{Revision: -1})
	return nil
}

// answer leaves the outcome to the sending goroutine. It never waits.
func (a *batchedAppend) answer(r store.Result) {
	a.result = r
	c := a.call
	c.mu.Lock()
	c.answers = append(c.answers, a)
	first := len(c.answers) == 1
	c.mu.Unlock()
	if first {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// encode makes the BatchAppendResp.
func (a *batchedAppend) encode() frame {
	b := make([]byte, 0, 48+len(a.rawID)+len(a.echo))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendBytes(b, a.rawID)
	f := a.refused
	if f == nil {
		f = outcomeFailure(&a.Append, a.result)
	}
	if f != nil {
		status, err := proto.Marshal(f.rpcStatus())
		if err != nil { // only text that is not UTF-8 could do that, and it is quoted
			status = nil
		}
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendBytes(b, status)
		return append(b, a.echo...)
	}
	b = protowire.AppendTag(b, 3, protowire.BytesType)
	var inner [64]byte
	s := inner[:0]
	if a.result.Revision >= 0 {
		s = protowire.AppendTag(s, 1, protowire.VarintType)
		s = protowire.AppendVarint(s, uint64(a.result.Revision))
	} else {
		s = append(s, 2<<3|2, 0) // no_stream
	}
	if len(a.Append.Events) > 0 {
		n := 2 + 2*protowire.SizeVarint(a.result.Position)
		s = protowire.AppendTag(s, 3, protowire.BytesType)
		s = protowire.AppendVarint(s, uint64(n))
		s = protowire.AppendTag(s, 1, protowire.VarintType)
		s = protowire.AppendVarint(s, a.result.Position)
		s = protowire.AppendTag(s, 2, protowire.VarintType)
		s = protowire.AppendVarint(s, a.result.Position)
	} else {
		s = append(s, 4<<3|2, 0) // no_position
	}
	b = protowire.AppendBytes(b, s)
	return append(b, a.echo...)
}

// echoOptions encodes stream_identifier and expected_stream_position of the answer.
func echoOptions(o *wireOptions) []byte {
	b := make([]byte, 0, 16+len(o.stream))
	b = protowire.AppendTag(b, 4, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(1+protowire.SizeBytes(len(o.stream))))
	b = protowire.AppendTag(b, 3, protowire.BytesType)
	b = protowire.AppendBytes(b, o.stream)
	switch o.expected {
	case 2:
		b = protowire.AppendTag(b, 5, protowire.VarintType)
		b = protowire.AppendVarint(b, o.revision)
	case 3, 4, 5:
		b = append(b, byte(o.expected+3)<<3|2, 0)
	}
	return b
}
