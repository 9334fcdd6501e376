package commands

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
	"casebook/eventlog"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// conflictAttempts is how often a command is decided anew when its stream moves under it.
	conflictAttempts = 8
	// defaultCachedStreams bounds the cached states; a patient's diary takes some kilobytes.
	defaultCachedStreams = 50_000
	// recentCommands is how many command ids are remembered across streams, to refuse a key that is used twice.
	recentCommands = 100_000
)

// Options of a Handler.
type Options struct {
	Log *eventlog.Log
	// Commands are those that the handler takes.
	Commands []Command
	// Now is the server's clock; time.Now when nil.
	Now func() time.Time
	// Build names the running program in the metadata of its events (21 CFR 11.10(k): which version wrote it).
	Build  string
	Logger *slog.Logger
	// CachedStreams bounds the cache of folded states; 50,000 when 0.
	CachedStreams int
}

// Handler takes every command through its one path. It is safe for concurrent use.
type Handler struct {
	log      *eventlog.Log
	states   *States
	recent   *lru.Cache[uuid.UUID, [sha256.Size]byte]
	now      func() time.Time
	build    string
	logger   *slog.Logger
	commands []Command
	byName   map[string]Command
	security securityLog
}

// NewHandler returns a handler of all declared commands. Run has to be running for it to be fast and to record
// refusals.
func NewHandler(o Options) *Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CachedStreams == 0 {
		o.CachedStreams = defaultCachedStreams
	}
	recent, err := lru.New[uuid.UUID, [sha256.Size]byte](recentCommands)
	if err != nil {
		panic(err) // only for a size below 1
	}
	h := &Handler{log: o.Log, states: newStates(o.Log, o.CachedStreams, o.Logger), recent: recent,
		now: o.Now, build: o.Build, logger: o.Logger, commands: o.Commands, byName: map[string]Command{}, security: newSecurityLog()}
	for _, c := range o.Commands {
		h.byName[c.Name()] = c
	}
	return h
}

