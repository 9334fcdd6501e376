package eventlog

import (
	"context"
	"errors"
	"sync"
)

// Leadership is the leader of the event store at a moment. A leader that was frozen, or cut off from the other nodes, may take
// itself for the leader after another one was elected, and answer reads with what the log held before. Whoever must not be
// misled takes the Leadership, reads, and confirms.
type Leadership struct {
	log *Log
	of  *session
}

// Leadership returns the leader of this moment.
func (l *Log) Leadership() Leadership {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Leadership{log: l, of: l.current}
}

// Confirm returns nil if what was read since Leadership held all that had been acknowledged before: the same node has led all the
// time, and most nodes say so now. Otherwise the error has the code Unavailable, and the log looks for another leader. A single node
// is not asked.
func (c Leadership) Confirm(ctx context.Context) error {
	if c.of == nil {
		return c.log.waitsFor(nil)
	}
	var err error
	if c.of.node.Clustered {
		err = c.of.confirming.confirm(ctx)
	}
	if err == nil && c.of.over.Err() == nil {
		return nil
	}
	c.of.suspect()
	return c.log.waitsFor(errors.Join(err, context.Cause(c.of.over)))
}

// confirmations ask whether the node of a session leads. Whatever number of requests want to know, one question is asked at a
// time: those that come meanwhile share the next one, because an answer tells nothing of the time after its question.
type confirmations struct {
	ask func() error

	mu   sync.Mutex
	next *confirmation // nil while nobody waits for another question
	busy bool
	over bool // nothing more is asked
	run  sync.WaitGroup
}

// confirmation is one question. err is set before answered is closed.
type confirmation struct {
	answered chan struct{}
	err      error
}

// confirm returns the answer to a question that is asked after the call.
func (c *confirmations) confirm(ctx context.Context) error {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return errLeft
	}
	if c.next == nil {
		c.next = &confirmation{answered: make(chan struct{})}
	}
	next := c.next
	if !c.busy {
		c.busy = true
		c.run.Go(c.askAll)
	}
	c.mu.Unlock()
	select {
	case <-next.answered:
		return next.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// askAll asks until nobody waits.
func (c *confirmations) askAll() {
	for {
		c.mu.Lock()
		asked := c.next
		c.next, c.busy = nil, asked != nil
		c.mu.Unlock()
		if asked == nil {
			return
		}
		asked.err = c.ask()
		close(asked.answered)
	}
}

// close waits until nothing is asked any more. The session is over then, so that questions end at once.
func (c *confirmations) close() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.run.Wait()
}

// errLeft means that the log has left the node.
var errLeft = errors.New("the node was left")
