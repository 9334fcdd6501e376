package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/refuse"
	"casebook/domain/user"
	"casebook/eventlog"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

const (
	// maxAttempts bounds how often a command is decided while its stream keeps changing.
	maxAttempts = 8
	// defaultCachedStreams bounds the cached states; the state of a patient's diary takes some kilobytes.
	defaultCachedStreams = 50_000
)

// Options of a Handler.
type Options struct {
	Log *eventlog.Log
	// Verifier hears of damaged streams that commands read; nil for nobody.
	Verifier *eventlog.Verifier
	// Commands are all commands that the handler accepts.
	Commands []Command
	// Now is the server's clock; time.Now when nil.
	Now func() time.Time
	// Passed returns the time since a fixed moment, by a clock that cannot be set. Steps of Now are noticed by it. Without Now it
	// is the machine's; with Now and without Passed, nobody watches the clock.
	Passed func() time.Duration
	// Build is the version of the running program. It is recorded with every event (21 CFR 11.10(k)).
	Build  string
	Logger *slog.Logger
	// Registerer registers the metrics; nil for none.
	Registerer prometheus.Registerer
	// CachedStreams bounds the cache of folded states; 50,000 when 0.
	CachedStreams int
	// Factors checks second factors; nil in a program that takes no sign-ins.
	Factors *access.Factors
}

// Handler runs commands. It is safe for concurrent use.
type Handler struct {
	log            *eventlog.Log
	states         *stateCache
	keys           *usedKeys
	now            func() time.Time
	build          string
	logger         *slog.Logger
	commands       []Command
	byName         map[string]Command
	hidesRevisions map[string]bool // by category
	security       securityLog
	attempts       *access.Attempts
	factors        *access.Factors
	administrators administrators

	// background are the goroutines that send the appends of streams.
	background background
	// appendEncoded is the log's; tests replace it.
	appendEncoded func(context.Context, eventlog.Encoded) (eventlog.Appended, error)

	// clock is watched while Run runs; nil where there is nothing to compare Options.Now with.
	clock      *clockWatch
	clockSteps prometheus.Counter
}

// NewHandler returns a handler of the options' commands. It caches states and records refusals only while Run runs.
func NewHandler(o Options) *Handler {
	var clock *clockWatch
	switch {
	case o.Now == nil:
		o.Now, clock = time.Now, machineClock()
	case o.Passed != nil:
		clock = watching(o.Now, o.Passed)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CachedStreams == 0 {
		o.CachedStreams = defaultCachedStreams
	}
	keys := newUsedKeys(o.Logger)
	h := &Handler{log: o.Log, states: newStateCache(o.Log, o.Verifier, keys, o.CachedStreams, o.Logger), keys: keys,
		now: o.Now, build: o.Build, logger: o.Logger, commands: o.Commands, byName: map[string]Command{}, hidesRevisions: map[string]bool{},
		security: newSecurityLog(),
		attempts: access.NewAttempts(o.Now), factors: o.Factors}
	h.states.recordKey = func(ctx context.Context) error { return h.RecordBlindingKey(ctx, "", "") }
	h.clock, h.appendEncoded = clock, o.Log.AppendEncoded
	h.clockSteps = prometheus.NewCounter(prometheus.CounterOpts{Name: "casebook_clock_steps_total",
		Help: "How often the clock of this machine was set by two seconds or more."})
	if o.Registerer != nil {
		o.Registerer.MustRegister(h.clockSteps, keys.twice)
	}
	for _, c := range o.Commands {
		h.byName[c.Name()] = c
	}
	for _, s := range o.Log.Registry().Streams() {
		h.hidesRevisions[s.Category] = s.HidesRevisions
	}
	return h
}

// Run follows the log and records refusals until ctx ends, or until the log can no longer be followed, which is an
// error. Refusals that are queued by then are still recorded.
func (h *Handler) Run(ctx context.Context) error {
	latest := h.states.rememberLatest(ctx)
	defer h.background.wait()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return h.states.follow(ctx) })
	group.Go(func() error {
		h.states.askWhenWanted(ctx)
		return nil
	})
	group.Go(func() error {
		h.recordRefusals(ctx)
		return nil
	})
	if h.clock != nil {
		group.Go(func() error {
			h.behindTheLog(ctx, latest)
			h.watchClock(ctx, h.clock, clockChecked)
			return nil
		})
	}
	return group.Wait()
}

