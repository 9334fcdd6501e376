package readmodels

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"casebook/access"
)

// Query is a declared question about what was recorded. Declare makes one. The route, the authorisation, the description
// and the access tests all derive from it.
type Query struct {
	// Name is the query's name in the description, in logs and in the security log.
	Name string
	// Path holds the ids in braces: /api/v1/studies/{study}.
	Path string
	// Summary is one line, Doc the rest that a caller has to know.
	Summary, Doc string
	// OpenTo lists the roles that the query is open to; everybody who has signed in for ReachSelf.
	OpenTo access.Permission
	// Reach says in which scope one of these roles has to be held.
	Reach Reach
	// Within names the parameters of which each binds a ReachStudy query to one site; site where it is empty.
	Within []string
	// Views are the read models that the answer is made of. A caller who names a log position waits for all of them.
	Views []View
	// Sort names the orders of a list; none where it has one order alone.
	Sort Sorting

	// Parameters and Answer, the Go type of the answer, are derived from the function that answers.
	Parameters Parameters
	Answer     reflect.Type
	parameters reflect.Type
	read       func(context.Context, Request, any) (any, error)
}

// Reach says how a query's scope is found.
type Reach string

const (
	// ReachSelf is for answers that hold nothing but what the caller's own grants name.
	ReachSelf Reach = "self"
	// ReachAnywhere wants the role held somewhere, no matter where; the answer tells of no study.
	ReachAnywhere Reach = "anywhere"
	// ReachStudy is the study as a whole, or one site where a parameter names it (see Query.Within).
	ReachStudy Reach = "study"
	// ReachSites is as much of the study as the caller's grants cover, the whole or single sites.
	ReachSites Reach = "sites"
	// ReachPatient is the patient of the path.
	ReachPatient Reach = "patient"
)

// Sorting names the orders of a list. The first is taken where a caller names none.
type Sorting struct {
	Names []string
	Doc   string
}

// SortBy names the orders of a list for a query; doc describes them.
func SortBy[T any](orders []Order[T], doc string) Sorting {
	return Sorting{Names: Names(orders), Doc: doc}
}

// Declare completes the declaration of a query with the function that answers it. Q is a struct; its fields with a tag
// path or query are the query's parameters (see Parameters). What the function returns may have nil lists: the caller gets
// empty ones. Declare panics where a field cannot be a parameter: that is a mistake in the program, found by its first
// test.
func Declare[Q, A any](q Query, answer func(context.Context, Request, Q) (A, error)) Query {
	q.parameters, q.Answer = reflect.TypeFor[Q](), reflect.TypeFor[A]()
	q.Parameters = parametersOf(q.parameters, q.Sort)
	if err := q.check(); err != nil {
		panic(fmt.Sprintf("readmodels: the query %s: %v", q.Name, err))
	}
	fill := EmptyLists(q.Answer, "json")
	q.read = func(ctx context.Context, r Request, parameters any) (any, error) {
		value, err := answer(ctx, r, *parameters.(*Q)) //nolint:forcetypeassert // made of q.parameters
		if err != nil {
			return nil, err
		}
		if fill != nil {
			fill(reflect.ValueOf(&value).Elem())
		}
		return value, nil
	}
	return q
}

// check finds a reach whose scope no parameter names.
func (q Query) check() error {
	var needed []string
	switch q.Reach {
	case ReachSelf, ReachAnywhere:
	case ReachStudy:
		needed = append([]string{"study"}, q.Within...)
	case ReachSites:
		needed = []string{"study"}
	case ReachPatient:
		needed = []string{"patient"}
	default:
		return fmt.Errorf("%q is no reach", q.Reach)
	}
	for _, name := range needed {
		if _, ok := q.Parameters.named(name); !ok {
			return fmt.Errorf("its reach needs a parameter %s", name)
		}
	}
	if _, ok := q.Parameters.named("sort"); !ok && len(q.Sort.Names) > 0 {
		return errors.New("it has orders and no parameter sort")
	}
	return nil
}

// BoundBy are the parameters that bind a ReachStudy query to one site.
func (q Query) BoundBy() []string {
	if len(q.Within) == 0 {
		return []string{"site"}
	}
	return q.Within
}
