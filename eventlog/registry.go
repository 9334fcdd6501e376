package eventlog

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// Upcast turns the JSON of one schema version of an event into that of the next. Stored bytes are never rewritten; they
// are read through the chain of upcasts up to the present version.
type Upcast func(old map[string]any) (map[string]any, error)

// Unchanged is the upcast to a version that only says that older programs must stop: the bytes are read as they are.
var Unchanged Upcast

// Schema is what the registry knows about one type of event.
type Schema struct {
	// Name is the stable name under which the event is stored; a Go type may be renamed, this never.
	Name string
	// Category is the first part of the names of the streams that hold it.
	Category string
	// Version is the present schema version, from 1.
	Version int

	goType  reflect.Type
	upcasts []Upcast // upcasts[i] turns version i+1 into i+2
	// blinded says that the event has blinded values.
	blinded bool
	decode  func([]byte, *BlindingKeys, domain.StudyID) (any, error)
}

// Registry maps events to their stored form. It is filled at start-up and then only read.
type Registry struct {
	byName map[string]*Schema
	byType map[reflect.Type]*Schema
	// categories in the order of their names
	categories []string
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	return &Registry{byName: map[string]*Schema{}, byType: map[reflect.Type]*Schema{}}
}

// Register makes E storable in streams of the category, under the stable name. Each upcast leads from one version to
// the next, so the present version is one more than the number of upcasts. It panics on a name or type that is
// registered already: that is a mistake in the program, found by its first test.
func Register[E any](r *Registry, category, name string, upcasts ...Upcast) {
	s := &Schema{Name: name, Category: category, Version: len(upcasts) + 1, upcasts: upcasts,
		goType: reflect.TypeFor[E](), blinded: holdsBlinded(reflect.TypeFor[E](), map[reflect.Type]bool{}),
	}
	s.decode = func(data []byte, keys *BlindingKeys, study domain.StudyID) (any, error) {
		var e E
		var err error
		if s.blinded {
			err = keys.unmarshal(study, name, data, &e)
		} else {
			err = json.Unmarshal(data, &e)
		}
		if err != nil {
			return nil, err
		}
		return e, nil
	}
	if r.byName[name] != nil || r.byType[s.goType] != nil {
		panic(fmt.Sprintf("eventlog: %s (%v) is registered twice", name, s.goType))
	}
	r.byName[name], r.byType[s.goType] = s, s
	if !slices.Contains(r.categories, category) {
		r.categories = append(r.categories, category)
		sort.Strings(r.categories)
	}
}

// Schemas returns all registered schemas, ordered by name.
func (r *Registry) Schemas() []*Schema {
	all := make([]*Schema, 0, len(r.byName))
	for _, s := range r.byName {
		all = append(all, s)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// Categories returns the categories of all registered events, in order.
func (r *Registry) Categories() []string { return slices.Clone(r.categories) }

// holds says whether an event belongs to a category of the registry. Within those, an unknown type is an error; outside,
// it is none of our business.
func (r *Registry) holds(e *esdb.RecordedEvent) bool {
	if s := r.byName[e.EventType]; s != nil {
		return true
	}
	category, _, _ := strings.Cut(e.StreamID, "-")
	return slices.Contains(r.categories, category)
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

// CategoryOf returns the category of the streams that hold events of this kind, and whether its type is registered.
func (r *Registry) CategoryOf(event any) (string, bool) {
	s, ok := r.byType[reflect.TypeOf(event)]
	if !ok {
		return "", false
	}
	return s.Category, true
}

// Encode returns the event's stable name, schema version and JSON. Blinded values are sealed with the study's key; where
// there are none, keys may be nil.
func (r *Registry) Encode(event any, keys *BlindingKeys, study domain.StudyID) (name string, version int, data []byte, err error) {
	s, ok := r.byType[reflect.TypeOf(event)]
	if !ok {
		return "", 0, nil, fmt.Errorf("event type %T is not registered", event)
	}
	if s.blinded {
		data, err = keys.marshal(study, s.Name, event)
	} else {
		data, err = json.Marshal(event)
	}
	if err != nil {
		return "", 0, nil, fmt.Errorf("encode %s: %w", s.Name, err)
	}
	return s.Name, s.Version, data, nil
}

// Decode reads the JSON of a stored event of any version up to the present one. A name or version from the future is an
// error: an older program must stop at it rather than skip it. Blinded values are opened with the study's key; without keys
// they stay sealed.
func (r *Registry) Decode(name string, version int, data []byte, keys *BlindingKeys, study domain.StudyID) (any, error) {
	s, ok := r.byName[name]
	if !ok {
		return nil, fmt.Errorf("event type %q is unknown to this version of the program", name)
	}
	if version < 1 || version > s.Version {
		return nil, fmt.Errorf("%s has schema version %d; this version of the program reads 1 to %d", name, version, s.Version)
	}
	if slices.ContainsFunc(s.upcasts[version-1:], func(u Upcast) bool { return u != nil }) {
		var err error
		if data, err = s.upcast(version, data); err != nil {
			return nil, err
		}
	}
	event, err := s.decode(data, keys, study)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", name, err)
	}
	return event, nil
}

// Blinded says that the event has blinded values.
func (s *Schema) Blinded() bool { return s.blinded }

// GoType is the type that the event decodes to.
func (s *Schema) GoType() reflect.Type { return s.goType }

func (s *Schema) upcast(version int, data []byte) ([]byte, error) {
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.UseNumber() // a number keeps its digits on the way through
	var shape map[string]any
	if err := decoder.Decode(&shape); err != nil {
		return nil, fmt.Errorf("decode %s version %d: %w", s.Name, version, err)
	}
	for v := version; v < s.Version; v++ {
		if s.upcasts[v-1] == nil {
			continue
		}
		next, err := s.upcasts[v-1](shape)
		if err != nil {
			return nil, fmt.Errorf("upcast %s from version %d: %w", s.Name, v, err)
		}
		shape = next
	}
	return json.Marshal(shape)
}
