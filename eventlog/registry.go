package eventlog

import (
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"

	"casebook/domain"

	"github.com/goccy/go-json"
)

// Schema describes one type of event.
type Schema struct {
	domain.EventType
	// Category is the first part of the names of the streams that hold such events.
	Category string
	// Version is the current schema version, from 1.
	Version int

	// blinded is true if such events have blinded values, personal if they have personal ones. No event has both.
	blinded, personal bool
	// texts says where they have texts. Those with personal values have none: what belongs to a person is sealed with that person's key.
	texts textsIn
}

// Registry maps events to their stored form. It is made at start-up, and safe for concurrent use.
type Registry struct {
	streams    []domain.StreamType
	byName     map[string]*Schema
	byType     map[reflect.Type]*Schema
	categories []string // sorted
	// resolutions is the category of the streams whose events resolve damages; empty if there is none.
	resolutions string

	recent recentMetadata
}

// NewRegistry returns the registry of all events of the given kinds of streams. It panics if a name or a Go type is
// declared twice: such a mistake in the program is found by its first test.
func NewRegistry(streams ...domain.StreamType) *Registry {
	r := &Registry{streams: streams, byName: map[string]*Schema{}, byType: map[reflect.Type]*Schema{}}
	for _, stream := range streams {
		for _, event := range stream.Events {
			s := &Schema{
				EventType: event, Category: stream.Category, Version: event.Version(),
				blinded:  holds(event.Go, implements(blindedSealer)),
				personal: holds(event.Go, implements(personalSealer)),
				texts:    textsInType(event.Go),
			}
			if s.personal && s.texts.any() {
				panic(fmt.Sprintf("eventlog: %s holds both personal values and texts; make its texts personal values too", s.Name))
			}
			if s.blinded && s.personal {
				panic(fmt.Sprintf("eventlog: %s holds both blinded and personal values, which nobody may read together", s.Name))
			}
			if r.byName[s.Name] != nil || r.byType[s.Go] != nil {
				panic(fmt.Sprintf("eventlog: %s (%v) is declared twice", s.Name, s.Go))
			}
			r.byName[s.Name], r.byType[s.Go] = s, s
			if s.Go.Implements(resolver) {
				r.resolutions = stream.Category
			}
		}
		if !slices.Contains(r.categories, stream.Category) {
			r.categories = append(r.categories, stream.Category)
		}
	}
	slices.Sort(r.categories)
	return r
}

// Streams returns the kinds of streams that the registry was made of.
func (r *Registry) Streams() []domain.StreamType { return slices.Clone(r.streams) }

// Schemas returns all registered schemas, ordered by name.
func (r *Registry) Schemas() []*Schema {
	all := make([]*Schema, 0, len(r.byName))
	for _, s := range r.byName {
		all = append(all, s)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// Categories returns the categories of all registered events, sorted.
func (r *Registry) Categories() []string { return slices.Clone(r.categories) }

// TypesIn returns the names of the types of events in streams of a category, sorted.
func (r *Registry) TypesIn(category string) (names []string) {
	for _, s := range r.Schemas() {
		if s.Category == category {
			names = append(names, s.Name)
		}
	}
	return names
}

// holds reports whether the event is in a stream of a registered category. Other events belong to the store or to other
// programs, whatever their types are called. An unknown type in a registered category is an error when the event is decoded.
func (r *Registry) holds(stream string) bool {
	category, _, dashed := strings.Cut(stream, "-")
	_, ours := slices.BinarySearch(r.categories, category)
	return dashed && ours
}

// misplaced says that events of a type belong into streams of another category.
func (r *Registry) misplaced(eventType, stream string) bool {
	s := r.byName[eventType]
	return s != nil && !(strings.HasPrefix(stream, s.Category) && strings.HasPrefix(stream[len(s.Category):], "-"))
}

// Named returns the schema of the events with this stable name, and whether it is registered.
func (r *Registry) Named(name string) (*Schema, bool) {
	s, ok := r.byName[name]
	return s, ok
}

// NameOf returns the stable name of the event, and whether its type is registered.
func (r *Registry) NameOf(event any) (string, bool) { return r.NameOfType(reflect.TypeOf(event)) }

// NameOfType is NameOf for the type of an event.
func (r *Registry) NameOfType(event reflect.Type) (string, bool) {
	s, ok := r.byType[event]
	if !ok {
		return "", false
	}
	return s.Name, true
}

// CategoryOf returns the category of the streams that hold events of this type, and whether the type is registered.
func (r *Registry) CategoryOf(event any) (string, bool) {
	s, ok := r.byType[reflect.TypeOf(event)]
	if !ok {
		return "", false
	}
	return s.Category, true
}

// Encode returns the event's stable name, schema version and JSON. Blinded values are sealed with the study's key and
// bound to the origin; keys may be nil for an event without blinded values.
func (r *Registry) Encode(event any, keys Keys, at Origin) (
	name string, version int, data []byte, err error,
) {
	s, ok := r.byType[reflect.TypeOf(event)]
	if !ok {
		return "", 0, nil, fmt.Errorf("event type %T is not registered", event)
	}
	if s.blinded || s.personal || keys.texts != nil && s.texts.of(event) {
		data, err = keys.marshal(at, s, event)
	} else {
		data, err = json.Marshal(event)
	}
	if err != nil {
		return "", 0, nil, fmt.Errorf("encode %s: %w", s.Name, err)
	}
	return s.Name, s.Version, data, nil
}

// Decode decodes the JSON of a stored event of any schema version up to the current one. An unknown name or a later
// version is a domain.ErrUnknownVersion: an older program must not take an event of a newer one for nothing. Blinded values are
// opened with the study's key; without keys they stay sealed. They open only at the origin where they were sealed, and
// under the field's name of that time: an upcast must not rename or move a blinded field.
func (r *Registry) Decode(name string, version int, data []byte, keys Keys, at Origin) (any, error) {
	s, ok := r.byName[name]
	if !ok {
		return nil, fmt.Errorf("event type %q: %w of the record; this program does not know such events", name, domain.ErrUnknownVersion)
	}
	data, err := s.Upcasts.Current(version, data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	event, err := s.Read(func(into any) error {
		if s.blinded || s.personal || hasSealedTexts(data) {
			return keys.unmarshal(at, s, data, into)
		}
		return json.Unmarshal(data, into)
	})
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", name, err)
	}
	return event, nil
}

// Blinded reports whether such events have blinded values.
func (s *Schema) Blinded() bool { return s.blinded }

// Personal reports whether such events have personal values.
func (s *Schema) Personal() bool { return s.personal }