// Ready waits until the cache follows the log, so that requests need no extra reads.
func (h *Handler) Ready(ctx context.Context) error { return h.states.waitUntilFollowing(ctx) }

// Reader returns a reader of states, for queries that need the same states as decisions.
func (h *Handler) Reader() Reader { return Reader{states: h.states} }

// ReaderAfter returns a reader of states; ReadNewest, given this reader, includes all events up to the log position.
func (h *Handler) ReaderAfter(position uint64) Reader {
	return Reader{states: h.states, after: position}
}

// Request is one command as a caller sends it.
type Request struct {
	// Name is the command's name.
	Name string
	// Body is the command as JSON. BodyVersion is its schema version; 0 means the current version.
	Body        []byte
	BodyVersion int
	// Command is the command itself, in place of Body, for senders in this program that need no Key.
	Command any
	// Key is the caller's Idempotency-Key; the same key gets the same answer. Without a key, every request is a new
	// command.
	Key string
	// Principal is who sends the command.
	Principal access.Principal
	// Address and App are the client's network address and program. TraceID connects log lines and events.
	Address, App, TraceID string
	// CorrelationID is shared by all events that one request or process caused; the command's id when empty.
	CorrelationID string
	// CausationID is the id of the event because of which a process manager sends the command, CausePosition that event's
	// log position.
	CausationID   string
	CausePosition uint64
	// Past is the log's past in which that event was read; 0 for any.
	Past eventlog.Past
	// Recorded is called with the events that the command has recorded, now or when it was sent before, if there are any; it
	// may be nil.
	Recorded func([]eventlog.Recorded)

	// refused collects the refusals that are recorded if the outcome is final.
	refused *[]access.Refused
}

// Answer says what a command has recorded. The events are durable before the answer is given.
type Answer struct {
	CommandID string `json:"commandId" doc:"The command's id; the same for the same Idempotency-Key"`
	Stream    string `json:"stream" doc:"The stream that took the events"`
	// Revision of the stream after the command; -1 if the stream has no events, nil for a stream whose gaps could reveal an arm.
	Revision *int64 `json:"revision,omitempty" doc:"The stream's revision after the command; left out where gaps between revisions could tell an arm"`
	// Position of the last event in the log; give it to a query that has to see the outcome.
	Position uint64          `json:"position" doc:"Log position of the last event; a query with the header Casebook-Position waits for it"`
	Events   []AnsweredEvent `json:"events" doc:"What was recorded; empty where nothing had to be"`
	// Held is set where what was sent is kept but does not count.
	Held *Held `json:"held,omitempty" doc:"What was sent is kept, and counts nowhere until the site decides about it; left out where it counts"`
	// Revealed is shown to the sender of the command alone.
	Revealed any `json:"revealed,omitempty" doc:"What the command reveals to its sender: in its first answer, and for BreakBlind also in the answers to repeats within ten minutes"`
}

// Held says why what was sent counts nowhere yet, and under which id it is kept.
type Held struct {
	Why diary.Why `json:"why" doc:"Why it does not count"`
	ID  string    `json:"id" doc:"Its id among the held diaries of the patient; of another instrument, an entry may have the same"`
	// Remedy and Signed are about what was sent now, also where the answer is that of before.
	Remedy string `json:"remedy,omitempty" doc:"What the app can do so that the entry counts; left out where only the site can do something"`
	Signed string `json:"signed,omitempty" doc:"The text, in UTF-8, that the signature was verified to be of, where it is wrong: made of the entry in this request alone"`
}

// tell adds what helps the sender of an entry that is held.
func (held *Held) tell(sent diary.SubmitDiary) {
	held.Remedy = held.Why.Remedy()
	if held.Why != diary.WhyWrongSignature {
		return
	}
	if content, err := sent.Signed(); err == nil {
		held.Signed = string(content)
	}
}

