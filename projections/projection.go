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

// Envelope is an event with all that the log knows about it.
type Envelope = eventlog.Recorded

// Projection folds events into the documents of one view.
type Projection struct {
	// View names the documents and the version of the fold, and lists the indexes.
	View readmodels.View

	keys    Keys
	folds   map[reflect.Type]func(readmodels.Document, Envelope)
	begins  func(Envelope) bool      // whether the event is the first of each document that it touches
	streams []func(id string) string // the streams of one patient; empty where one patient cannot be folded alone
	former  *Projection              // the fold of the previous version; nil where it is not kept
	alike   bool                     // whether events of all types are folded alike
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

// On folds events of type E into documents. The function is pure: it uses the document, the event and its envelope, and
// nothing else.
func On[D, E any](fold func(doc *D, e E, at Envelope)) Fold[D] {
	return Fold[D]{event: reflect.TypeFor[E](), apply: func(doc *D, at Envelope) { fold(doc, at.Event.(E), at) }}
}

// Begin is On for events that are the first of each document that they change. The engine does not load such a document from
// the store.
func Begin[D, E any](fold func(doc *D, e E, at Envelope)) Fold[D] {
	f := On(fold)
	f.begins = true
	return f
}

// OnEventType is On for a view that folds events of all types alike.
func OnEventType[D any](event domain.EventType, fold func(doc *D, at Envelope)) Fold[D] {
	return Fold[D]{event: event.Go, apply: fold, alike: true}
}

// New declares a projection. It panics where an event has two folds, or where the keys name no document for an event that is
// folded: these are mistakes in the program, and its first test finds them.
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

// BegunBy returns the projection with a function that says whether an event is the first of each document that it changes,
// where the event's type alone does not tell it; see Begin. It is worth the trouble in views that make many documents and
// change few.
func (p Projection) BegunBy(first func(Envelope) bool) Projection {
	p.begins = first
	return p
}

// Replacing returns the projection with the one that it replaces, of the same view in an earlier version. A program that
// starts with the new version builds it beside the old build, and meanwhile keeps the old build up to date with the former
// fold: queries, and those who wait for their own writes, notice nothing. Keep the former fold for a release. Without it
// the old build stays as it is until the new one is complete.
func (p Projection) Replacing(former Projection) Projection {
	if former.View.Name != p.View.Name || former.View.Version >= p.View.Version {
		panic(fmt.Sprintf("projections: version %d of %s cannot be in place of version %d of %s",
			p.View.Version, p.View.Name, former.View.Version, former.View.Name))
	}
	p.former = &former
	return p
}

// Former returns the projection as it was in a former version of its view: with other folds for some events.
func Former[D any, P document[D]](p Projection, version int, folds ...Fold[D]) Projection {
	p.View.Version, p.folds = version, maps.Clone(p.folds)
	for _, f := range folds {
		p.folds[f.event] = func(doc readmodels.Document, at Envelope) { f.apply((*D)(doc.(P)), at) }
	}
	return p
}

// WithNullLists returns the projection without empty lists: a list that no fold has made is stored as null. Former versions
// stored their documents like this.
func (p Projection) WithNullLists() Projection {
	p.lists = nil
	return p
}

// inVersion returns the fold of a version of the view; false where this program does not have it.
func (p Projection) inVersion(version int) (Projection, bool) {
	for of := &p; of != nil; of = of.former {
		if of.View.Version == version {
			return *of, true
		}
	}
	return Projection{}, false
}

// Group is the document of a group.
type Group interface {
	// Members returns the keys of the group's members, as the event that made the group named them.
	Members() []string
}

// Folds says whether the projection folds events of this type.
func (p Projection) Folds(event reflect.Type) bool { return p.folds[event] != nil }

// Touches returns the keys of the documents that the event changes; none for events that the projection does not fold.
// Where the event is about a group, it also returns the group's key; if there are no other keys, the event changes the
// members of the group.
func (p Projection) Touches(at Envelope) (keys []string, group string) {
	if p.folds[reflect.TypeOf(at.Event)] == nil {
		return nil, ""
	}
	if p.keys.group != nil {
		group = p.keys.group(at)
	}
	return p.keys.of(at), group
}

// Sparse says whether the view passes over some events of the types that it folds.
func (p Projection) Sparse() bool { return p.keys.sparse }

// Blank returns the document with a key before its first event.
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

// Apply folds an event into a document, unless the document has seen it already, and returns whether it did. A panic of
// the fold is returned as an error that names the event.
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

// touches is Touches with a panic returned as an error that names the event.
func (p Projection) touches(at Envelope) (keys []string, group string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = p.failed("find the documents of", at, fmt.Errorf("%v", r))
		}
	}()
	keys, group = p.Touches(at)
	return keys, group, nil
}

// failed returns the error for an event at which the projection has to stop.
func (p Projection) failed(what string, at Envelope, err error) error {
	return fmt.Errorf("%s cannot %s %s of %s@%d: %w", p.View.Name, what, at.Type, at.Stream, at.Revision, err)
}
