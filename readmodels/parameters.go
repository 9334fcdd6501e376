package readmodels

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"casebook/domain"
	"casebook/domain/refuse"
)

// Parameter is a parameter of a query.
type Parameter struct {
	Name, Doc string
	// InPath says that the parameter is part of the query's path. All others are optional.
	InPath bool
	// Enum lists the allowed values; when empty, all values are allowed.
	Enum []string
	// Min and Max bound a number, and Default is the number if none is given. The parameter is no number if Max is 0.
	Min, Max, Default int
	Example           string
	// Pattern describes an id.
	Pattern string

	field []int
	// parse reads a value into the field, or refuses it.
	parse func(text string, field reflect.Value) error
}

// Parameters are the parameters of a query, in the order of the description. Each is a field of a struct with a tag path
// or query, which names the parameter. The type of the field describes the values (domain.HasSchema) and refuses wrong ones
// (Validate or UnmarshalText). Further tags are
//
//	doc        what the parameter means, unless the type says it
//	example    instead of the type's example
//	pattern    instead of the type's pattern
//	enum       the allowed values, separated by commas, instead of the type's
//	minimum, maximum, default    the bounds of a number, and the number if none is given
//	maxLength  the bound of a text whose type checks nothing; 100 by default
type Parameters []Parameter

// ParametersOf returns the parameters that the fields of Q declare. The list has one order.
func ParametersOf[Q any]() Parameters { return parametersOf(reflect.TypeFor[Q](), Sorting{}) }

func parametersOf(of reflect.Type, sort Sorting) Parameters {
	all := Parameters{}
	for _, f := range reflect.VisibleFields(of) {
		name, inPath := f.Tag.Lookup("path")
		if !inPath {
			name = f.Tag.Get("query")
		}
		if name == "" {
			continue
		}
		p := Parameter{Name: name, InPath: inPath, field: f.Index}
		p.describe(f)
		if name == "sort" {
			if len(sort.Names) == 0 {
				continue
			}
			p.Enum, p.Doc = sort.Names, sort.Doc+" "+sort.Names[0]+" where none is named"
		}
		p.parse = p.parserOf(f)
		all = append(all, p)
	}
	return all
}

// describe sets what the type and the tags of the field say.
func (p *Parameter) describe(f reflect.StructField) {
	if word, ok := reflect.Zero(f.Type).Interface().(domain.HasSchema); ok {
		s := word.Schema()
		p.Enum, p.Pattern, p.Doc = s.Enum, s.Pattern, s.Description
		p.Example, _ = s.Example.(string)
	}
	switch f.Type {
	case reflect.TypeFor[time.Time]():
		p.Example = "2026-03-01T00:00:00Z"
	case reflect.TypeFor[uint64]():
		p.Example = "48210"
	}
	for tag, field := range map[string]*string{"doc": &p.Doc, "example": &p.Example, "pattern": &p.Pattern} {
		if text, ok := f.Tag.Lookup(tag); ok {
			*field = text
		}
	}
	if values, ok := f.Tag.Lookup("enum"); ok {
		p.Enum = strings.Split(values, ",")
	}
	for tag, field := range map[string]*int{"minimum": &p.Min, "maximum": &p.Max, "default": &p.Default} {
		*field = number(f, tag, 0)
	}
}

func number(f reflect.StructField, tag string, otherwise int) int {
	text, ok := f.Tag.Lookup(tag)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(fmt.Sprintf("the tag %s of the field %s: %v", tag, f.Name, err))
	}
	return n
}

// defaultMaxLength bounds texts whose type does not check them.
const defaultMaxLength = 100

// parserOf returns the function that reads values of the field's type.
func (p *Parameter) parserOf(f reflect.StructField) func(string, reflect.Value) error {
	name := p.Name
	switch {
	case f.Type == reflect.TypeFor[time.Time]():
		return func(text string, field reflect.Value) error { return parseTime(name, text, field) }
	case reflect.PointerTo(f.Type).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return func(text string, field reflect.Value) error {
			return field.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)) //nolint:forcetypeassert // as the case says
		}
	case f.Type.Kind() == reflect.Uint64:
		return func(text string, field reflect.Value) error { return parsePosition(name, text, field) }
	case f.Type.Kind() == reflect.Int && p.Max > 0:
		least, most := p.Min, p.Max
		return func(text string, field reflect.Value) error { return parseNumber(name, text, field, least, most) }
	case f.Type.Kind() == reflect.String && len(p.Enum) > 0:
		values := p.Enum
		return func(text string, field reflect.Value) error { return parseOneOf(name, text, field, values) }
	case f.Type.Kind() == reflect.String:
		maxLength := number(f, "maxLength", defaultMaxLength)
		return func(text string, field reflect.Value) error { return parseText(name, text, field, maxLength) }
	}
	panic(fmt.Sprintf("the parameter %s cannot be a %v", name, f.Type))
}

func parseTime(name, text string, field reflect.Value) error {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.IsZero() {
		return refuse.Malformed("malformed_time", "%s is no time", name).Do("give one as of RFC 3339, such as 2026-03-01T00:00:00Z")
	}
	field.Set(reflect.ValueOf(t.UTC()))
	return nil
}

func parsePosition(name, text string, field reflect.Value) error {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n == 0 {
		return refuse.Malformed("malformed_position", "%s is not a log position", name).Do("give one that an answer named")
	}
	field.SetUint(n)
	return nil
}