// Run follows the log and records refusals until ctx ends; what is queued by then is still recorded.
func (h *Handler) Run(ctx context.Context) error {
	if err := h.recall(ctx); err != nil {
		h.logger.Warn("the latest commands could not be read; a key that was used before the start may pass for another stream", "error", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.recordRefusals(ctx)
	}()
	err := h.states.follow(ctx)
	<-done
	return err
}

// recalledEvents is how far back a start looks for the keys of commands.
const recalledEvents = 10_000

// recall remembers the commands behind the log's latest events.
func (h *Handler) recall(ctx context.Context) error {
	for r, err := range h.log.ReadLast(ctx, recalledEvents) {
		if err != nil {
			return err
		}
		id, err := uuid.Parse(r.Metadata.CommandID)
		hash, err2 := base64.StdEncoding.DecodeString(r.Metadata.CommandHash)
		if err == nil && err2 == nil && len(hash) == sha256.Size {
			h.recent.Add(id, [sha256.Size]byte(hash))
		}
	}
	return nil
}

// Ready waits until states are kept fresh, so that requests need no extra reads.
func (h *Handler) Ready(ctx context.Context) error { return h.states.waitFollowing(ctx) }

// Look returns a reader of states, for queries that have to know what a decision would.
func (h *Handler) Look() Look { return Look{states: h.states} }

// LookAfter returns a reader of states whose Newest has seen everything up to a log position.
func (h *Handler) LookAfter(position uint64) Look { return Look{states: h.states, after: position} }

// Request is one command as it comes in.
type Request struct {
	// Name of the command.
	Name string
	// Body is the command as JSON.
	Body []byte
	// Key is the caller's Idempotency-Key; the same key gets the same answer. Empty: every request is a new command.
	Key string
	// Principal asks.
	Principal access.Principal
	// Address and App are the client's network address and program; TraceID ties log lines and events together.
	Address, App, TraceID string
	// CorrelationID ties together what one request or process set off; the command's id when empty.
	CorrelationID string
	// CausationID is the id of the event that made a process manager send the command, CausePosition its log position.
	CausationID   string
	CausePosition uint64
}

// Answer says what became of a command. When it comes, its events are durable.
type Answer struct {
	CommandID string `json:"commandId" doc:"The command's id; the same for the same Idempotency-Key"`
	Stream    string `json:"stream" doc:"The stream that took the events"`
	// Revision of the stream after the command; -1 where the stream has no events.
	Revision int64 `json:"revision" doc:"The stream's revision after the command"`
	// Position of the last event in the log; give it to a query that has to see the outcome.
	Position uint64          `json:"position" doc:"Log position of the last event; a query with the header Casebook-Position waits for it"`
	Events   []AnsweredEvent `json:"events" doc:"What was recorded; empty where nothing had to be"`
	// Revealed is shown once, to whoever sent the command.
	Revealed any `json:"revealed,omitempty" doc:"What the command reveals to its sender, in its first answer alone"`
}

// AnsweredEvent is one event of an answer.
type AnsweredEvent struct {
	ID       string `json:"id" doc:"The event's id"`
	Type     string `json:"type" doc:"The event's stable name"`
	Revision uint64 `json:"revision" doc:"Its revision in the stream"`
	Data     any    `json:"data" doc:"What was recorded"`
}

// Do takes a command through. A refusal (package refuse) means that nothing was recorded but, for a caller who was not
// allowed, the refusal itself. Any other error is a failure; the same request with the same Key may be sent again.
func (h *Handler) Do(ctx context.Context, r Request) (Answer, error) {
	c, ok := h.byName[r.Name]
	if !ok || c.Internal() && !access.IsProcess(r.Principal.User) {
		return Answer{}, refuse.NotFound("unknown_command", "there is no command %q", shortened(r.Name)).
			Do("/openapi.json lists the commands")
	}
	return c.run(ctx, h, r)
}

// Principal returns the identity with its present grants, or refuses: user_unknown, account_locked or
// account_deactivated.
func (h *Handler) Principal(ctx context.Context, id domain.UserID) (access.Principal, error) {
	u, err := At(ctx, h.Look(), user.Decider, string(id))
	switch {
	case err != nil:
		return access.Principal{}, fmt.Errorf("load user %s: %w", id, err)
	case !u.Exists():
		return access.Principal{}, refuse.Unauthenticated("user_unknown", "%s has no account here", id).Do("ask an administrator for one")
	case u.Deactivated:
		return access.Principal{}, refuse.Unauthenticated("account_deactivated", "the account %s is deactivated", id)
	case u.Locked:
		return access.Principal{}, refuse.Unauthenticated("account_locked", "the account %s is locked", id).Do("ask an administrator to set a new password")
	}
	return access.Principal{User: id, Grants: u.Grants}, nil
}

// commandNamespace derives command ids from the caller and the caller's key.
var commandNamespace = uuid.MustParse("6f2d1c0a-54e8-4c57-9a0e-0d5f3b8f1c11")

func (r Request) commandID() uuid.UUID {
	if r.Key == "" {
		return uuid.New()
	}
	return uuid.NewSHA1(commandNamespace, []byte(string(r.Principal.User)+"\x00"+r.Key))
}

const maxKeyLength = 200

// run is the one path.
func (d *Declaration[S, E, F, C]) run(ctx context.Context, h *Handler, r Request) (Answer, error) {
	if len(r.Key) > maxKeyLength {
		return Answer{}, refuse.Malformed("malformed_key", "the Idempotency-Key has %d characters", len(r.Key)).Do("use at most 200")
	}
	var body C
	if err := Decode(r.Body, &body); err != nil {
		return Answer{}, err
	}
	role, scope, err := d.authorize(ctx, h, r, body)
	if err != nil {
		return Answer{}, err
	}
	if d.prepare != nil {
		if err := d.prepare(ctx, &body); err != nil {
			return Answer{}, err
		}
	}
	id := r.commandID()
	hash := sha256.Sum256(append([]byte(d.name+"\x00"), r.Body...))
	if d.secret {
		hash = sha256.Sum256([]byte(d.name))
	}
	if known, ok := h.recent.Get(id); ok && known != hash {
		return Answer{}, keyReused(r.Key)
	}
	meta := d.metadata(h, r, body, id, hash, role, scope)
	answer, err := d.decideAndAppend(ctx, h, r, body, id, meta)
	if err == nil {
		h.recent.Add(id, hash)
	}
	return answer, err
}

func (d *Declaration[S, E, F, C]) authorize(ctx context.Context, h *Handler, r Request, body C) (user.Role, domain.Scope, error) {
	if d.self != nil && d.self(body) == r.Principal.User {
		return "", domain.Scope{}, nil
	}
	scope, err := d.scope(ctx, h.Look(), body)
	if refusal, ok := refuse.As(err); ok && refusal.Kind == refuse.KindNotFound && !r.Principal.WorksIn(scope.Study) {
		// Strangers to a study do not learn which of its patients exist.
		scope, err = domain.Scope{Study: scope.Study}, nil
	}
	if err != nil {
		return "", scope, err
	}
	open := d.open
	if d.openFor != nil {
		if open, err = d.openFor(ctx, h.Look(), body); err != nil {
			return "", scope, err
		}
	}
	role, err := r.Principal.Authorize(d.name, open, scope)
	if err == nil && d.present {
		err = r.Principal.MustBePresent(d.name, h.now())
	}
	if err != nil {
		h.RecordRefusal(ctx, access.Refused{User: r.Principal.User, Action: d.name, Scope: scope, Address: r.Address, TraceID: r.TraceID, Why: err})
	}
	return role, scope, err
}

func (d *Declaration[S, E, F, C]) metadata(h *Handler, r Request, body C, id uuid.UUID, hash [sha256.Size]byte, role user.Role, scope domain.Scope) eventlog.Metadata {
	meta := eventlog.Metadata{
		CorrelationID: r.CorrelationID, CausationID: r.CausationID,
		Actor: r.Principal.User, Role: string(role), Study: scope.Study, Site: scope.Site, Patient: scope.Patient,
		Command: d.name, CommandID: id.String(), CommandHash: base64.StdEncoding.EncodeToString(hash[:]),
		RecordedAt: h.now().UTC(), Address: r.Address, App: r.App, TraceID: r.TraceID, Build: h.build,
	}
	if meta.CorrelationID == "" {
		meta.CorrelationID = meta.CommandID
	}
	if meta.CausationID == "" {
		meta.CausationID = meta.CommandID
	}
	if d.about != nil {
		d.about(body, &meta)
	}
	return meta
}

func (d *Declaration[S, E, F, C]) decideAndAppend(ctx context.Context, h *Handler, r Request, body C, id uuid.UUID, meta eventlog.Metadata) (Answer, error) {
	name, fold := d.stream(body), foldOf(d.decider)
	st := h.states.stream(name)
	st.turn.Lock()
	defer st.turn.Unlock()

	refresh := false
	for range conflictAttempts {
		snap, err := h.states.load(ctx, st, d.decider.Initial, fold, refresh)
		if err != nil {
			return Answer{}, fmt.Errorf("%s: load %s: %w", d.name, name, err)
		}
		if st.mayKnow(id) {
			if answer, found, err := h.repeated(ctx, st, r.Key, id, meta.CommandHash); found || err != nil {
				return answer, err
			}
		}
		events, err := d.decision(ctx, h.LookAfter(r.CausePosition), snap.state.(S), body, domain.Call{At: meta.RecordedAt, Actor: r.Principal.User, CommandID: id.String()})
		if err != nil {
			// A refusal holds only for the newest state; the cached one may be behind.
			if _, refused := refuse.As(err); refused && !refresh {
				refresh = true
				continue
			}
			return Answer{}, err
		}
		if len(events) == 0 && !refresh {
			refresh = true // nor does an append guard what records nothing
			continue
		}
		if len(events) == 0 {
			return Answer{CommandID: id.String(), Stream: name, Revision: snap.tail.Revision, Position: snap.last.Commit, Events: []AnsweredEvent{}}, nil
		}
		appended, err := h.log.Append(ctx, name, snap.tail, id, meta, events...)
		if errors.Is(err, eventlog.ErrConflict) {
			refresh = true
			continue
		}
		if errors.Is(err, eventlog.ErrTooLarge) {
			return Answer{}, refuse.Malformed("command_too_large", "%s is larger than one event may be", d.name).Do("stay below a megabyte")
		}
		if err != nil {
			h.states.forget(st) // whether the events are there is not known: read before the next decision
			return Answer{}, fmt.Errorf("%s: %w", d.name, err)
		}
		h.states.advance(st, snap, appended.Events, fold)
		answer := h.answerOf(id, name, appended)
		if d.reveal != nil {
			decided := make([]E, len(events))
			for i, e := range events {
				decided[i] = e.(E)
			}
			if answer.Revealed, err = d.reveal(snap.state.(S), decided); err != nil {
				return Answer{}, fmt.Errorf("%s: %w", d.name, err)
			}
		}
		return answer, nil
	}
	return Answer{}, refuse.WrongState("conflict", "%s changed again and again while the command was decided on", name).
		Do("send the command again")
}

func (d *Declaration[S, E, F, C]) decision(ctx context.Context, look Look, state S, body C, call domain.Call) ([]any, error) {
	facts, err := d.facts(ctx, look, body)
	if err != nil {
		return nil, err
	}
	decided, err := d.decide(state, facts, body, call)
	if err != nil {
		return nil, err
	}
	events := make([]any, len(decided))
	for i, e := range decided {
		events[i] = e
	}
	return events, nil
}

func (h *Handler) answerOf(id uuid.UUID, stream string, appended eventlog.Appended) Answer {
	a := Answer{CommandID: id.String(), Stream: stream, Revision: appended.Tail.Revision, Position: appended.Position.Commit,
		Events: make([]AnsweredEvent, len(appended.Events))}
	for i, e := range appended.Events {
		a.Events[i] = h.answeredEvent(e)
	}
	return a
}

func (h *Handler) answeredEvent(e eventlog.Recorded) AnsweredEvent {
	event := AnsweredEvent{ID: e.ID.String(), Type: e.Type, Revision: e.Revision, Data: e.Event}
	if s, known := h.log.Registry().Named(e.Type); known && s.Secret {
		event.Data = nil
	}
	return event
}

// repeated answers a command that the stream already holds the events of, as it was answered the first time.
func (h *Handler) repeated(ctx context.Context, st *stream, key string, id uuid.UUID, hash string) (Answer, bool, error) {
	a := Answer{CommandID: id.String(), Stream: st.name}
	for r, err := range h.log.ReadStream(ctx, st.name, 0) {
		if err != nil {
			return Answer{}, false, fmt.Errorf("look for the command's events in %s: %w", st.name, err)
		}
		if r.Metadata.CommandID != a.CommandID {
			continue
		}
		if r.Metadata.CommandHash != hash {
			return Answer{}, true, keyReused(key)
		}
		a.Events = append(a.Events, h.answeredEvent(r))
		a.Revision, a.Position = int64(r.Revision), r.Position.Commit
	}
	return a, len(a.Events) > 0, nil
}

func keyReused(key string) error {
	return refuse.WrongState("idempotency_key_reused", "the Idempotency-Key %q was used for another command", shortened(key)).
		Do("use a new key for every command, and the same key only to send the same command again")
}

// Commands returns the commands that the handler takes, in the order in which they were given.
func (h *Handler) Commands() []Command { return h.commands }

// Registry returns the registry of the events that commands record.
func (h *Handler) Registry() *eventlog.Registry { return h.log.Registry() }

// Find returns the declared command of this name; upper and lower case matter.
func (h *Handler) Find(name string) (Command, bool) {
	c, ok := h.byName[strings.TrimSpace(name)]
	return c, ok
}
