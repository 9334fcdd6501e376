package commands

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"time"

	"casebook/access"
	"casebook/admission"
	"casebook/domain"
	"casebook/domain/user"
	"casebook/eventlog"
)

// Command is a declared command of any type.
type Command interface {
	// Name is the command's name in the API, in metadata and in logs: the name of its Go type.
	Name() string
	// Body is the Go type of the command's body.
	Body() reflect.Type
	// OpenTo lists the roles that may send the command.
	OpenTo() access.Permission
	// AsksForPresence says that the sender must have signed in within the last few minutes.
	AsksForPresence() bool
	// Narrows says that single commands are open to fewer of these roles, depending on what they are about.
	Narrows() bool
	// OpenToOwner says that the command is also open to the owner of the account that it is about.
	OpenToOwner() bool
	// Class says how important the command is while the server has more to do than it can.
	Class() admission.Class
	// Internal says that only process managers send the command; the API does not offer it.
	Internal() bool
	// Summary says in one line what the command does; it is empty for commands that are not described.
	Summary() string
	// Example is an example of a body; it is nil for commands that are not described.
	Example() any
	// Decision names the pure function that decides on the command, as package.Function.
	Decision() string
	// Category is the category of the streams that the command runs on.
	Category() string
	// Upcasts lead from the bodies of earlier versions, which processes have recorded, to the current one.
	Upcasts() domain.Upcasts
	// Reveals is the Go type of what the answer shows to the sender besides the events; nil means nothing.
	Reveals() reflect.Type
	// Patient returns the patient that a body names; "" if the command is about no patient or the body cannot be read.
	Patient(body []byte) domain.PatientID

	run(ctx context.Context, h *Handler, r Request) (Answer, error)
}

// Declaration is everything about a command of type C except its decision. The command runs on a stream with state S
// and events E; F is the type of the facts that the decision needs from other streams.
type Declaration[S, E, F, C any] struct {
	name     string
	decision string
	decider  domain.Decider[S, E]
	// initial and fold are the decider's, as the cache of states takes them.
	initial any
	fold    foldFunc
	decide  func(S, F, C, domain.Call) ([]E, error)
	facts   func(context.Context, Reader, C) (F, error)
	scope   func(context.Context, Reader, C) (domain.Scope, error)
	openTo  access.Permission
	// narrow returns the roles of openTo that may send this very command; nil means all of them.
	narrow func(context.Context, Reader, C) (access.Permission, error)
	// otherwise says what those can do whom none of the roles allows the command; "" where nothing is left but to ask for a role.
	otherwise string
	// openToSelf also allows the user whom the command is about, without any grant.
	openToSelf bool
	// prepare changes the body before the decision, for example a password into its digest.
	prepare func(context.Context, *Handler, Request, *C) error
	// class is Commands unless InClass says otherwise.
	class admission.Class
	// dated says that the command has a day, which must have begun where it takes place.
	dated bool
	// freshSignIn says that the sender must have signed in within the last few minutes.
	freshSignIn bool
	// confirmed says that the sender's account must be in its owner's hands without doubt.
	confirmed bool
	// reveal returns what the answer shows to the sender besides the events, which is of the type reveals; nil means nothing.
	reveal  func(context.Context, Reader, S, C) (any, error)
	reveals reflect.Type
	// showAgain makes of a command the one that is decided on when it is repeated within showAgainFor: that it is shown again
	// is recorded. If it is nil, only the first answer shows it.
	showAgain    func(C) C
	showAgainFor time.Duration
	// recorded are the codes of refusals by the decision that are put into the security log.
	recorded []string
	// recordsAll says that each refusal by the decision is.
	recordsAll bool
	// evenIfDamaged says that the command is also taken while its stream is damaged.
	evenIfDamaged bool
	// beside decides in place of the decision while the stream is damaged, and besideKey names the stream that takes the events; nil
	// where the command is refused then, or decided on as ever.
	beside    func(S, F, C, domain.Call) ([]E, error)
	besideKey func(C) string
	// repeats says whether an event was recorded by the same command, sent before under another key; nil where nobody asks.
	repeats func(C, E) bool
	// secret says that the body holds a secret, so that its hash is not recorded either.
	secret bool
	// blinded says that the body holds content that is sealed in the log.
	blinded bool
	upcasts domain.Upcasts
	// required are the fields that a body must have.
	required []requiredField

	summary string
	example *C
}