// AnsweredEvent is one event of an answer.
type AnsweredEvent struct {
	ID       string  `json:"id" doc:"The event's id"`
	Type     string  `json:"type" doc:"The event's stable name"`
	Revision *uint64 `json:"revision,omitempty" doc:"Its revision in the stream; left out where that of the answer is"`
	Data     any     `json:"data" doc:"What was recorded"`
}

// Do runs a command. After a refusal (package refuse) nothing has been recorded, except the refusal itself where the
// caller was not allowed. Any other error is a failure; the same request with the same Key may be sent again. On a cluster, a
// refusal, or an answer without events, is only given when the nodes have confirmed that the node that was read from leads.
func (h *Handler) Do(ctx context.Context, r Request) (Answer, error) {
	c, ok := h.byName[r.Name]
	if !ok || c.Internal() && !access.IsProcess(r.Principal.User) {
		return Answer{}, refuse.NotFound("command_not_found", "there is no command %q", shortened(r.Name)).
			Do("/openapi.json lists the commands")
	}
	for began := time.Now(); ; {
		var refused []access.Refused
		r.refused = &refused
		leadership := h.log.Leadership()
		answer, err := c.run(ctx, h, r)
		var doubt error
		if len(answer.Events) == 0 && dependsOnState(err) {
			doubt = leadership.Confirm(ctx)
		}
		if doubt == nil {
			for _, r := range refused {
				h.RecordRefusal(ctx, r)
			}
			return answer, err
		}
		// A node that does not lead any more may have told an old state. Nothing that it has led to is final.
		h.states.fresh.doubt()
		h.logger.Warn("a command is decided on again, because the event store may have another leader", "command", r.Name, "error", doubt)
		select {
		case <-ctx.Done():
			return Answer{}, fmt.Errorf("%s: %w; gave up: %w", r.Name, doubt, ctx.Err())
		case <-time.After(confirmPause):
		}
		if time.Since(began) > confirmFor {
			return Answer{}, fmt.Errorf("%s: %w", r.Name, doubt)
		}
	}
}

const (
	// confirmPause is how long Do waits before it decides again.
	confirmPause = 50 * time.Millisecond
	// confirmFor is how long Do tries to get an outcome that is final.
	confirmFor = 12 * time.Second
)

// dependsOnState says whether the outcome of a command that has recorded nothing depends on what was read from the log.
func dependsOnState(err error) bool {
	refusal, refused := refuse.As(err)
	return err == nil || refused && refusal.Kind != refuse.KindMalformed && refusal.Kind != refuse.KindOverload
}

// commandNamespace is the UUIDv5 namespace of command ids, which are derived from the caller and the caller's key.
var commandNamespace = uuid.MustParse("6f2d1c0a-54e8-4c57-9a0e-0d5f3b8f1c11")

func (r Request) commandID() uuid.UUID {
	if r.Key == "" {
		return uuid.New()
	}
	return uuid.NewSHA1(commandNamespace, []byte(string(r.Principal.User)+"\x00"+r.Key))
}

const maxKeyLength = 200

// run is the path that every command takes. What it answers holds in the past of the log that it has begun in: if that is lost
// meanwhile, what was read is not, and what was found to be recorded may not be.
func (d *Declaration[S, E, F, C]) run(ctx context.Context, h *Handler, r Request) (Answer, error) {
	past := h.log.Past()
	if r.Past != 0 && r.Past != past || r.Principal.Past != 0 && r.Principal.Past != uint64(past) {
		return Answer{}, logReplaced(d.name + " was sent")
	}
	answer, err := d.runIn(ctx, h, r, past)
	if h.log.Past() != past {
		return Answer{}, logReplaced(d.name + " was decided")
	}
	return answer, err
}

// logReplaced refuses what was begun in a past of the log that is lost.
func logReplaced(while string) error {
	return refuse.Overload("log_replaced", "the event store was given another log while %s", while).
		Do("send the same again, a command with the same Idempotency-Key")
}

