package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/eventlog"

	"github.com/google/uuid"
)

// run is one command on its way from its decoded body to its answer.
type run[S, E, F, C any] struct {
	d *Declaration[S, E, F, C]
	h *Handler
	r Request
	// past is the log's past in which the command is decided on.
	past eventlog.Past
	body C
	id   uuid.UUID
	meta eventlog.Metadata
	of   fingerprint
	call domain.Call
	// own is the command's stream.
	own *stream
	// alone says that the command is decided on while no append of the stream is under way.
	alone bool
}

// What keeps a decision from being the last word.
var (
	// errMayBeOld means that the command was refused, or had nothing to record, and that the state may lack events.
	errMayBeOld = errors.New("the decision was made on a state that may be old")
	// errAgain means that the newest state leads to another decision.
	errAgain = errors.New("the state has changed")
	// errNotAlone means that the decision needs more of the stream than a state that is not durable yet.
	errNotAlone = errors.New("the decision has to wait for the appends under way")
)

// maxTurns bounds how often a command is decided on if what it is decided on is not stored.
const maxTurns = 8 * maxAttempts

// decideAndAppend decides on the command, and answers when what it records is durable. A command is decided on again when its
// stream has changed.
func (c *run[S, E, F, C]) decideAndAppend(ctx context.Context) (Answer, error) {
	if err := c.h.keyMustBeOf(c.id, c.r.Key, c.of); err != nil {
		return Answer{}, err
	}
	attempts := 0
	for range maxTurns {
		answer, err := c.decide(ctx)
		if errors.Is(err, errMayBeOld) {
			answer, err = c.confirm(ctx)
		}
		switch {
		case errors.Is(err, errSentBack):
		case errors.Is(err, errNotAlone):
			c.alone = true
		case errors.Is(err, errAgain), errors.Is(err, eventlog.ErrConflict):
			attempts++
		default:
			return answer, err
		}
		if attempts == maxAttempts {
			break
		}
	}
	return Answer{}, refuse.WrongState("conflict", "%s changed again and again while the command was decided on", c.own.name).
		Do("send the command again")
}

// reader returns the reader for the facts of a decision.
func (c *run[S, E, F, C]) reader() Reader {
	reader := c.h.ReaderAfter(c.r.CausePosition)
	reader.own = &ownStream{name: c.own.name}
	return reader
}

// takeTurn takes the turn on the stream. If it has to wait for others, or its facts for the log, it reads the facts before, so that
// nobody waits for them while it has the turn.
func (c *run[S, E, F, C]) takeTurn(ctx context.Context) {
	turn := &c.own.pipeline.turn
	if c.r.CausePosition == 0 && turn.TryLock() {
		return
	}
	_, _ = c.d.facts(ctx, c.reader(), c.body) // the decision reads them again, and fails where they cannot be read
	turn.Lock()
}

// decide decides on the command on the newest state that this process knows: that after the appends under way, if there are
// any. It returns when the events are durable.
func (c *run[S, E, F, C]) decide(ctx context.Context) (Answer, error) {
	if answer, known, err := c.known(ctx); known || err != nil {
		return answer, err
	}
	pipeline := &c.own.pipeline
	c.takeTurn(ctx)
	turn := true
	endTurn := func() {
		if turn {
			turn = false
			pipeline.turn.Unlock()
		}
	}
	defer endTurn()
	if b := pipeline.holding(c.id); b != nil { // from an earlier request, which did not wait for the outcome
		endTurn()
		return Answer{}, cmp.Or(b.await(ctx), errSentBack)
	}
	after, snap := pipeline.last()
	if after != nil && c.alone {
		if err := after.await(ctx); err != nil {
			return Answer{}, err
		}
		after = nil
	}
	if after == nil {
		var err error
		if snap, err = c.load(ctx, c.own, false); c.d.beside != nil && cannotGoOn(err) {
			return Answer{}, errMayBeOld
		} else if err != nil {
			return Answer{}, err
		}
	}
	if snap.damage != nil {
		return Answer{}, errMayBeOld // two people may have resolved it
	}
	if at, may := c.own.mayHold(c.id); may {
		if after != nil && c.d.showAgain != nil {
			return Answer{}, errNotAlone
		}
		if answer, found, err := c.recall(ctx, c.own, at, snap, snap.state.(S)); found || err != nil {
			return answer, err
		}
	}
	reader := c.reader()
	events, err := c.d.decideOn(ctx, reader, snap.state.(S), c.body, c.call)
	if reader.own.read && after != nil {
		return Answer{}, errNotAlone // the facts lack what is under way
	}
	if _, refused := refuse.As(err); refused || err == nil && len(events) == 0 {
		// Only a refusal on the newest state is final, and nothing else checks that this one is: there is no append.
		endTurn()
		if after != nil {
			if err := after.await(ctx); err != nil {
				return Answer{}, err
			}
		}
		return Answer{}, errMayBeOld
	}
	if err != nil {
		return Answer{}, err
	}
	return c.append(ctx, c.own, after, snap, snap.state.(S), events, endTurn)
}