// noFacts is the type of the facts of a decision that needs none.
type noFacts struct{}

// Handle declares a command whose decision needs nothing but the command's own stream. The stream, the scope and the
// reason in the events' metadata follow from what the command embeds (see domain.OfPatient and its neighbours). Handle
// panics if the command embeds nothing that says on which of the decider's streams it runs: that is a mistake in the
// program, and its first test finds it.
func Handle[S, E, C any](decider domain.Decider[S, E], decide func(S, C, domain.Call) ([]E, error)) *Declaration[S, E, noFacts, C] {
	return declare(decider, nameOfFunction(decide),
		func(context.Context, Reader, C) (noFacts, error) { return noFacts{}, nil },
		func(s S, _ noFacts, c C, call domain.Call) ([]E, error) { return decide(s, c, call) })
}

// HandleWithFacts declares a command whose decision needs facts that other streams hold. The facts are read before every
// attempt at the decision.
func HandleWithFacts[S, E, F, C any](decider domain.Decider[S, E], facts func(context.Context, Reader, C) (F, error),
	decide func(S, F, C, domain.Call) ([]E, error)) *Declaration[S, E, F, C] {
	return declare(decider, nameOfFunction(decide), facts, decide)
}

func declare[S, E, F, C any](decider domain.Decider[S, E], decision string, facts func(context.Context, Reader, C) (F, error),
	decide func(S, F, C, domain.Call) ([]E, error)) *Declaration[S, E, F, C] {
	name := reflect.TypeFor[C]().Name()
	name = strings.ToUpper(name[:1]) + name[1:]
	var blank C
	if _, ok := decider.Key(blank); !ok {
		panic(fmt.Sprintf("commands: %s embeds nothing that says on which stream of the category %s it runs", name, decider.Category))
	}
	return &Declaration[S, E, F, C]{name: name, decision: decision, decider: decider, initial: decider.Initial, fold: foldOf(decider),
		decide: decide, facts: facts, scope: scopeOf[C](), class: admission.Commands, required: requiredFields(reflect.TypeFor[C]()),
		dated: hasDate(reflect.TypeFor[C]())}
}

// nameOfFunction returns a function's name as package.Function.
func nameOfFunction(f any) string {
	name := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	return name[strings.LastIndex(name, "/")+1:]
}

// Scoped sets the scope of a command whose scope does not follow from what it embeds.
func (d *Declaration[S, E, F, C]) Scoped(scope func(context.Context, Reader, C) (domain.Scope, error)) *Declaration[S, E, F, C] {
	d.scope = scope
	return d
}

// AllowedTo sets the roles that may send the command; without it nobody may.
func (d *Declaration[S, E, F, C]) AllowedTo(permissions ...access.Permission) *Declaration[S, E, F, C] {
	d.openTo = access.To(permissions...)
	return d
}

// Narrowed allows the command to fewer roles than AllowedTo, depending on what the single command is about.
func (d *Declaration[S, E, F, C]) Narrowed(narrow func(context.Context, Reader, C) (access.Permission, error)) *Declaration[S, E, F, C] {
	d.narrow = narrow
	return d
}

// Otherwise says what those can do who may not send the command; their refusal says it. It is the same whatever the command is about.
func (d *Declaration[S, E, F, C]) Otherwise(instead string) *Declaration[S, E, F, C] {
	d.otherwise = instead
	return d
}

// AllowedToSelf also allows the command to the user whom it is about. The command has to embed domain.OfUser.
func (d *Declaration[S, E, F, C]) AllowedToSelf() *Declaration[S, E, F, C] {
	d.openToSelf = true
	return d
}

// InClass says that the command is more important than others, or less, while the server has more to do than it can. Without
// it, the command belongs to admission.Commands.
func (d *Declaration[S, E, F, C]) InClass(class admission.Class) *Declaration[S, E, F, C] {
	d.class = class
	return d
}

// PreparedBy sets a function that changes the body before the decision.
func (d *Declaration[S, E, F, C]) PreparedBy(prepare func(context.Context, *C) error) *Declaration[S, E, F, C] {
	return d.PreparedWith(func(ctx context.Context, _ *Handler, _ Request, c *C) error { return prepare(ctx, c) })
}

