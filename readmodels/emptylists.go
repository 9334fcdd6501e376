package readmodels

import (
	"reflect"
	"strings"
)

// EmptyLists returns a function that replaces every nil list in a value of the type by an empty list, so that neither folds
// nor queries have to make lists. tag is the struct tag of the encoding that writes the value, json or bson. Lists that the
// encoding omits if they are empty stay nil, as do lists in fields without the tag, in maps and behind interfaces.
// EmptyLists returns nil if the type has no lists.
func EmptyLists(t reflect.Type, tag string) func(reflect.Value) {
	fill := fillers{tag: tag, known: map[reflect.Type]*filler{}}.of(t)
	if fill == nil {
		return nil
	}
	return *fill
}

// filler replaces the nil lists in a value by empty lists.
type filler func(reflect.Value)

type fillers struct {
	tag string
	// known holds the filler of each type so far. It ends the recursion for types that contain themselves.
	known map[reflect.Type]*filler
}

// of returns the filler of a type; nil if the type has no lists.
func (f fillers) of(t reflect.Type) *filler {
	if known, ok := f.known[t]; ok {
		return known
	}
	fill := new(filler)
	f.known[t] = fill
	switch t.Kind() { //nolint:exhaustive // the others hold no lists
	case reflect.Pointer:
		*fill = f.ofPointer(t)
	case reflect.Slice:
		*fill = f.ofSlice(t)
	case reflect.Struct:
		*fill = f.ofStruct(t)
	}
	if *fill == nil {
		fill = nil
		f.known[t] = nil
	}
	return fill
}

func (f fillers) ofPointer(t reflect.Type) filler {
	inside := f.of(t.Elem())
	if inside == nil {
		return nil
	}
	return func(v reflect.Value) {
		if !v.IsNil() {
			(*inside)(v.Elem())
		}
	}
}

func (f fillers) ofSlice(t reflect.Type) filler {
	if t.Elem().Kind() == reflect.Uint8 { // bytes are no list
		return nil
	}
	inside := f.of(t.Elem())
	return func(v reflect.Value) {
		if v.IsNil() {
			v.Set(reflect.MakeSlice(t, 0, 0))
		}
		for i := 0; inside != nil && i < v.Len(); i++ {
			(*inside)(v.Index(i))
		}
	}
}

func (f fillers) ofStruct(t reflect.Type) filler {
	type part struct {
		field    int
		optional bool
		fill     *filler
	}
	var parts []part
	for i := range t.NumField() {
		field := t.Field(i)
		tag, tagged := field.Tag.Lookup(f.tag)
		promoted := f.tag == "json" && field.Anonymous && field.Type.Kind() == reflect.Struct
		if !tagged && !promoted || tag == "-" || !field.IsExported() && !promoted {
			continue
		}
		if fill := f.of(field.Type); fill != nil {
			parts = append(parts, part{i, strings.Contains(tag, ",omitempty"), fill})
		}
	}
	if parts == nil {
		return nil
	}
	return func(v reflect.Value) {
		for _, p := range parts {
			if field := v.Field(p.field); !p.optional || field.Kind() != reflect.Slice || !field.IsNil() {
				(*p.fill)(field)
			}
		}
	}
}
