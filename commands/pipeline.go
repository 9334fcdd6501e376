package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"casebook/domain"
	"casebook/eventlog"

	"github.com/google/uuid"
)

const (
	// maxBatchCommands and maxBatchBytes bound what waits for the next append of a stream. A larger command has an append of its
	// own.
	maxBatchCommands = 256
	maxBatchBytes    = 256 << 10
)

// pipeline is what commands of this process are about to record in one stream. While an append is under way, further commands
// are decided on the state that there will be after it, and wait together for the next append, which stores the events of all of
// them or none. So a stream takes many commands in the time of one append, and at most one append of it is under way.
//
// Several appends under way, each expecting the revision that the one before leads to, would not be safe: the store compares
// revisions, and not events. If another process records as many events as an append that is refused for it, the append behind
// that one finds the revision that it expects, and is stored on a state that it was not decided on.
type pipeline struct {
	// turn is held while a command is decided on, but not while its append is under way. Reads of the state do not wait for it.
	turn sync.Mutex

	mu sync.Mutex // guards the fields below
	// sending is the batch whose append is under way, filling the one behind it; nil if there is none. filling has commands only
	// while sending has.
	sending, filling *batch
}

// batch is what one append stores.
type batch struct {
	// from is the state that the first of its commands was decided on, end the state after its last event. Both are sound.
	from, end *snapshot
	encoded   eventlog.Encoded
	commands  map[uuid.UUID]bool

	// done is closed when the outcome is known. err is then nil if the events are durable, eventlog.ErrConflict if the stream
	// has other events than expected, errSentBack if a batch before it was not stored, and else says why the outcome is unknown.
	done chan struct{}
	err  error
	// position is that of the last event.
	position domain.Position

	// located is done once, by a command that needs the position of an event before the last one.
	located   sync.Once
	positions []domain.Position
}

// errSentBack means that a command was decided on events that were not stored.
var errSentBack = errors.New("the events that the command was decided on were not stored")

// last returns the last batch that is not known to be durable, and the state after it; nil if there is none. The caller has
// the turn, so nobody adds to it.
func (p *pipeline) last() (*batch, *snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.filling != nil:
		return p.filling, p.filling.end
	case p.sending != nil:
		return p.sending, p.sending.end
	}
	return nil, nil
}

// holding returns the batch that has events of the command; nil if none has.
func (p *pipeline) holding(id uuid.UUID) *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range []*batch{p.sending, p.filling} {
		if b != nil && b.commands[id] {
			return b
		}
	}
	return nil
}

// covering returns the batch under way with which the stream has this many events; nil if there is none.
func (p *pipeline) covering(length uint64) *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.sending; b != nil && length <= uint64(b.end.tail.Revision+1) {
		return b
	}
	return nil
}

// addition is what a command adds to a pipeline: its events, decided on from, which lead to end. after is the batch that from
// is the end of; nil if from is durable.
type addition struct {
	id        uuid.UUID
	encoded   eventlog.Encoded
	from, end *snapshot
	after     *batch
}

// add puts a command's events into the batch that is stored next. If lead is set, the caller has to send this batch. The
// error is errSentBack if what the command was decided on was not stored, or is of another past of the log. The caller has the turn.
func (p *pipeline) add(ctx context.Context, a addition) (b *batch, lead bool, err error) {
	for {
		p.mu.Lock()
		if a.after != nil && (a.after.hasFailed() || a.after.encoded.Past != a.encoded.Past) {
			p.mu.Unlock()
			return nil, false, errSentBack
		}
		if b = p.filling; b != nil && b.hasRoomFor(a.encoded) {
			b.encoded, b.end = b.encoded.Followed(a.encoded), a.end
			b.commands[a.id] = true
			p.mu.Unlock()
			return b, false, nil
		}
		if p.filling == nil {
			b = &batch{from: a.from, end: a.end, encoded: a.encoded, commands: map[uuid.UUID]bool{a.id: true}, done: make(chan struct{})}
			if lead = p.sending == nil; lead {
				p.sending = b
			} else {
				p.filling = b
			}
			p.mu.Unlock()
			return b, lead, nil
		}
		before := p.sending
		p.mu.Unlock()
		select {
		case <-before.done: // then the full batch is sent
		case <-ctx.Done():
			return nil, false, fmt.Errorf("wait for the stream's appends: %w", ctx.Err())
		}
	}
}