// PreparedWith sets a function that checks or changes the body before the decision, and that needs to know the request.
func (d *Declaration[S, E, F, C]) PreparedWith(prepare func(context.Context, *Handler, Request, *C) error) *Declaration[S, E, F, C] {
	d.prepare = prepare
	return d
}

// ByConfirmedAccounts says that the sender's account must not wait for a confirmation (see
// access.Principal.MustBeConfirmed). It does not concern what people do with their own account.
func (d *Declaration[S, E, F, C]) ByConfirmedAccounts() *Declaration[S, E, F, C] {
	d.confirmed = true
	return d
}

// Reauthenticated says that the sender must have signed in within the last few minutes (see
// access.Principal.MustHaveSignedInRecently), from an account that waits for no confirmation, and with a second factor
// where the study asks for one. For what people do with their own account, only the sign-in is needed.
func (d *Declaration[S, E, F, C]) Reauthenticated() *Declaration[S, E, F, C] {
	d.freshSignIn = true
	return d
}

// Revealing sets a function that returns something that the sender may see but that the events do not hold. Only the
// first answer shows it; the answer to a repeat of the command does not, unless ShownAgain says so.
func (d *Declaration[S, E, F, C]) Revealing(r Revelation[S, C]) *Declaration[S, E, F, C] {
	d.reveal, d.reveals = r.show, r.of
	return d
}

// Revelation is what the answer to a command shows to its sender besides the events. Shown makes one.
type Revelation[S, C any] struct {
	of   reflect.Type
	show func(context.Context, Reader, S, C) (any, error)
}

// Shown is a revelation of type R, so that the description of the API has its fields. Where show returns nil, nothing is shown.
func Shown[S, C, R any](show func(context.Context, Reader, S, C) (*R, error)) Revelation[S, C] {
	return Revelation[S, C]{of: reflect.TypeFor[R](), show: func(ctx context.Context, reader Reader, s S, c C) (any, error) {
		shown, err := show(ctx, reader, s, c)
		if shown == nil || err != nil {
			return nil, err
		}
		return *shown, nil
	}}
}

// ShownAgain lets the answer to a repeat of the command reveal it as well, for a time after the first one: the first answer
// may have been lost. Each time, the events of the decision on the command that again returns are recorded before.
func (d *Declaration[S, E, F, C]) ShownAgain(within time.Duration, again func(C) C) *Declaration[S, E, F, C] {
	d.showAgainFor, d.showAgain = within, again
	return d
}

// RecordingRefusals puts refusals by the decision with these codes, or all of them, into the security log, like refusals of access:
// somebody who tries out what is refused in order to learn what is blinded shows there.
func (d *Declaration[S, E, F, C]) RecordingRefusals(codes ...string) *Declaration[S, E, F, C] {
	d.recorded, d.recordsAll = codes, len(codes) == 0
	return d
}

// EvenIfDamaged says that the command is also taken while its stream is damaged: an emergency must not wait until two people
// have resolved the damage. It is decided on the sound part of the stream, and recorded in a stream of its own beside it. A
// refusal would come from a part of the record only, so the command is then refused as on any damaged stream. The events of
// such a command must not change the state.
func (d *Declaration[S, E, F, C]) EvenIfDamaged() *Declaration[S, E, F, C] {
	d.evenIfDamaged = true
	return d
}

// BesideDamage says that the command is also taken while its stream is damaged, because what it brings must not be lost. Another
// function then decides, on the sound part of the stream, and the events are recorded in a stream beside it, which has the name of the
// damaged one and what key returns behind it. A stream beside takes one command: what comes after it is a repeat.
func (d *Declaration[S, E, F, C]) BesideDamage(key func(C) string, decide func(S, F, C, domain.Call) ([]E, error),
) *Declaration[S, E, F, C] {
	d.evenIfDamaged, d.besideKey, d.beside = true, key, decide
	return d
}

// Repeating says which events were recorded by the same command, sent before under another key. If there is nothing to record, the
// answer has these events: a repeat gets the answer that the first one got.
func (d *Declaration[S, E, F, C]) Repeating(repeats func(C, E) bool) *Declaration[S, E, F, C] {
	d.repeats = repeats
	return d
}

// Secret says that the body holds a secret, so that not even its hash is recorded.
func (d *Declaration[S, E, F, C]) Secret() *Declaration[S, E, F, C] {
	d.secret = true
	return d
}