func (d *Declaration[S, E, F, C]) runIn(ctx context.Context, h *Handler, r Request, past eventlog.Past) (Answer, error) {
	if len(r.Key) > maxKeyLength {
		return Answer{}, refuse.Malformed("malformed_key", "the Idempotency-Key has %d characters", len(r.Key)).Do("use at most 200")
	}
	current, body, err := d.bodyOf(r)
	if err != nil {
		return Answer{}, err
	}
	role, scope, err := d.authorize(ctx, h, r, body)
	if refusal, ok := refuse.As(err); err != nil && !(ok && refusal.Kind == refuse.KindMalformed) {
		return Answer{}, err
	}
	// Bodies that a process has recorded may lack fields that have been added since.
	if r.BodyVersion == 0 && r.Command == nil {
		if missing := requireFields(current, reflect.ValueOf(body), d.required); missing != nil {
			return Answer{}, missing
		}
	}
	if err != nil {
		return Answer{}, err
	}
	of, err := d.fingerprintOf(r, body)
	if err != nil {
		return Answer{}, err
	}
	if d.prepare != nil {
		if err := d.prepare(ctx, h, r, &body); err != nil {
			return Answer{}, err
		}
	}
	id := r.commandID()
	hash, err := of.hash(h.log)
	if err != nil {
		return Answer{}, err
	}
	if r.Key != "" {
		release, err := h.keys.claim(ctx, id)
		if err != nil {
			return Answer{}, fmt.Errorf("%s: wait for another request with the same key: %w", d.name, err)
		}
		defer release()
	}
	meta := d.metadata(h, r, body, id, hash, role, scope)
	today := domain.Date("")
	if d.dated {
		if today, err = todayAt(ctx, h.Reader(), scope, meta.RecordedAt); err != nil {
			return Answer{}, fmt.Errorf("%s: find the day at the site: %w", d.name, err)
		}
	}
	run := &run[S, E, F, C]{d: d, h: h, r: r, past: past, body: body, id: id, meta: meta, of: of, own: h.states.stream(d.stream(body)),
		call: domain.Call{At: meta.RecordedAt, Today: today, Actor: r.Principal.User, CommandID: id.String()}}
	answer, err := run.decideAndAppend(ctx)
	if err == nil && h.log.Past() == past {
		h.keys.remember(id, hash)
	}
	if refusal, ok := refuse.As(err); ok && (d.recordsAll || slices.Contains(d.recorded, refusal.Code)) {
		d.recordRefusal(r, scope, err)
	}
	if sent, is := any(run.body).(diary.SubmitDiary); is && answer.Held != nil {
		answer.Held.tell(sent)
	}
	if role.IsOfOnePatient() {
		answer.Events = shownToPatients(answer.Events)
	}
	if scope.Study != "" && !r.Principal.MayKnowPatient(scope) {
		for i := range answer.Events {
			answer.Events[i].Data = withoutPatients(answer.Events[i].Data)
		}
	}
	return answer, err
}

// bodyOf returns the body of a request in the command's current version, as JSON and decoded. There is no JSON of a body that was not
// sent as JSON.
func (d *Declaration[S, E, F, C]) bodyOf(r Request) (current []byte, body C, err error) {
	if r.Command != nil {
		body, ok := r.Command.(C)
		if !ok || r.Key != "" || !access.IsProcess(r.Principal.User) {
			return nil, body, fmt.Errorf("%s: it cannot be sent as a %T that was not encoded", d.name, r.Command)
		}
		return nil, body, nil
	}
	current = r.Body
	if r.BodyVersion != 0 {
		if current, err = d.upcasts.Current(r.BodyVersion, r.Body); err != nil {
			return nil, body, fmt.Errorf("%s: read the body: %w", d.name, err)
		}
	}
	if err := Decode(current, &body); err != nil {
		return nil, body, err
	}
	if !access.IsProcess(r.Principal.User) { // what a process sends may hold texts of old events
		if err := printableTexts(current, reflect.ValueOf(body), ""); err != nil {
			return nil, body, err
		}
	}
	return current, body, d.boundedNames(current, body)
}

