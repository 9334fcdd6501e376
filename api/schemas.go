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
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/localtime"
	"casebook/domain/patient"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/domain/user"

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

// Schema implements huma.Registry: structs become components, everything else stands in its place.
func (s *schemas) Schema(t reflect.Type, allowRef bool, _ string) *huma.Schema {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if word, ok := words[t]; ok {
		return word()
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
		if s.bodies[t] {
			describeEmbedded(s.byName[name], t)
		}
	}
	if allowRef {
		return &huma.Schema{Ref: schemaPrefix + name}
	}
	return s.byName[name]
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

// documentPath stands before a document in the name of a generic type: List[casebook/readmodels/diary.Diary].
var documentPath = regexp.MustCompile(`casebook/readmodels/\w+\.`)

// genericName makes a name of a generic type's.
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

// words are the schemas of the domain's words. Each call makes a new one, because fields add their own text to it.
var words = map[reflect.Type]func() *huma.Schema{
	reflect.TypeFor[domain.StudyID]():            text(namePattern, "PAIN1"),
	reflect.TypeFor[domain.SiteID]():             text(namePattern, "DE-01"),
	reflect.TypeFor[domain.PatientID]():          text(patientPattern, "PAIN1.S-0001"),
	reflect.TypeFor[domain.UserID]():             text(userPattern, "nurse.weber"),
	reflect.TypeFor[supply.KitNumber]():          text(namePattern, "K-10017"),
	reflect.TypeFor[supply.LocationID]():         text(namePattern, "DE-01"),
	reflect.TypeFor[supply.ShipmentID]():         text("", "DEPOT-0001"),
	reflect.TypeFor[safety.AlertID]():            text("", "PAIN1.5f0fce4c-2f0b-5d3c-9a52-8d1f2c9f7b11"),
	reflect.TypeFor[safety.Kind]():               oneOf(alertKinds...),
	reflect.TypeFor[domain.Date]():               formatted("date", "2026-03-01"),
	reflect.TypeFor[time.Time]():                 formatted("date-time", "2026-03-01T20:30:00+01:00"),
	reflect.TypeFor[instrument.ID]():             text("", "pain-diary"),
	reflect.TypeFor[instrument.ItemID]():         text("", "worst"),
	reflect.TypeFor[user.Role]():                 oneOf(user.PatientRole, user.CRC, user.Investigator, user.Monitor, user.DataManager, user.SupplyManager, user.UnblindedSupplyManager, user.SafetyOfficer, user.Statistician, user.Auditor, user.Admin),
	reflect.TypeFor[patient.Sex]():               oneOf(patient.Female, patient.Male, patient.SexUnknown, patient.Undifferentiated),
	reflect.TypeFor[instrument.Severity]():       oneOf(instrument.SeverityWatch, instrument.SeverityUrgent),
	reflect.TypeFor[diary.Answers]():             answers,
	reflect.TypeFor[map[instrument.ItemID]any](): answers,
	reflect.TypeFor[localtime.Day](): func() *huma.Schema {
		return &huma.Schema{Type: huma.TypeInteger, Description: "Days since 1970-01-01"}
	},
}

const (
	namePattern = `^[A-Za-z0-9][A-Za-z0-9-]{0,31}$`
	// userPattern also takes the names of process managers, which answers show where one of them acted.
	userPattern    = `^(process:)?[a-z0-9][a-z0-9._@-]{0,63}$`
	patientPattern = `^[A-Za-z0-9][A-Za-z0-9-]{0,31}\.[A-Za-z0-9][A-Za-z0-9-]{0,31}$`
)

func text(pattern, example string) func() *huma.Schema {
	return func() *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, Pattern: pattern, Examples: []any{example}}
	}
}

func formatted(format, example string) func() *huma.Schema {
	return func() *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, Format: format, Examples: []any{example}}
	}
}

func oneOf[T ~string](values ...T) func() *huma.Schema {
	return func() *huma.Schema {
		s := &huma.Schema{Type: huma.TypeString}
		for _, v := range values {
			s.Enum = append(s.Enum, string(v))
		}
		return s
	}
}

// answers are by item: a number, true or false, or a text, as the item's type says; null for an item that is cleared.
func answers() *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject,
		AdditionalProperties: &huma.Schema{AnyOf: []*huma.Schema{
			{Type: huma.TypeNumber}, {Type: huma.TypeBoolean}, {Type: huma.TypeString}, {Type: "null"},
		}},
		Examples: []any{map[string]any{"worst": 6, "least": 2, "average": 4, "now": 3, "rescue": false}},
	}
}
