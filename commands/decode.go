package commands

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"

	"github.com/goccy/go-json/jsontext"
	"github.com/goccy/go-json/v2"
)

// Decode reads a command's body strictly. It refuses an unknown field (code unknown_field), a value of another type
// (wrong_type), a name given twice, anything after the object, and what is not JSON (malformed_json): a lenient reader
// would have to guess what the sender meant.
func Decode(body []byte, into any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return refuse.Malformed("malformed_json", "the body is empty, which is not JSON").Do("send one JSON object")
	}
	if string(bytes.TrimSpace(body)) == "null" {
		return refuse.Malformed("malformed_json", "the body is null, which is no object").Do("send one JSON object")
	}
	err := json.Unmarshal(body, into, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		field := strings.TrimPrefix(strings.ReplaceAll(string(semantic.JSONPointer), "/", "."), ".")
		if errors.Is(err, json.ErrUnknownName) {
			return refuse.Malformed("unknown_field", "no command of this kind has a field %q", shortened(field)).At(field).
				Do("remove it; /openapi.json lists the fields of every command")
		}
		return refuse.Malformed("wrong_type", "%s must be %s", fieldOrBody(field), inWordsOfJSON(semantic.GoType)).At(field).
			Do("send a value of that type")
	}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return refuse.Malformed("malformed_json", "the body gives the name %s twice", shortened(string(syntactic.JSONPointer))).
				Do("give every name once")
		}
		return refuse.Malformed("malformed_json", "the body is not JSON: something is wrong at byte %d", syntactic.ByteOffset).
			Do("send one JSON object")
	}
	return refuse.Malformed("malformed_json", "the body cannot be read as this command").Do("send one JSON object")
}

// printableTexts refuses a body with a text that has characters which nobody sees (code value_unprintable; see
// domain.Printable), in whatever field. Bodies that are plain ASCII without escapes have no such character, and are not looked
// through.
func printableTexts(body []byte, decoded reflect.Value, field string) error {
	// Of the ASCII characters that nobody sees, only DEL may stand in JSON without an escape.
	if !slices.ContainsFunc(body, func(b byte) bool { return b == '\\' || b >= 0x7f }) {
		return nil
	}
	return eachString(decoded, field, func(v reflect.Value, field string) error { return domain.Printable(field, v.String()) })
}

// eachString calls check with every string in a decoded value and the name of the outermost field that it is in, until check
// returns an error.
func eachString(v reflect.Value, field string, check func(v reflect.Value, field string) error) error {
	switch v.Kind() {
	case reflect.String:
		return check(v, field)
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return eachString(v.Elem(), field, check)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil // bytes, such as JSON that is decoded later
		}
		for i := range v.Len() {
			if err := eachString(v.Index(i), field, check); err != nil {
				return err
			}
		}
	case reflect.Map:
		for entry := v.MapRange(); entry.Next(); {
			if err := cmp.Or(eachString(entry.Key(), field, check), eachString(entry.Value(), field, check)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if err := eachString(v.Field(i), cmp.Or(field, name), check); err != nil {
				return err
			}
		}
	default: // the others hold no strings
	}
	return nil
}

// maxName bounds names and ids in a body, in bytes. The longest that any context allows is shorter; what is longer names
// nothing, and is refused before a stream of that name is looked for.
const maxName = 300

// boundedNames refuses a name or an id that is longer than any can be (code value_too_long): the id of the command's stream,
// and every string with a type of its own.
func (d *Declaration[S, E, F, C]) boundedNames(raw []byte, body C) error {
	if len(raw) <= maxName {
		return nil
	}
	if id, ok := d.decider.Key(body); ok && len(id) > 2*maxName { // some are made of two names
		return refuse.Malformed("value_too_long", "the name of what the command is about has %d bytes", len(id)).
			Do(fmt.Sprintf("use a name that exists; none has more than %d", maxName))
	}
	return eachString(reflect.ValueOf(body), "", func(v reflect.Value, field string) error {
		if v.Type() == reflect.TypeFor[string]() || v.Type() == reflect.TypeFor[personal.Text]() || v.Len() <= maxName {
			return nil
		}
		return refuse.Malformed("value_too_long", "%s has %d bytes", field, v.Len()).At(field).
			Do(fmt.Sprintf("use a name that exists; none has more than %d", maxName))
	})
}

// requiredField is a field of a command's body that every sender has to give: its name in JSON, and its place in the struct.
type requiredField struct {
	name  string
	index []int
}

// requireFields refuses a JSON object that lacks a field, or has null for it (code value_missing). Decoded, an absent field
// would be the empty value of its type, which may mean something else: no caps, no study. Only a field that is empty in
// decoded can be absent, so that most bodies are not read a second time.
func requireFields(body []byte, decoded reflect.Value, required []requiredField) error {
	empty := slices.DeleteFunc(slices.Clone(required), func(f requiredField) bool { return !decoded.FieldByIndex(f.index).IsZero() })
	if len(empty) == 0 {
		return nil
	}
	var given map[string]jsontext.Value
	if err := json.Unmarshal(body, &given); err != nil {
		return fmt.Errorf("read the fields of a body that was decoded before: %w", err)
	}
	for _, f := range empty {
		if value, ok := given[f.name]; !ok || value.Kind() == 'n' {
			return refuse.Malformed("value_missing", "the field %q is missing", f.name).At(f.name).
				Do("give it; /openapi.json lists the fields of every command")
		}
	}
	return nil
}

// requiredFields returns the required fields of a command's body: all but those that are left out of the JSON when they
// are empty.
func requiredFields(t reflect.Type) (required []requiredField) {
	for _, field := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous || !field.IsExported() || name == "-" {
			continue
		}
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") && field.Tag.Get("required") != "false" {
			required = append(required, requiredField{name: name, index: field.Index})
		}
	}
	return required
}

// fieldOrBody quotes the field; without a field, the whole body is meant.
func fieldOrBody(field string) string {
	if field == "" {
		return "the body"
	}
	return fmt.Sprintf("%q", shortened(field))
}

// inWordsOfJSON describes a Go type to somebody who writes JSON.
func inWordsOfJSON(t reflect.Type) string {
	if t == nil {
		return "a value of another type"
	}
	if t == reflect.TypeFor[time.Time]() {
		return "a time such as 2026-03-01T20:30:00+01:00"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "a value of another type"
	}
}

// shortened bounds how much of a sender's text a refusal repeats.
func shortened(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