func (b *batch) hasRoomFor(e eventlog.Encoded) bool {
	return b.encoded.Past == e.Past && len(b.commands) < maxBatchCommands && b.encoded.Size+e.Size <= maxBatchBytes
}

// hasFailed says whether the batch is known not to be durable.
func (b *batch) hasFailed() bool {
	select {
	case <-b.done:
		return b.err != nil
	default:
		return false
	}
}

// lead sends a batch in the goroutine of a command that waits for it, and what is behind it in another one. If the command no
// longer waits, the outcome is found out in another goroutine.
func (h *Handler) lead(ctx context.Context, st *stream, b *batch) {
	appended, err := h.appendEncoded(ctx, b.encoded)
	if ctx.Err() != nil && errors.Is(err, eventlog.ErrUnknownOutcome) {
		h.inBackground(func() { h.sendAll(context.WithoutCancel(ctx), st, b) })
		return
	}
	if next := h.settle(st, b, appended, err); next != nil {
		h.inBackground(func() { h.sendAll(context.WithoutCancel(ctx), st, next) })
	}
}

// sendAll sends a batch and those behind it.
func (h *Handler) sendAll(ctx context.Context, st *stream, b *batch) {
	for b != nil {
		appended, err := h.appendEncoded(ctx, b.encoded)
		b = h.settle(st, b, appended, err)
	}
}

// settle tells the commands of a batch its outcome, and returns the next batch to send. After a failure, all behind it are sent
// back.
func (h *Handler) settle(st *stream, b *batch, appended eventlog.Appended, err error) (next *batch) {
	switch conflict := (*eventlog.ConflictError)(nil); {
	case err == nil:
		b.position = appended.Position
		h.states.advance(st, b)
	case errors.As(err, &conflict) && conflict.Current > b.from.tail.Revision:
		st.growTo(uint64(conflict.Current + 1)) // so the next decision reads the stream
	default:
		// The store may have taken the events or not, so the next decision has to read the stream.
		st.outdated.Store(true)
	}
	p := &st.pipeline
	p.mu.Lock()
	next, p.sending, p.filling = p.filling, p.filling, nil
	if err != nil {
		p.sending = nil
		if next != nil {
			next.err = errSentBack
			close(next.done)
		}
		next = nil
	}
	b.err = err
	close(b.done)
	p.mu.Unlock()
	return next
}

// positionOf returns the log position of an event of a durable batch. If it cannot be read, it is that of the batch's last
// event, which lies behind it.
func (b *batch) positionOf(ctx context.Context, log *eventlog.Log, revision uint64) domain.Position {
	if int64(revision) == b.encoded.Tail.Revision {
		return b.position
	}
	first := b.encoded.Events[0]
	b.located.Do(func() {
		if positions, err := log.PositionsOf(ctx, first.Stream, first.Revision, uint64(len(b.encoded.Events))); err == nil {
			b.positions = positions
		}
	})
	if i := revision - first.Revision; i < uint64(len(b.positions)) {
		return b.positions[i]
	}
	return b.position
}

// background are goroutines of a handler. wait does not return before all that were begun before it have ended.
type background struct {
	beginning sync.RWMutex
	running   sync.WaitGroup
}

func (g *background) begin(f func()) {
	g.beginning.RLock() // a WaitGroup must not grow from nothing while somebody waits for it
	defer g.beginning.RUnlock()
	g.running.Go(f)
}

func (g *background) wait() {
	g.beginning.Lock()
	defer g.beginning.Unlock()
	g.running.Wait()
}

// inBackground runs f in a goroutine that Run waits for.
func (h *Handler) inBackground(f func()) { h.background.begin(f) }
