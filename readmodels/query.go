package readmodels

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"casebook/access"
	"casebook/admission"
)

// Query is the declaration of a query; Declare completes it. The route, the authorisation, the description and the access
// tests all derive from it.
type Query struct {
	// Name is the query's name in the description, in logs and in the security log.
	Name string
	// Path holds the ids in braces: /api/v1/studies/{study}.
	Path string
	// Summary is one line; Doc is what else a caller has to know.
	Summary, Doc string
	// OpenTo lists the roles that may ask. With ReachSelf, everybody who has signed in may ask.
	OpenTo access.Permission
	// Reach says in which scope the caller must hold one of these roles.
	Reach Reach
	// Within names the parameters that can bind a ReachStudy query to one site; only site when empty.
	Within []string
	// Views are the views that the answer is made of. A query with a log position waits for all of them.
	Views []View
	// OfStates says that the answer is made of the states of streams, which a position is waited for in as well.
	OfStates bool
	// Class says how important the query is while the server has more to do than it can; admission.Queries if it is not set.
	Class admission.Class
	// Sort names the orders of a list; empty if the list has only one order.
	Sort Sorting

	// Declare derives Parameters, and Answer, the Go type of the answer, from the function that answers.
	Parameters Parameters
	Answer     reflect.Type
	parameters reflect.Type
	read       func(context.Context, Request, any) (any, error)
}

// Reach says how a query's scope is found.
type Reach string

const (
	// ReachSelf is for answers about nothing but the caller's own account and grants.
	ReachSelf Reach = "self"
	// ReachAnywhere requires the role in any scope; the answer is about no study.
	ReachAnywhere Reach = "anywhere"
	// ReachStudy is the whole study, or one site if a parameter names it (see Query.Within).
	ReachStudy Reach = "study"
	// ReachSites is the part of the study that the caller's grants cover: the whole study or single sites.
	ReachSites Reach = "sites"
	// ReachPatient is the patient in the path.
	ReachPatient Reach = "patient"
	// ReachOwn is the patient whose account asks, or for whom a caregiver's account does. Who answers for several names one in the
	// parameter patient.
	ReachOwn Reach = "own"
)

// Sorting names the orders of a list. The first one is the default.
type Sorting struct {
	Names []string
	Doc   string
}

// SortBy names the orders of a list for a query; doc describes them.
func SortBy[T any](orders []Order[T], doc string) Sorting {
	return Sorting{Names: Names(orders), Doc: doc}
}

// Declare completes the declaration of a query with the function that answers it. Q is a struct; its fields with a tag
// path or query are the query's parameters (see Parameters). The function may return nil lists, of which the caller gets
// empty ones. Declare panics if a field cannot be a parameter, or if no parameter names the scope that Reach needs: that is
// a mistake in the program, and its first test finds it.
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

// check finds a reach whose scope no parameter names, and orders without a parameter.
func (q Query) check() error {
	var needed []string
	switch q.Reach {
	case ReachSelf, ReachAnywhere:
	case ReachStudy:
		needed = append([]string{"study"}, q.Within...)
	case ReachSites:
		needed = []string{"study"}
	case ReachPatient, ReachOwn:
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

// BoundBy returns the names of the parameters that can bind a ReachStudy query to one site.
func (q Query) BoundBy() []string {
	if len(q.Within) == 0 {
		return []string{"site"}
	}
	return q.Within
}
