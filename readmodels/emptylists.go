package readmodels

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

// emptyLists returns a function that makes the nil lists and maps of an answer empty, so that JSON has no null in their
// place. Those that are left out when they are empty stay nil. The types are looked at once; what they hold behind an
// interface is left alone.
func emptyLists(answer reflect.Type) func(reflect.Value) {
	fill := fillerOf(answer, map[reflect.Type]*filler{})
	if fill == nil {
		return func(reflect.Value) {}
	}
	return *fill
}

// filler makes the nil lists within a value empty.
type filler func(reflect.Value)

// fillerOf returns nil for types that can hold no list. known has the types that are looked at already, so that one that
// holds itself has an end.
func fillerOf(t reflect.Type, known map[reflect.Type]*filler) *filler {
	if f, ok := known[t]; ok {
		return f
	}
	if marshalsItself(t) {
		return nil
	}
	fill := new(filler)
	known[t] = fill
	switch t.Kind() { //nolint:exhaustive // the others hold no lists
	case reflect.Struct:
		*fill = structFiller(t, known)
	case reflect.Pointer:
		*fill = pointerFiller(t, known)
	case reflect.Slice:
		*fill = sliceFiller(t, known)
	case reflect.Map:
		*fill = mapFiller(t, known)
	}
	if *fill == nil {
		known[t] = nil
		return nil
	}
	return fill
}

// marshalsItself says that encoding/json does not look into values of a type.
func marshalsItself(t reflect.Type) bool {
	for _, i := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if t.Implements(i) || reflect.PointerTo(t).Implements(i) {
			return true
		}
	}
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

func structFiller(t reflect.Type, known map[reflect.Type]*filler) filler {
	type part struct {
		field int
		// leftOut says that JSON leaves the field out when it is empty.
		leftOut bool
		fill    *filler
	}
	var parts []part
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		promoting := f.Anonymous && f.Type.Kind() == reflect.Struct
		if !f.IsExported() && !promoting || name == "-" {
			continue
		}
		if fill := fillerOf(f.Type, known); fill != nil {
			parts = append(parts, part{i, strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero"), fill})
		}
	}
	if parts == nil {
		return nil
	}
	return func(v reflect.Value) {
		for _, p := range parts {
			field := v.Field(p.field)
			if isList := field.Kind() == reflect.Slice || field.Kind() == reflect.Map; isList && field.IsNil() && p.leftOut {
				continue
			}
			(*p.fill)(field)
		}
	}
}

func pointerFiller(t reflect.Type, known map[reflect.Type]*filler) filler {
	fill := fillerOf(t.Elem(), known)
	if fill == nil {
		return nil
	}
	return func(v reflect.Value) {
		if !v.IsNil() {
			(*fill)(v.Elem())
		}
	}
}

func sliceFiller(t reflect.Type, known map[reflect.Type]*filler) filler {
	fill := fillerOf(t.Elem(), known)
	return func(v reflect.Value) {
		if v.IsNil() {
			v.Set(reflect.MakeSlice(t, 0, 0))
		}
		for i := 0; fill != nil && i < v.Len(); i++ {
			(*fill)(v.Index(i))
		}
	}
}

func mapFiller(t reflect.Type, known map[reflect.Type]*filler) filler {
	fill := fillerOf(t.Elem(), known)
	return func(v reflect.Value) {
		if v.IsNil() {
			v.Set(reflect.MakeMap(t))
		}
		if fill == nil {
			return
		}
		for entries := v.MapRange(); entries.Next(); {
			value := reflect.New(t.Elem()).Elem()
			value.Set(entries.Value())
			(*fill)(value)
			v.SetMapIndex(entries.Key(), value)
		}
	}
}