func parseNumber(name, text string, field reflect.Value, least, most int) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return refuse.Malformed("malformed_parameter", "%s is no whole number from %d to %d", name, least, most).Do("give a number in that range")
	}
	field.SetInt(int64(n))
	return nil
}

func parseOneOf(name, text string, field reflect.Value, values []string) error {
	if !slices.Contains(values, text) {
		return refuse.Malformed("malformed_parameter", "%s cannot be %q", name, shortened(text)).Do("give one of " + strings.Join(values, ", "))
	}
	field.SetString(text)
	return nil
}

// parseText lets the field's type refuse the text. If the type checks nothing, it refuses an empty text and one that is too
// long.
func parseText(name, text string, field reflect.Value, maxLength int) error {
	field.SetString(text)
	if checked, ok := field.Interface().(interface{ Validate() error }); ok {
		return checked.Validate()
	}
	if n := utf8.RuneCountInString(text); n == 0 || n > maxLength {
		return refuse.Malformed("malformed_parameter", "%s has %d characters", name, n).
			Do("leave it out, or give one that an answer named")
	}
	return nil
}

// Read sets the fields of the struct from which the parameters were derived. path holds the values of the parameters in the
// path, given those of the others. Read refuses a parameter that the query does not have, because the caller expects it to
// narrow the answer.
func (all Parameters) Read(into any, path map[string]string, given map[string][]string) error {
	for name, values := range given {
		if p, ok := all.named(name); !ok || p.InPath {
			return refuse.Malformed("unknown_parameter", "the query has no parameter %q", shortened(name)).At(shortened(name)).
				Do("remove it; /openapi.json lists the parameters of every query")
		}
		if len(values) != 1 {
			return refuse.Malformed("malformed_parameter", "the parameter %s is given %d times", name, len(values)).At(name).Do("give it once")
		}
	}
	target := reflect.ValueOf(into).Elem()
	for _, p := range all {
		field := target.FieldByIndex(p.field)
		text, present := path[p.Name]
		if !p.InPath {
			values := given[p.Name]
			if present = len(values) > 0; present {
				text = values[0]
			}
		}
		if !present && !p.InPath {
			if p.Max > 0 {
				field.SetInt(int64(p.Default))
			}
			continue
		}
		if err := p.parse(text, field); err != nil {
			return domain.At(p.Name, err)
		}
	}
	return all.checkRanges(target)
}

// ranges are the pairs of parameters that bound a range, the lower bound first.
var ranges = [][2]string{{"from", "to"}, {"first", "last"}}

// checkRanges refuses a range that ends before it begins (code malformed_parameter): an empty answer would look as if nothing had
// happened. An open end bounds nothing.
func (all Parameters) checkRanges(of reflect.Value) error {
	for _, names := range ranges {
		begin, hasBegin := all.named(names[0])
		end, hasEnd := all.named(names[1])
		if hasBegin && hasEnd && before(of.FieldByIndex(end.field), of.FieldByIndex(begin.field)) {
			return refuse.Malformed("malformed_parameter", "%s lies before %s", end.Name, begin.Name).At(end.Name).
				Do("give one that is not before " + begin.Name)
		}
	}
	return nil
}

// before says whether a moment, a day or a log position is given and lies before another one that is given. Values of other types, such
// as the places at both ends of a shipment, have no order.
func before(a, b reflect.Value) bool {
	if a.IsZero() || b.IsZero() || a.Type() != b.Type() {
		return false
	}
	switch a := a.Interface().(type) {
	case time.Time:
		return a.Before(b.Interface().(time.Time)) //nolint:forcetypeassert // of the same type
	case domain.Date:
		return string(a) < b.String() // ISO 8601 has the order of time
	case uint64:
		return a < b.Uint()
	}
	return false
}

// named returns the parameter with a name.
func (all Parameters) named(name string) (Parameter, bool) {
	for _, p := range all {
		if p.Name == name {
			return p, true
		}
	}
	return Parameter{}, false
}

// text returns the value of a text parameter; it is empty if the query has no parameter of that name.
func (all Parameters) text(of any, name string) string {
	p, ok := all.named(name)
	if !ok {
		return ""
	}
	return reflect.ValueOf(of).Elem().FieldByIndex(p.field).String()
}

func shortened(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// Moment is a point in the past, given by a log position or a time. The zero Moment is the present.
type Moment struct {
	Position uint64
	Time     time.Time
}

// IsPresent says that the moment is the present.
func (m Moment) IsPresent() bool { return m == Moment{} }

// Schema implements domain.HasSchema.
func (Moment) Schema() domain.Schema {
	return domain.Schema{Description: "A log position or a time (RFC 3339); the answer is what it was then", Example: "2026-03-01T12:00:00Z"}
}

// UnmarshalText reads a log position or a time. It refuses malformed_time.
func (m *Moment) UnmarshalText(text []byte) error {
	if position, err := strconv.ParseUint(string(text), 10, 63); err == nil && position > 0 {
		*m = Moment{Position: position}
		return nil
	}
	if at, err := time.Parse(time.RFC3339, string(text)); err == nil && !at.IsZero() {
		*m = Moment{Time: at}
		return nil
	}
	return refuse.Malformed("malformed_time", "asOf is neither a log position nor a time").
		Do("give the position of a command's answer, or a time such as 2026-03-01T12:00:00Z")
}