// append appends the events, decided on a state, behind the batch after, and ends the turn when they are on their way.
func (c *run[S, E, F, C]) append(ctx context.Context, st *stream, after *batch, snap *snapshot, state S, events []any, endTurn func(),
) (Answer, error) {
	if err := c.h.keyMustBeOf(c.id, c.r.Key, c.of); err != nil {
		return Answer{}, err
	}
	encoded, err := c.h.log.Encode(st.name, snap.tail, c.id, c.meta, events...)
	if err != nil {
		return Answer{}, c.notStored(st, err)
	}
	encoded.Past = c.past
	end, err := foldAll(snap, encoded, c.d.fold)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", c.d.name, err)
	}
	b, lead, err := st.pipeline.add(ctx, addition{id: c.id, encoded: encoded, from: snap, end: end, after: after})
	if err != nil {
		return Answer{}, err
	}
	endTurn()
	if lead {
		c.h.lead(ctx, st, b)
	}
	if err := b.await(ctx); err != nil {
		return Answer{}, fmt.Errorf("%s: %w", c.d.name, err)
	}
	if b.err != nil {
		return Answer{}, c.notStored(st, b.err)
	}
	for i := range encoded.Events {
		encoded.Events[i].Position = b.position
		if !access.IsProcess(c.r.Principal.User) { // a process only wants to know what it has to wait for
			encoded.Events[i].Position = b.positionOf(ctx, c.h.log, encoded.Events[i].Revision)
		}
	}
	c.tell(encoded.Events)
	answer := c.h.answerOf(c.id, encoded.Events)
	if c.d.reveal != nil {
		if answer.Revealed, err = c.d.reveal(ctx, c.h.Reader(), state, c.body); err != nil {
			return Answer{}, fmt.Errorf("%s: %w", c.d.name, err)
		}
	}
	return answer, nil
}

// notStored returns the error of a command whose events are too large to be stored, or which an append has not stored, or may not have.
func (c *run[S, E, F, C]) notStored(st *stream, err error) error {
	switch {
	case errors.Is(err, eventlog.ErrStreamDeleted):
		return recordDeleted(st.name)
	case errors.Is(err, eventlog.ErrMissingRight):
		c.h.logger.Error("the event store does not let this program record", "command", c.d.name, "stream", st.name, "error", err)
		return refuse.Overload("store_refuses", "the event store lets this server record nothing at present").
			Do("keep the entry, tell those who run the system, and send the same command again later, with the same Idempotency-Key")
	case errors.Is(err, eventlog.ErrTooLarge):
		return refuse.Malformed("command_too_large", "%s is larger than one event may be", c.d.name).Do("stay below a megabyte")
	}
	return fmt.Errorf("%s: %w", c.d.name, err)
}

// await waits until the outcome of a batch is known. If ctx ends before, it is not.
func (b *batch) await(ctx context.Context) error {
	select {
	case <-b.done:
		return nil
	default:
	}
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: no answer in time: %w", eventlog.ErrUnknownOutcome, ctx.Err())
	}
}

// tell tells the sender what the command has recorded.
func (c *run[S, E, F, C]) tell(recorded []eventlog.Recorded) {
	if c.r.Recorded != nil && len(recorded) > 0 {
		c.r.Recorded(recorded)
	}
}

// confirm decides on the command on the newest state that the log holds. A refusal is then final. If there are events to
// record, the error is errAgain: they have to be decided on in turn.
func (c *run[S, E, F, C]) confirm(ctx context.Context) (Answer, error) {
	if c.alone {
		c.takeTurn(ctx)
		defer c.own.pipeline.turn.Unlock()
		if after, _ := c.own.pipeline.last(); after != nil {
			if err := after.await(ctx); err != nil {
				return Answer{}, err
			}
		}
	}
	snap, err := c.load(ctx, c.own, true)
	if c.d.beside != nil && cannotGoOn(err) {
		return c.besideDamage(ctx, err, c.d.decider.Initial)
	}
	if err != nil {
		return Answer{}, err
	}
	if snap.damage != nil {
		return c.besideDamage(ctx, recordDamaged(*snap.damage), snap.state.(S))
	}
	if at, may := c.own.mayHold(c.id); may {
		if c.d.showAgain != nil && !c.alone {
			return Answer{}, errNotAlone
		}
		if answer, found, err := c.recall(ctx, c.own, at, snap, snap.state.(S)); found || err != nil {
			return answer, err
		}
	}
	reader := c.reader()
	events, err := c.d.decideOn(ctx, reader, snap.state.(S), c.body, c.call)
	if reader.own.read && !c.alone {
		return Answer{}, errNotAlone // the facts may be newer than the state
	}
	if len(events) > 0 && err == nil {
		return Answer{}, errAgain
	}
	if _, refused := refuse.As(err); err != nil && !refused {
		return Answer{}, err
	}
	return c.recordNothing(ctx, c.own, snap, err)
}

