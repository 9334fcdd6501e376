package commands

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"strings"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/user"
	"casebook/eventlog"
)

// Command is a declared command, whatever its types are.
type Command interface {
	// Name is the command's name in the API, in metadata and in logs: the name of its Go type.
	Name() string
	// Body is the Go type of the command's body.
	Body() reflect.Type
	// OpenTo lists the roles that the command is open to.
	OpenTo() access.Permission
	// Internal says that only process managers send it; the API does not offer it.
	Internal() bool
	// Summary is a line that says what it does; empty for commands that are not described.
	Summary() string
	// Example is a body to begin with; nil for commands that are not described.
	Example() any
	// Decision names the pure function that decides on it, as package.Function.
	Decision() string
	// Category is the category of the streams that it runs on.
	Category() string
	// Upcasts lead from the bodies of earlier versions, as processes have recorded them, to the present one.
	Upcasts() domain.Upcasts
	// Patient reads from a body whom the command is about; "" where it is about no patient, or where the body cannot be read.
	Patient(body []byte) domain.PatientID

	run(ctx context.Context, h *Handler, r Request) (Answer, error)
}

// Declaration says all that surrounds the decision about commands of type C on streams with state S and events E,
// where the decision knows facts F of other streams.
type Declaration[S, E, F, C any] struct {
	name     string
	decision string
	decider  domain.Decider[S, E]
	decide   func(S, F, C, domain.Call) ([]E, error)
	facts    func(context.Context, Look, C) (F, error)
	scope    func(context.Context, Look, C) (access.Scope, error)
	open     access.Permission
	// openFor narrows open by what the command is about; nil where it does not matter.
	openFor func(context.Context, Look, C) (access.Permission, error)
	// self lets the user whom the command is about send it, whatever the grants.
	self bool
	// prepare changes the body before it is decided on, such as a password into its digest.
	prepare func(context.Context, *C) error
	// present says that whoever sends it has to have signed in just now.
	present bool
	// reveal returns what the sender alone is shown, once; nil for nothing.
	reveal func(S, []E) (any, error)
	// secret says that the body holds something that not even its hash may tell of.
	secret  bool
	upcasts domain.Upcasts

	summary string
	example *C
}

// none is the facts of a decision that needs none.
type none struct{}

// Handle declares a command that the decision alone can answer. The stream that it runs on, its scope and the reason in
// its events' metadata follow from what it embeds (see domain.OfPatient and its neighbours). Handle panics where it embeds
// nothing that says on which of the decider's streams it runs: that is a mistake in the program, found by its first test.
func Handle[S, E, C any](decider domain.Decider[S, E], decide func(S, C, domain.Call) ([]E, error)) *Declaration[S, E, none, C] {
	return declare(decider, nameOfFunction(decide),
		func(context.Context, Look, C) (none, error) { return none{}, nil },
		func(s S, _ none, c C, call domain.Call) ([]E, error) { return decide(s, c, call) })
}

// HandleKnowing is Handle for a command whose decision needs facts that other streams hold. They are read before the
// decision, and again when it is taken again.
func HandleKnowing[S, E, F, C any](decider domain.Decider[S, E], facts func(context.Context, Look, C) (F, error),
	decide func(S, F, C, domain.Call) ([]E, error)) *Declaration[S, E, F, C] {
	return declare(decider, nameOfFunction(decide), facts, decide)
}

func declare[S, E, F, C any](decider domain.Decider[S, E], decision string, facts func(context.Context, Look, C) (F, error),
	decide func(S, F, C, domain.Call) ([]E, error)) *Declaration[S, E, F, C] {
	name := reflect.TypeFor[C]().Name()
	name = strings.ToUpper(name[:1]) + name[1:]
	var blank C
	if _, ok := decider.Key(blank); !ok {
		panic(fmt.Sprintf("commands: %s embeds nothing that says on which stream of the category %s it runs", name, decider.Category))
	}
	return &Declaration[S, E, F, C]{name: name, decision: decision, decider: decider, decide: decide, facts: facts, scope: scopeOf[C]()}
}

// nameOfFunction names a function as package.Function.
func nameOfFunction(f any) string {
	name := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	return name[strings.LastIndex(name, "/")+1:]
}