func (d *Declaration[S, E, F, C]) authorize(ctx context.Context, h *Handler, r Request, body C) (user.Role, domain.Scope, error) {
	if d.isOpenToSelf(body, r.Principal.User) {
		return "", domain.Scope{}, d.ownersMustBePresent(h, r)
	}
	scope, err := d.scope(ctx, h.Reader(), body)
	var unknown *refuse.Refusal
	if refusal, ok := refuse.As(err); ok && refusal.Kind == refuse.KindNotFound {
		unknown, scope, err = refusal, domain.Scope{Study: scope.Study, Patient: patientOf(body)}, nil
	}
	if err != nil {
		return "", scope, err
	}
	openTo := d.openTo
	if d.narrow != nil {
		if openTo, err = d.narrow(ctx, h.Reader(), body); err != nil {
			return "", scope, err
		}
	}
	role, err := r.Principal.Authorize(d.name, openTo, scope)
	switch {
	case err != nil:
		err = d.notAllowed(r.Principal, asNamed(body, r.Principal, scope))
	case unknown != nil:
		// Only those who may send the command about all patients of the study learn that there is no such patient.
		err = unknown
	default:
		err = d.mustBePresent(ctx, h, r, scope)
	}
	if err != nil {
		d.recordRefusal(r, scope, err)
	}
	return role, scope, err
}

// notAllowed is the refusal of a sender without a role. It names the roles of the declaration, not those to which the single command is
// narrowed, which would tell what it is about.
func (d *Declaration[S, E, F, C]) notAllowed(p access.Principal, scope domain.Scope) error {
	refusal := p.NotAllowed(d.name, d.openTo, scope)
	if len(d.openTo) == 0 && d.openToSelf {
		return refusal.Do("only the owner of the account may; leave it to them")
	}
	if d.otherwise == "" {
		return refusal
	}
	return refusal.Do(d.otherwise + "; " + refusal.Remedy)
}

// recordRefusal has a refusal of the command put into the security log, if it is final.
func (d *Declaration[S, E, F, C]) recordRefusal(r Request, scope domain.Scope, why error) {
	*r.refused = append(*r.refused, access.Refused{User: r.Principal.User, Action: d.name, Scope: scope,
		Address: r.Address, TraceID: r.TraceID, Why: why})
}

// patientOf returns the patient that a command names, or "".
func patientOf(command any) domain.PatientID {
	if c, ok := command.(domain.AboutPatient); ok {
		return c.AboutPatient()
	}
	return ""
}

// asNamed returns the scope as the sentence of a refusal names it: by the site on which it depends if the command names that, else by
// the patient if the command names one, whether there is such a patient or not, and otherwise without what the caller may not know.
func asNamed(command any, p access.Principal, scope domain.Scope) domain.Scope {
	switch named := patientOf(command); {
	case named != "" && scope.Patient == "" && scope.Site != "": // the site that the command names, and not the patient's
		return scope
	case named != "":
		return domain.Scope{Study: scope.Study, Patient: named}
	case scope.Patient != "" && !p.MayKnowPatient(scope):
		return domain.Scope{Study: scope.Study}
	}
	return scope
}

func (d *Declaration[S, E, F, C]) metadata(h *Handler, r Request, body C, id uuid.UUID, hash commandHash,
	role user.Role, scope domain.Scope) eventlog.Metadata {
	meta := eventlog.Metadata{
		CorrelationID: r.CorrelationID, CausationID: r.CausationID,
		Actor: r.Principal.User, Role: string(role), Study: scope.Study, Site: scope.Site, Patient: scope.Patient,
		Command: d.name, CommandID: id.String(), CommandHash: hash.sum, CommandHashAlgorithm: hash.algorithm,
		RecordedAt: h.now().UTC(), Address: r.Address, App: r.App, TraceID: r.TraceID, Build: h.build,
	}
	if meta.CorrelationID == "" {
		meta.CorrelationID = meta.CommandID
	}
	if meta.CausationID == "" {
		meta.CausationID = meta.CommandID
	}
	addFromBody(body, &meta)
	return meta
}