// recordNothing answers a command that is refused on the newest state, or that has nothing to record.
func (c *run[S, E, F, C]) recordNothing(ctx context.Context, st *stream, snap *snapshot, refusal error) (Answer, error) {
	done, err := c.doneElsewhere(ctx, st)
	if err != nil {
		return Answer{}, err
	}
	if done {
		return Answer{}, errAgain
	}
	if refusal != nil {
		return Answer{}, refusal
	}
	answer := Answer{CommandID: c.id.String(), Stream: st.name, Revision: c.h.shownRevision(st.name, snap.tail.Revision),
		Position: snap.last.Commit,
		Events:   []AnsweredEvent{}}
	if c.d.repeats == nil {
		return answer, nil
	}
	return c.repeated(ctx, st, answer)
}

// repeated returns the answer to the command that has recorded the same before, if there is one, and otherwise this one.
func (c *run[S, E, F, C]) repeated(ctx context.Context, st *stream, answer Answer) (Answer, error) {
	var own []eventlog.Recorded
	for r, err := range c.h.log.ReadSound(ctx, st.name) {
		if undecodable := (*eventlog.UndecodableError)(nil); errors.As(err, &undecodable) {
			continue
		}
		if err != nil {
			return Answer{}, fmt.Errorf("look for what %s repeats in %s: %w", c.d.name, st.name, err)
		}
		e, is := r.Event.(E)
		switch {
		case len(own) > 0 && r.Metadata.CommandID == own[0].Metadata.CommandID, is && len(own) == 0 && c.d.repeats(c.body, e):
			own = append(own, r)
		case len(own) > 0:
			return c.h.answerOf(c.id, own), nil
		}
	}
	if len(own) == 0 {
		return answer, nil
	}
	return c.h.answerOf(c.id, own), nil
}

// besideDamage refuses a command on a damaged stream, or, if it is taken all the same, records it in a stream for this command
// alone: nobody can have damaged that one before. An answer to what is in the sound part already is that of before.
func (c *run[S, E, F, C]) besideDamage(ctx context.Context, damaged error, state S) (Answer, error) {
	if !c.d.evenIfDamaged {
		return Answer{}, damaged
	}
	key, decide := c.id.String(), c.d.decide
	if c.d.beside != nil {
		key, decide = c.d.besideKey(c.body), c.d.beside
		if at, may := c.own.mayHold(c.id); may { // it was recorded before the damage
			if answer, recordedAt, err := c.firstAnswer(ctx, c.own, at); err != nil || !recordedAt.IsZero() {
				return answer, err
			}
		}
	}
	st := c.h.states.stream(c.own.name + "." + key)
	st.pipeline.turn.Lock()
	turn := true
	endTurn := func() {
		if turn {
			turn = false
			st.pipeline.turn.Unlock()
		}
	}
	defer endTurn()
	if after, _ := st.pipeline.last(); after != nil {
		if err := after.await(ctx); err != nil {
			return Answer{}, err
		}
	}
	snap, err := c.load(ctx, st, true)
	if err != nil {
		return Answer{}, err
	}
	if snap.damage != nil {
		return Answer{}, recordDamaged(*snap.damage)
	}
	if at, may := st.mayHold(c.id); may {
		if answer, found, err := c.recall(ctx, st, at, snap, state); found || err != nil {
			return answer, err
		}
	}
	if c.d.beside != nil && snap.tail.Revision >= 0 { // the same under another key
		return c.recordNothing(ctx, st, snap, nil)
	}
	events, err := c.d.decideBy(ctx, decide, c.reader(), state, c.body, c.call)
	if refusal, refused := refuse.As(err); refused && (c.d.beside == nil || refusal.Kind == refuse.KindState) {
		return Answer{}, damaged
	}
	if err != nil {
		return Answer{}, err
	}
	if len(events) == 0 {
		return c.recordNothing(ctx, c.own, snap, nil)
	}
	return c.append(ctx, st, nil, snap, state, events, endTurn)
}

// cannotGoOn says whether the error is that a stream takes no commands any more: it was deleted, or holds an event of this program that
// cannot be read.
func cannotGoOn(err error) bool {
	refusal, refused := refuse.As(err)
	return refused && (refusal.Code == "record_unreadable" || refusal.Code == "record_deleted")
}

