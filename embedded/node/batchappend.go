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
	// Limits for the unanswered appends of one call. At a limit the server stops reading from the call, so that gRPC's
	// flow control slows the client down.
	batchMaxInFlight      = 4096
	batchMaxInFlightBytes = 32 << 20
	// Limits for the incomplete appends of one call, those whose last part has not arrived.
	batchMaxOpen      = 1024
	batchMaxOpenBytes = 16 << 20
)

// batchCall is one BatchAppend call: many appends over one stream, each with an answer of its own under its correlation
// id. One goroutine receives appends and submits them without waiting, another sends the answers of the committer.
type batchCall struct {
	node   *Node
	stream streams.Streams_BatchAppendServer

	// Incomplete appends by correlation id. Only the receiving goroutine uses these fields.
	open      map[string]*batchedAppend
	openBytes int

	mu       sync.Mutex
	room     sync.Cond // signalled when appends were answered, or the call ended
	answers  []*batchedAppend
	inFlight int
	bytes    int // of the appends in flight
	ended    bool
	wake     chan struct{} // one slot: answers are waiting to be sent
}

// batchedAppend is one append of a call, from its first part to its answer.
type batchedAppend struct {
	store.Append
	call    *batchCall
	rawID   []byte // the correlation id as it was received
	echo    []byte // stream and expected position, encoded for the answer
	refused *failure
	result  store.Result
	size    int // in bytes
	data    int // bytes of the events' data
}

// BatchAppend serves many appends over one gRPC stream, which costs less per append than Append.
func (s *streamsService) BatchAppend(stream streams.Streams_BatchAppendServer) error {
	s.node.batchStreams.Add(1)
	defer s.node.batchStreams.Add(-1)
	c := &batchCall{node: s.node, stream: stream, open: map[string]*batchedAppend{}, wake: make(chan struct{}, 1)}
	c.room.L = &c.mu
	received := make(chan error, 1)
	// The receiver may still wait for its client when this call returns; returning ends its wait.
	s.node.workers.Go(func() { received <- c.receive() })
	err := c.send(received)
	c.end()
	return err
}

// send delivers answers until the client has closed its side and every append is answered.
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
		for _, a := range answers {
			if err := c.stream.SendMsg(a.encode()); err != nil {
				return err
			}
			// At once, and not after all answers: a client may take the next answer only after its next append was taken.
			c.mu.Lock()
			c.inFlight--
			c.bytes -= a.size
			c.mu.Unlock()
			c.room.Signal()
		}
		clear(answers)
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
			// The submitted appends are still answered, and no others are accepted.
			stopping, done = nil, true
			c.end()
		case <-c.stream.Context().Done():
			return c.stream.Context().Err()
		}
	}
}

// end stops the receiver from submitting more appends.
func (c *batchCall) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.room.Broadcast()
}

// receive submits appends to the store in the order of their last parts.
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

// take adds a part to its append, and submits the append after its last part.
func (c *batchCall) take(m *batchRequest) error {
	a, known := c.open[string(m.rawID)]
	if !known {
		a = &batchedAppend{call: c, rawID: m.rawID}
		a.begin(&m.options)
	}
	before := a.size
	if a.refused == nil {
		for i := range m.events {
			if a.refused = c.node.addEvent(&a.Append, &a.data, &m.events[i]); a.refused != nil {
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
			return badRequest("too many appends of this call are incomplete; complete some before beginning others")
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

// begin reads the options, which are in the first part.
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

// submit waits until the unanswered appends are below the limits, then submits the append to the store.
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

// answer passes the outcome to the sending goroutine. It never blocks.
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

// encode encodes the append's answer as a BatchAppendResp.
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
		if err != nil { // only text that is not UTF-8 fails, and such text is quoted
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
	n := 2 + 2*protowire.SizeVarint(a.result.Position)
	s = protowire.AppendTag(s, 3, protowire.BytesType)
	s = protowire.AppendVarint(s, uint64(n))
	s = protowire.AppendTag(s, 1, protowire.VarintType)
	s = protowire.AppendVarint(s, a.result.Position)
	s = protowire.AppendTag(s, 2, protowire.VarintType)
	s = protowire.AppendVarint(s, a.result.Position)
	b = protowire.AppendBytes(b, s)
	return append(b, a.echo...)
}

// echoOptions encodes the fields stream_identifier and expected_stream_position of the answer.
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
