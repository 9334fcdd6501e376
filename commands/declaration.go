package commands

import (
	"context"
	"reflect"
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

	run(ctx context.Context, h *Handler, r Request) (Answer, error)
}

// Declaration says all that surrounds the decision about commands of type C on streams with state S and events E,
// where the decision knows facts F of other streams.
type Declaration[S, E, F, C any] struct {
	name    string
	decider domain.Decider[S, E]
	decide  func(S, F, C, domain.Call) ([]E, error)
	facts   func(context.Context, Look, C) (F, error)
	stream  func(C) string
	scope   func(context.Context, Look, C) (domain.Scope, error)
	open    access.Permission
	// openFor narrows open by what the command is about; nil where it does not matter.
	openFor func(context.Context, Look, C) (access.Permission, error)
	// self lets the user whom the command is about send it, whatever the grants.
	self func(C) domain.UserID
	// prepare changes the body before it is decided on, such as a password into its digest.
	prepare func(context.Context, *C) error
	// about fills metadata that the body holds: reason, captured time.
	about func(C, *eventlog.Metadata)
	// present says that whoever sends it has to have signed in just now.
	present bool
	// reveal returns what the sender alone is shown, once; nil for nothing.
	reveal func(S, []E) (any, error)
	// secret says that the body holds something that not even its hash may tell of.
	secret bool
}

// none is the facts of a decision that needs none.
type none struct{}

// Handle declares a command that the decision alone can answer.
func Handle[S, E, C any](decider domain.Decider[S, E], decide func(S, C, domain.Call) ([]E, error)) *Declaration[S, E, none, C] {
	return HandleKnowing(decider,
		func(context.Context, Look, C) (none, error) { return none{}, nil },
		func(s S, _ none, c C, call domain.Call) ([]E, error) { return decide(s, c, call) })
}

// HandleKnowing declares a command whose decision needs facts that other streams hold. They are read before the
// decision, and again when it is taken again.
func HandleKnowing[S, E, F, C any](decider domain.Decider[S, E], facts func(context.Context, Look, C) (F, error),
	decide func(S, F, C, domain.Call) ([]E, error)) *Declaration[S, E, F, C] {
	name := reflect.TypeFor[C]().Name()
	return &Declaration[S, E, F, C]{name: strings.ToUpper(name[:1]) + name[1:], decider: decider, decide: decide, facts: facts}
}

// On says which stream the command runs on, by the id behind the stream's category.
func (d *Declaration[S, E, F, C]) On(id func(C) string) *Declaration[S, E, F, C] {
	d.stream = func(c C) string { return d.decider.Stream(id(c)) }
	return d
}

// In says what the command touches.
func (d *Declaration[S, E, F, C]) In(scope func(context.Context, Look, C) (domain.Scope, error)) *Declaration[S, E, F, C] {
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

// AndSelf also opens the command to the user whom it is about.
func (d *Declaration[S, E, F, C]) AndSelf(about func(C) domain.UserID) *Declaration[S, E, F, C] {
	d.self = about
	return d
}

// PreparedBy changes the body before the decision.
func (d *Declaration[S, E, F, C]) PreparedBy(prepare func(context.Context, *C) error) *Declaration[S, E, F, C] {
	d.prepare = prepare
	return d
}

// About fills in the metadata that the body holds: the reason of a change, the captured time.
func (d *Declaration[S, E, F, C]) About(fill func(C, *eventlog.Metadata)) *Declaration[S, E, F, C] {
	d.about = fill
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

// Name implements Command.
func (d *Declaration[S, E, F, C]) Name() string { return d.name }

// Body implements Command.
func (d *Declaration[S, E, F, C]) Body() reflect.Type { return reflect.TypeFor[C]() }

// OpenTo implements Command.
func (d *Declaration[S, E, F, C]) OpenTo() access.Permission { return d.open }

// Internal implements Command.
func (d *Declaration[S, E, F, C]) Internal() bool {
	for _, role := range d.open {
		if role != user.System {
			return false
		}
	}
	return d.self == nil
}