func (c *run[S, E, F, C]) load(ctx context.Context, st *stream, refresh bool) (*snapshot, error) {
	snap, err := c.h.states.load(ctx, st, c.d.initial, c.d.fold, refresh)
	if err != nil {
		return nil, fmt.Errorf("%s: load %s: %w", c.d.name, st.name, err)
	}
	return snap, nil
}

// doneElsewhere says whether the stream has taken the command, sent by another process, since the state was read on which it was
// decided. What was read after the state may already show what the command has done, so that it would seem to be refused.
func (c *run[S, E, F, C]) doneElsewhere(ctx context.Context, st *stream) (bool, error) {
	if c.r.Key == "" {
		return false, nil // nobody else has this command's id
	}
	if _, err := c.load(ctx, st, true); err != nil {
		return false, err
	}
	_, may := st.mayHold(c.id)
	return may, nil
}

// known returns the first answer to a command that this process knows to be a repeat, without waiting for a turn.
func (c *run[S, E, F, C]) known(ctx context.Context) (Answer, bool, error) {
	if c.r.Key == "" || c.d.showAgain != nil {
		return Answer{}, false, nil
	}
	snap := c.own.current.Load()
	at, may := c.own.mayHold(c.id)
	if !may || !c.own.upToDate(snap) || snap.damage != nil {
		return Answer{}, false, nil
	}
	return c.recall(ctx, c.own, at, snap, snap.state.(S))
}

// recall returns the first answer to a command that was recorded before, and false if it was not. Some commands then show again
// what they revealed; the caller has the turn of the stream for them, and no append of it is under way.
func (c *run[S, E, F, C]) recall(ctx context.Context, st *stream, at span, snap *snapshot, state S) (Answer, bool, error) {
	answer, recordedAt, err := c.firstAnswer(ctx, st, at)
	if err != nil || recordedAt.IsZero() {
		return Answer{}, false, err
	}
	if c.d.showAgain == nil || c.h.now().Sub(recordedAt) > c.d.showAgainFor {
		return answer, true, nil
	}
	answer.Revealed, err = c.revealAgain(ctx, st, snap, state)
	return answer, true, err
}

// firstAnswer rebuilds the first answer to a command from the events that it has recorded in the stream, and returns when
// they were recorded; the zero time if there are none. It refuses idempotency_key_reused if they are those of another
// command with the same key.
func (c *run[S, E, F, C]) firstAnswer(ctx context.Context, st *stream, at span) (Answer, time.Time, error) {
	var events iter.Seq2[eventlog.Recorded, error]
	if at.count > 0 { // they were sound when they were noted
		events = c.h.log.ReadSome(ctx, st.name, uint64(at.first), uint64(at.count))
	} else {
		events = c.h.log.ReadSound(ctx, st.name)
	}
	var own []eventlog.Recorded
	for r, err := range events {
		if err != nil {
			return Answer{}, time.Time{}, fmt.Errorf("look for the command's events in %s: %w", st.name, err)
		}
		if r.Metadata.CommandID != c.id.String() {
			continue
		}
		if same, err := c.of.isOf(c.h.log, recordedHash(r.Metadata)); err != nil || !same {
			return Answer{}, r.Metadata.RecordedAt, cmp.Or(err, keyReused(c.r.Key))
		}
		own = append(own, r)
	}
	if len(own) == 0 {
		return Answer{}, time.Time{}, nil
	}
	c.tell(own)
	return c.h.answerOf(c.id, own), own[len(own)-1].Metadata.RecordedAt, nil
}

// revealAgain records that a repeat of a command shows what the first answer showed, and returns it. The error is
// eventlog.ErrConflict if the stream has events that snap lacks.
func (c *run[S, E, F, C]) revealAgain(ctx context.Context, st *stream, snap *snapshot, state S) (any, error) {
	events, err := c.d.decideOn(ctx, c.h.Reader(), state, c.d.showAgain(c.body), c.call)
	if err != nil {
		return nil, err
	}
	if len(events) == 0 {
		return c.d.reveal(ctx, c.h.Reader(), state, c.body)
	}
	// The events are not the command's own, which are its first answer, but follow from it.
	meta := c.meta
	id := uuid.NewSHA1(c.id, fmt.Appendf(nil, "shown again/%d", snap.tail.Revision))
	meta.CausationID, meta.CommandID, meta.CommandHash, meta.CommandHashAlgorithm = meta.CommandID, id.String(), "", ""
	again := *c
	again.id, again.meta, again.r.Key, again.r.Recorded = id, meta, "", nil
	shown, err := again.append(ctx, st, nil, snap, state, events, func() {})
	return shown.Revealed, err
}