// recordDamaged refuses a command on a damaged stream.
func recordDamaged(d domain.Damage) error {
	return refuse.WrongState("record_damaged", "the record %s is damaged from its event %d on, and takes no commands", d.Stream, d.Revision).
		Do("tell those who run the system; two administrators can resolve it, and nothing else is affected")
}

// recordDeleted refuses what needs a stream that somebody has deleted from the event store.
func recordDeleted(stream string) error {
	return refuse.WrongState("record_deleted", "the record %s was deleted from the event store, and takes no commands", stream).
		Do("tell those who run the system; nothing else is affected")
}

// recordUnreadable refuses what needs the state of a stream with an event that this program cannot read. Where a newer
// program has recorded the event, another server may be that program.
func recordUnreadable(at eventlog.Recorded, err error) error {
	if errors.Is(err, domain.ErrUnknownVersion) {
		return refuse.Overload("record_newer", "the record %s holds an event, %d, of a newer program than this one", at.Stream, at.Revision).
			Do("send the same again; if it lasts, tell those who run the system to replace this program by the newer one")
	}
	return refuse.WrongState("record_unreadable", "the record %s holds an event, %d, that cannot be read", at.Stream, at.Revision).
		Do("tell those who run the system; nothing else is affected")
}

func (d *Declaration[S, E, F, C]) decideOn(ctx context.Context, reader Reader, state S, body C, call domain.Call) ([]any, error) {
	return d.decideBy(ctx, d.decide, reader, state, body, call)
}

func (d *Declaration[S, E, F, C]) decideBy(ctx context.Context, decide func(S, F, C, domain.Call) ([]E, error), reader Reader, state S,
	body C, call domain.Call,
) ([]any, error) {
	facts, err := d.facts(ctx, reader, body)
	if err != nil {
		return nil, err
	}
	decided, err := decide(state, facts, body, call)
	if err != nil {
		return nil, err
	}
	events := make([]any, len(decided))
	for i, e := range decided {
		events[i] = e
	}
	return events, nil
}

// answerOf is the answer to a command that has recorded events.
func (h *Handler) answerOf(id uuid.UUID, recorded []eventlog.Recorded) Answer {
	last := recorded[len(recorded)-1]
	a := Answer{CommandID: id.String(), Stream: last.Stream, Revision: h.shownRevision(last.Stream, int64(last.Revision)),
		Position: last.Position.Commit, Events: make([]AnsweredEvent, len(recorded))}
	for i, e := range recorded {
		a.Events[i] = h.answeredEvent(e, a.Revision != nil)
		if held, is := e.Event.(diary.Held); is {
			a.Held = &Held{Why: held.Why, ID: held.Window.ID}
		}
	}
	return a
}

// shownRevision returns the revision of a stream as its writers are shown it.
func (h *Handler) shownRevision(stream string, revision int64) *int64 {
	if category, _, _ := strings.Cut(stream, "-"); h.hidesRevisions[category] {
		return nil
	}
	return &revision
}

func (h *Handler) answeredEvent(e eventlog.Recorded, withRevision bool) AnsweredEvent {
	event := AnsweredEvent{ID: e.ID.String(), Type: e.Type, Data: e.Event}
	if withRevision {
		revision := e.Revision // a pointer into the event would keep all of it
		event.Revision = &revision
	}
	if s, known := h.log.Registry().Named(e.Type); known && s.Secret {
		event.Data = nil
	}
	return event
}

// Commands returns the handler's commands, in the order of its options.
func (h *Handler) Commands() []Command { return h.commands }

// Registry returns the registry of the events that commands record.
func (h *Handler) Registry() *eventlog.Registry { return h.log.Registry() }

// ProveResolution returns the proof that this program resolves the damage of a stream; none if it runs without the keys of
// blinded values.
func (h *Handler) ProveResolution(stream string, revision uint64) string {
	return h.log.ProveResolution(stream, revision)
}

// Find returns the declared command with this name. Names are case-sensitive.
func (h *Handler) Find(name string) (Command, bool) {
	c, ok := h.byName[strings.TrimSpace(name)]
	return c, ok
}
