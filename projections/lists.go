package projections

import (
	"reflect"
	"strings"
)

// emptyLists returns a function that puts an empty list in the place of every nil list in a document of the type, so that
// folds do not have to make lists, and a list without members is stored as an empty one. Lists that are left out where
// they are empty (omitempty) stay nil, and so do those in fields without a BSON tag: they are part of an event, and are
// stored as they came. It returns nil where the type has no lists.
func emptyLists(t reflect.Type) func(reflect.Value) {
	switch t.Kind() {
	case reflect.Pointer:
		inside := emptyLists(t.Elem())
		if inside == nil {
			return nil
		}
		return func(v reflect.Value) {
			if !v.IsNil() {
				inside(v.Elem())
			}
		}
	case reflect.Slice:
		inside := emptyLists(t.Elem())
		if inside == nil {
			return nil
		}
		return func(v reflect.Value) {
			for i := range v.Len() {
				inside(v.Index(i))
			}
		}
	case reflect.Struct:
		return emptyListsOfFields(t)
	default:
		return nil
	}
}

func emptyListsOfFields(t reflect.Type) func(reflect.Value) {
	type part struct {
		field int
		lists func(reflect.Value)
	}
	var lists []int
	var inside []part
	for i := range t.NumField() {
		field := t.Field(i)
		tag, tagged := field.Tag.Lookup("bson")
		if !tagged || tag == "-" {
			continue
		}
		if field.Type.Kind() == reflect.Slice && field.Type.Elem().Kind() != reflect.Uint8 && !strings.Contains(tag, ",omitempty") {
			lists = append(lists, i)
		}
		if of := emptyLists(field.Type); of != nil {
			inside = append(inside, part{i, of})
		}
	}
	if len(lists) == 0 && len(inside) == 0 {
		return nil
	}
	return func(v reflect.Value) {
		for _, i := range lists {
			if v.Field(i).IsNil() {
				v.Field(i).Set(reflect.MakeSlice(t.Field(i).Type, 0, 0))
			}
		}
		for _, p := range inside {
			p.lists(v.Field(p.field))
		}
	}
}
