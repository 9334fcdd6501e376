package projections

import (
	"fmt"
	"maps"
	"reflect"

	"casebook/domain"
	"casebook/eventlog"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Envelope is an event with all that the log knows of it.
type Envelope = eventlog.Recorded

// Projection folds events into the documents of one view.
type Projection struct {
	// View says where the documents are, and the version of the fold.
	View readmodels.View

	keys    Keys
	folds   map[reflect.Type]func(readmodels.Document, Envelope)
	begins  func(Envelope) bool      // whether the event is the first of each document that it touches
	streams []func(id string) string // those of one patient; none where one patient cannot be folded alone
	former  *Projection              // the fold of the version before, where it is kept
	alike   bool                     // events of all types are folded alike
	blank   func() readmodels.Document
	lists   func(reflect.Value) // makes the lists of a document; nil where it has none
}

// document is a pointer to D that is a readmodels.Document.
type document[D any] interface {
	*D
	readmodels.Document
}

// Fold is how one type of event changes a document.
type Fold[D any] struct {
	event  reflect.Type
	apply  func(*D, Envelope)
	begins bool
	alike  bool
}

// On folds events of type E into documents. The function is pure: what it knows is the document, the event and its
// envelope.
func On[D, E any](fold func(doc *D, e E, at Envelope)) Fold[D] {
	return Fold[D]{event: reflect.TypeFor[E](), apply: func(doc *D, at Envelope) { fold(doc, at.Event.(E), at) }}
}

// Begin is On for events that are the first of each document that they touch. The engine does not look for such a document
// in the store.
func Begin[D, E any](fold func(doc *D, e E, at Envelope)) Fold[D] {
	f := On(fold)
	f.begins = true
	return f
}

// OnType is On for a view that folds events of all types alike.
func OnType[D any](event domain.EventType, fold func(doc *D, at Envelope)) Fold[D] {
	return Fold[D]{event: event.Go, apply: fold, alike: true}
}

// New declares a projection. It panics where two folds are of one type of event, or where the keys name no document of an
// event that is folded: these are mistakes in the program, found by its first test.
func New[D any, P document[D]](view readmodels.View, keys Keys, folds ...Fold[D]) Projection {
	begin := map[reflect.Type]bool{}
	p := Projection{View: view, keys: keys, folds: map[reflect.Type]func(readmodels.Document, Envelope){},
		begins: func(at Envelope) bool { return begin[reflect.TypeOf(at.Event)] },
		blank:  func() readmodels.Document { return P(new(D)) },
		lists:  readmodels.EmptyLists(reflect.TypeFor[D](), "bson"),
	}
	for _, f := range folds {
		if p.folds[f.event] != nil {
			panic(fmt.Sprintf("projections: %s folds %v twice", view.Name, f.event))
		}
		if !keys.names(f.event) {
			panic(fmt.Sprintf("projections: %s folds %v, which does not say which document it is about: "+
				"give the event the method that the view's keys ask for, where it is declared", view.Name, f.event))
		}
		begin[f.event] = f.begins
		p.alike = p.alike || f.alike
		p.folds[f.event] = func(doc readmodels.Document, at Envelope) { f.apply((*D)(doc.(P)), at) }
	}
	return p
}

// BegunBy returns the projection with a way to tell the events that are the first of each document that they touch, where
// their type alone does not tell it. The engine does not look for such a document in the store, where many are made and few
// are changed.
func (p Projection) BegunBy(first func(Envelope) bool) Projection {
	p.begins = first
	return p
}

// InPlaceOf returns the projection with the one that it replaces, of the same view in an earlier version. While a program
// that starts with the new version builds it, it goes on folding what happens into the old build too, so that queries and
// those who wait for their own writes notice nothing. Keep the former fold for a release; without it the old build is shown
// as it was.
func (p Projection) InPlaceOf(former Projection) Projection {
	if former.View.Name != p.View.Name || former.View.Version >= p.View.Version {
		panic(fmt.Sprintf("projections: version %d of %s cannot be in place of version %d of %s", p.View.Version, p.View.Name, former.View.Version, former.View.Name))
	}
	p.former = &former
	return p
}

// Former returns the projection as it was in a former version of its view, with the folds that were others.
func Former[D any, P document[D]](p Projection, version int, folds ...Fold[D]) Projection {
	p.View.Version, p.folds = version, maps.Clone(p.folds)
	for _, f := range folds {
		p.folds[f.event] = func(doc readmodels.Document, at Envelope) { f.apply((*D)(doc.(P)), at) }
	}
	return p
}

// WithNullLists returns the projection as those were whose folds made the lists of their documents themselves: a list that
// no fold has made is stored as null.
func (p Projection) WithNullLists() Projection {
	p.lists = nil
	return p
}

// inVersion returns the fold that makes a version of the view; false where this program does not have it.
func (p Projection) inVersion(version int) (Projection, bool) {
	for of := &p; of != nil; of = of.former {
		if of.View.Version == version {
			return *of, true
		}
	}
	return Projection{}, false
}

// Group is a document that stands for a group.
type Group interface {
	// Members are the keys of the group's documents, as the event that made the group has named them.
	Members() []string
}

// Folds says whether the projection folds events of this type.
func (p Projection) Folds(event reflect.Type) bool { return p.folds[event] != nil }

// Touches names the documents that the event changes; none for events that the projection does not fold. Where the event
// is about a group, it names that too; if it names no documents besides, they are the group's members.
func (p Projection) Touches(at Envelope) (keys []string, group string) {
	if p.folds[reflect.TypeOf(at.Event)] == nil {
		return nil, ""
	}
	if p.keys.group != nil {
		group = p.keys.group(at)
	}
	return p.keys.of(at), group
}

// Blank returns the document of a key before its first event.
func (p Projection) Blank(key string) readmodels.Document {
	doc := p.blank()
	doc.Head().ID = key
	p.makeLists(doc)
	return doc
}

// read returns a document that was stored.
func (p Projection) read(stored bson.Raw) (readmodels.Document, error) {
	doc := p.blank()
	if err := bson.Unmarshal(stored, doc); err != nil {
		return nil, err
	}
	p.makeLists(doc)
	return doc, nil
}

func (p Projection) makeLists(doc readmodels.Document) {
	if p.lists != nil {
		p.lists(reflect.ValueOf(doc).Elem())
	}
}

// Apply folds an event into a document, unless the document has seen it; it says whether it did. A fold that panics is
// an error that names the event.
func (p Projection) Apply(doc readmodels.Document, at Envelope) (folded bool, err error) {
	head := doc.Head()
	if head.Seen(at.Position) {
		return false, nil
	}
	defer func() {
		if r := recover(); r != nil {
			folded, err = false, p.failed("fold", at, fmt.Errorf("into %q: %v", head.ID, r))
		}
	}()
	p.folds[reflect.TypeOf(at.Event)](doc, at)
	p.makeLists(doc)
	head.See(at.Position)
	return true, nil
}

// touches is Touches for events that nobody has looked at before: a panic is an error that names the event.
func (p Projection) touches(at Envelope) (keys []string, group string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = p.failed("find the documents of", at, fmt.Errorf("%v", r))
		}
	}()
	keys, group = p.Touches(at)
	return keys, group, nil
}

// failed is the error of an event that the projection cannot get past.
func (p Projection) failed(what string, at Envelope, err error) error {
	return fmt.Errorf("%s cannot %s %s of %s@%d: %w", p.View.Name, what, at.Type, at.Stream, at.Revision, err)
}

// ViewsOf returns a function that names the views that fold events of an event's type.
func ViewsOf(all []Projection) func(event any) []string {
	return func(event any) (names []string) {
		for _, p := range all {
			if p.Folds(reflect.TypeOf(event)) {
				names = append(names, p.View.Name)
			}
		}
		return names
	}
}
