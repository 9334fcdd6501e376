package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"casebook/commands"
	"casebook/domain"

	"github.com/danielgtaylor/huma/v2"
)

const schemaPrefix = "#/components/schemas/"

// schemas is the registry of the description's schemas. It differs from huma's own in that the domain's words (ids,
// dates, answers) have schemas that say more than their Go kind, and in that types of the same name in two contexts keep
// apart.
type schemas struct {
	byName map[string]*huma.Schema
	types  map[string]reflect.Type
	// names holds the stable names of events, which are better known than those of their Go types.
	names map[reflect.Type]string
	// bodies are the types of commands, whose bare names are known.
	bodies map[reflect.Type]bool
}

func newSchemas(names map[reflect.Type]string, all []commands.Command) *schemas {
	s := &schemas{byName: map[string]*huma.Schema{}, types: map[string]reflect.Type{}, names: names, bodies: map[reflect.Type]bool{}}
	for _, c := range all {
		s.bodies[c.Body()] = true
	}
	return s
}

// Schema implements huma.Registry: structs become components, and all other types are written inline.
func (s *schemas) Schema(t reflect.Type, allowRef bool, _ string) *huma.Schema {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s, ok := described(t); ok {
		return s
	}
	if t.Kind() != reflect.Struct {
		plain := huma.SchemaFromType(s, t)
		if plain != nil {
			plain.Nullable = false // our answers have empty arrays where there is nothing
		}
		return plain
	}
	name := s.nameOf(t)
	if _, known := s.byName[name]; !known {
		s.byName[name], s.types[name] = &huma.Schema{}, t // first the name, for types that hold themselves
		s.byName[name] = huma.SchemaFromType(s, t)
		describeKinds(s.byName[name], t)
		if s.bodies[t] {
			describeEmbedded(s.byName[name], t)
		}
	}
	if allowRef {
		return &huma.Schema{Ref: schemaPrefix + name}
	}
	return s.byName[name]
}

// describeKinds says of which kinds the values of fields are that Go leaves open: the tag kinds names those of JSON.
func describeKinds(s *huma.Schema, t reflect.Type) {
	for field := range fields(t) {
		property := s.Properties[nameInJSON(field)]
		kinds := strings.Fields(field.Tag.Get("kinds"))
		switch {
		case property == nil || len(kinds) == 0:
		case len(kinds) == 1:
			property.Type = kinds[0]
		default:
			for _, kind := range kinds {
				property.AnyOf = append(property.AnyOf, &huma.Schema{Type: kind})
			}
		}
	}
}

// describeEmbedded puts the text on an embedded struct in the place of that of the struct's last field (see
// domain.OfPatient and its neighbours), and what is required in the order of the fields.
func describeEmbedded(s *huma.Schema, t reflect.Type) {
	var order []string
	for field := range fields(t) {
		if field.Anonymous {
			for embedded := range fields(field.Type) {
				order = append(order, nameInJSON(embedded))
			}
		} else {
			order = append(order, nameInJSON(field))
		}
		doc, ok := field.Tag.Lookup("doc")
		if !ok || !field.Anonymous || field.Type.Kind() != reflect.Struct {
			continue
		}
		last := nameInJSON(field.Type.Field(field.Type.NumField() - 1))
		if property := s.Properties[last]; property != nil {
			property.Description = doc
		}
	}
	slices.SortStableFunc(s.Required, func(a, b string) int { return cmp.Compare(slices.Index(order, a), slices.Index(order, b)) })
}

func nameInJSON(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return name
}

// fields are those of a struct.
func fields(t reflect.Type) iter.Seq[reflect.StructField] {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

// nameOf names a type in the description: commands and events by their own names, other types by theirs, with the
// context before it where the bare name would say little or is taken: StudyProtocol.
func (s *schemas) nameOf(t reflect.Type) string {
	if name, ok := s.names[t]; ok {
		return name
	}
	path := t.PkgPath()
	context := path[strings.LastIndex(path, "/")+1:]
	name := genericName.Replace(documentPath.ReplaceAllString(t.Name(), ""))
	long := strings.ToUpper(context[:1]) + context[1:] + name
	taken := s.types[name] != nil && s.types[name] != t
	if taken || strings.Contains(path, "/domain/") && !s.bodies[t] && !strings.HasPrefix(strings.ToLower(name), context) {
		if s.types[long] != nil && s.types[long] != t {
			panic(fmt.Sprintf("the types %v and %v are both described as %s", t, s.types[long], long))
		}
		return long
	}
	return name
}

// documentPath matches the package path in the name of a generic type: List[casebook/readmodels/diary.Diary].
var documentPath = regexp.MustCompile(`casebook/readmodels/\w+\.`)

// genericName turns the name of a generic type into the name of a component.
var genericName = strings.NewReplacer("[", "Of", "]", "", "casebook/", "", "readmodels.", "", "/", "", ".", "", ",", "And")

// SchemaFromRef implements huma.Registry.
func (s *schemas) SchemaFromRef(ref string) *huma.Schema {
	return s.byName[strings.TrimPrefix(ref, schemaPrefix)]
}

// TypeFromRef implements huma.Registry.
func (s *schemas) TypeFromRef(ref string) reflect.Type {
	return s.types[strings.TrimPrefix(ref, schemaPrefix)]
}

// Map implements huma.Registry.
func (s *schemas) Map() map[string]*huma.Schema { return s.byName }

// RegisterTypeAlias implements huma.Registry; the description has no aliases.
func (s *schemas) RegisterTypeAlias(reflect.Type, reflect.Type) {}

// MarshalJSON writes the components.
func (s *schemas) MarshalJSON() ([]byte, error) { return json.Marshal(s.byName) }

// described is the schema of a type that says what its values look like. Each call makes a new one, because fields add
// their own text to it.
func described(t reflect.Type) (*huma.Schema, bool) {
	if t == reflect.TypeFor[time.Time]() {
		return &huma.Schema{Type: huma.TypeString, Format: "date-time", Examples: []any{"2026-03-01T20:30:00+01:00"}}, true
	}
	word, ok := reflect.Zero(t).Interface().(domain.HasSchema)
	if !ok {
		return nil, false
	}
	of := word.Schema()
	s := &huma.Schema{Type: jsonType(t), Pattern: of.Pattern, Format: of.Format, Description: of.Description}
	for _, v := range of.Enum {
		s.Enum = append(s.Enum, v)
	}
	if of.Example != nil {
		s.Examples = []any{of.Example}
	}
	if len(of.Members) > 0 {
		var members []*huma.Schema
		for _, m := range of.Members {
			members = append(members, &huma.Schema{Type: m})
		}
		if s.AdditionalProperties = members[0]; len(members) > 1 {
			s.AdditionalProperties = &huma.Schema{AnyOf: members}
		}
	}
	if of.OrText {
		s.AnyOf = []*huma.Schema{{Type: huma.TypeString}, {Type: s.Type, AdditionalProperties: s.AdditionalProperties}}
		s.Type, s.AdditionalProperties = "", nil
	}
	return s, true
}

func jsonType(t reflect.Type) string {
	switch t.Kind() { //nolint:exhaustive // the kinds of described types
	case reflect.String:
		return huma.TypeString
	case reflect.Int:
		return huma.TypeInteger
	case reflect.Map:
		return huma.TypeObject
	}
	panic(fmt.Sprintf("say how a described type of kind %v is written in JSON", t.Kind()))
}