// Blinded says that the body holds content that is sealed in the log. Its hash is recorded under a key. Earlier programs
// recorded no hash of such a body, so that a repeat of what they recorded is recognised by its idempotency key alone.
func (d *Declaration[S, E, F, C]) Blinded() *Declaration[S, E, F, C] {
	d.blinded = true
	return d
}

// Upcast says how bodies of earlier versions are read; the first upcast leads from version 1 to version 2. A process
// records a command before it sends it, so every recorded body must remain sendable.
func (d *Declaration[S, E, F, C]) Upcast(upcasts ...domain.Upcast) *Declaration[S, E, F, C] {
	d.upcasts = upcasts
	return d
}

// Described sets a line that says what the command does, and an example of a body. Commands that people send need both.
func (d *Declaration[S, E, F, C]) Described(summary string, example C) *Declaration[S, E, F, C] {
	d.summary, d.example = summary, &example
	return d
}

// Name implements Command.
func (d *Declaration[S, E, F, C]) Name() string { return d.name }

// Body implements Command.
func (d *Declaration[S, E, F, C]) Body() reflect.Type { return reflect.TypeFor[C]() }

// OpenTo implements Command.
func (d *Declaration[S, E, F, C]) OpenTo() access.Permission { return d.openTo }

// Narrows implements Command.
func (d *Declaration[S, E, F, C]) Narrows() bool { return d.narrow != nil }

// OpenToOwner implements Command.
func (d *Declaration[S, E, F, C]) OpenToOwner() bool { return d.openToSelf }

// Class implements Command.
func (d *Declaration[S, E, F, C]) Class() admission.Class { return d.class }

// AsksForPresence implements Command.
func (d *Declaration[S, E, F, C]) AsksForPresence() bool { return d.freshSignIn }

// Summary implements Command.
func (d *Declaration[S, E, F, C]) Summary() string { return d.summary }

// Decision implements Command.
func (d *Declaration[S, E, F, C]) Decision() string { return d.decision }

// Category implements Command.
func (d *Declaration[S, E, F, C]) Category() string { return d.decider.Category }

// Upcasts implements Command.
func (d *Declaration[S, E, F, C]) Upcasts() domain.Upcasts { return d.upcasts }

// Reveals implements Command.
func (d *Declaration[S, E, F, C]) Reveals() reflect.Type { return d.reveals }

// Example implements Command.
func (d *Declaration[S, E, F, C]) Example() any {
	if d.example == nil {
		return nil
	}
	return *d.example
}

// Patient implements Command.
func (d *Declaration[S, E, F, C]) Patient(body []byte) domain.PatientID {
	var c C
	if Decode(body, &c) != nil {
		return ""
	}
	about, ok := any(c).(domain.AboutPatient)
	if !ok {
		return ""
	}
	return about.AboutPatient()
}

// Internal implements Command.
func (d *Declaration[S, E, F, C]) Internal() bool {
	for _, role := range d.openTo {
		if role != user.System {
			return false
		}
	}
	return !d.openToSelf
}

// stream returns the name of the stream that a command runs on.
func (d *Declaration[S, E, F, C]) stream(c C) string {
	id, _ := d.decider.Key(c)
	return d.decider.Stream(id)
}

// isOpenToSelf says whether the command is about this user and the user may send it for that reason.
func (d *Declaration[S, E, F, C]) isOpenToSelf(c C, id domain.UserID) bool {
	about, ok := any(c).(domain.AboutUser)
	return d.openToSelf && ok && about.AboutUser() == id
}

// addFromBody adds to the metadata what the body holds: the reason, the captured time, and the patient and site if the
// scope does not have them.
func addFromBody(command any, m *eventlog.Metadata) {
	if c, ok := command.(domain.WithReason); ok {
		m.Reason = c.GivenReason()
	}
	if c, ok := command.(domain.WithCapture); ok {
		at, zone := c.Captured()
		m.CapturedAt, m.CapturedZone = &at, zone
	}
	if c, ok := command.(domain.AboutPatient); ok && m.Patient == "" {
		m.Patient = c.AboutPatient()
	}
	if c, ok := command.(domain.AboutSite); ok && m.Site == "" {
		_, m.Site = c.AboutSite()
	}
}