// In says what the command touches, where that does not follow from what it embeds.
func (d *Declaration[S, E, F, C]) In(scope func(context.Context, Look, C) (access.Scope, error)) *Declaration[S, E, F, C] {
	d.scope = scope
	return d
}

// AllowedTo opens the command to roles; without it the command is open to nobody.
func (d *Declaration[S, E, F, C]) AllowedTo(permissions ...access.Permission) *Declaration[S, E, F, C] {
	d.open = access.To(permissions...)
	return d
}

// Narrowed lets what the command is about decide which of the roles that it is open to may send it.
func (d *Declaration[S, E, F, C]) Narrowed(openFor func(context.Context, Look, C) (access.Permission, error)) *Declaration[S, E, F, C] {
	d.openFor = openFor
	return d
}

// AndSelf also opens the command to the user whom it is about; it embeds domain.OfUser.
func (d *Declaration[S, E, F, C]) AndSelf() *Declaration[S, E, F, C] {
	d.self = true
	return d
}

// PreparedBy changes the body before the decision.
func (d *Declaration[S, E, F, C]) PreparedBy(prepare func(context.Context, *C) error) *Declaration[S, E, F, C] {
	d.prepare = prepare
	return d
}

// Reauthenticated says that whoever sends the command has to have signed in just now.
func (d *Declaration[S, E, F, C]) Reauthenticated() *Declaration[S, E, F, C] {
	d.present = true
	return d
}

// Revealing shows the sender something of the state that the events do not show. It is shown in the first answer alone: a
// repeat of the command is answered without.
func (d *Declaration[S, E, F, C]) Revealing(reveal func(S, []E) (any, error)) *Declaration[S, E, F, C] {
	d.reveal = reveal
	return d
}

// Secret says that the body holds a secret, so that no hash of it may be kept.
func (d *Declaration[S, E, F, C]) Secret() *Declaration[S, E, F, C] {
	d.secret = true
	return d
}

// Upcast says how bodies of earlier versions are read, the first upcast from version 1 to version 2. A process records a
// command before it sends it, so what it recorded has to be sendable for ever.
func (d *Declaration[S, E, F, C]) Upcast(upcasts ...domain.Upcast) *Declaration[S, E, F, C] {
	d.upcasts = upcasts
	return d
}

// Described says in a line what the command does, and gives a body to begin with. Commands that people send need both.
func (d *Declaration[S, E, F, C]) Described(summary string, example C) *Declaration[S, E, F, C] {
	d.summary, d.example = summary, &example
	return d
}

// Name implements Command.
func (d *Declaration[S, E, F, C]) Name() string { return d.name }

// Body implements Command.
func (d *Declaration[S, E, F, C]) Body() reflect.Type { return reflect.TypeFor[C]() }

// OpenTo implements Command.
func (d *Declaration[S, E, F, C]) OpenTo() access.Permission { return d.open }

// Summary implements Command.
func (d *Declaration[S, E, F, C]) Summary() string { return d.summary }

// Decision implements Command.
func (d *Declaration[S, E, F, C]) Decision() string { return d.decision }

// Category implements Command.
func (d *Declaration[S, E, F, C]) Category() string { return d.decider.Category }

// Upcasts implements Command.
func (d *Declaration[S, E, F, C]) Upcasts() domain.Upcasts { return d.upcasts }

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
	about, ok := any(c).(domain.AboutPatient)
	if !ok || Decode(body, &c) != nil {
		return ""
	}
	about, _ = any(c).(domain.AboutPatient)
	return about.AboutPatient()
}

// Internal implements Command.
func (d *Declaration[S, E, F, C]) Internal() bool {
	for _, role := range d.open {
		if role != user.System {
			return false
		}
	}
	return !d.self
}

// stream names the stream that a command runs on.
func (d *Declaration[S, E, F, C]) stream(c C) string {
	id, _ := d.decider.Key(c)
	return d.decider.Stream(id)
}

// isSelf says whether the command is open to whoever it is about, and that is the user.
func (d *Declaration[S, E, F, C]) isSelf(c C, id domain.UserID) bool {
	about, ok := any(c).(domain.AboutUser)
	return d.self && ok && about.AboutUser() == id
}

// describe fills in the metadata that the body holds: reason, captured time, and site or patient where the scope does not
// say them.
func describe(command any, m *eventlog.Metadata) {
	if c, ok := command.(domain.WithReason); ok {
		m.Reason = c.WhyAsked()
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
