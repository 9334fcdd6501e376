package scenario

import (
	"fmt"
	"reflect"
	"sort"
	"strings"
	"time"
)

// Picture returns a text of everything that a state holds, also of unexported fields and of values behind pointers. Two
// pictures of a state differ if anything in it has changed between them. Values of types from outside the product, such
// as compiled rules and mutexes, are left out.
func Picture(state any) string {
	var p picture
	p.add(reflect.ValueOf(state))
	return p.String()
}

type picture struct {
	strings.Builder
	// above are the pointers that lead to the current value, so that cycles are not followed again.
	above []uintptr
}

func (p *picture) add(v reflect.Value) {
	switch v.Kind() {
	case reflect.Invalid:
		fmt.Fprint(p, "nil")
	case reflect.Struct:
		p.addStruct(v)
	case reflect.Pointer:
		p.addPointer(v)
	case reflect.Interface:
		p.add(v.Elem())
	case reflect.Slice, reflect.Array:
		fmt.Fprint(p, "[")
		for i := range v.Len() {
			p.add(v.Index(i))
			fmt.Fprint(p, " ")
		}
		fmt.Fprint(p, "]")
	case reflect.Map:
		p.addMap(v)
	case reflect.String:
		fmt.Fprintf(p, "%q", v.String())
	case reflect.Bool:
		fmt.Fprint(p, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		fmt.Fprint(p, v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		fmt.Fprint(p, v.Uint())
	case reflect.Float32, reflect.Float64:
		fmt.Fprint(p, v.Float())
	default: // functions and channels have no visible state
		fmt.Fprint(p, v.Kind().String())
	}
}

func (p *picture) addStruct(v reflect.Value) {
	t := v.Type()
	fmt.Fprint(p, t.Name())
	if !isOurs(t) {
		return
	}
	fmt.Fprint(p, "{")
	for i := range v.NumField() {
		fmt.Fprint(p, t.Field(i).Name)
		fmt.Fprint(p, ":")
		p.add(v.Field(i))
		fmt.Fprint(p, " ")
	}
	fmt.Fprint(p, "}")
}

func (p *picture) addPointer(v reflect.Value) {
	if v.IsNil() {
		fmt.Fprint(p, "nil")
		return
	}
	for _, a := range p.above {
		if a == v.Pointer() {
			fmt.Fprint(p, "above")
			return
		}
	}
	p.above = append(p.above, v.Pointer())
	p.add(v.Elem())
	p.above = p.above[:len(p.above)-1]
}

func (p *picture) addMap(v reflect.Value) {
	entries := make([]string, 0, v.Len())
	for _, key := range v.MapKeys() {
		entry := picture{above: p.above}
		entry.add(key)
		fmt.Fprint(&entry, ":")
		entry.add(v.MapIndex(key))
		entries = append(entries, entry.String())
	}
	sort.Strings(entries)
	fmt.Fprintf(p, "map%v", entries)
}

// isOurs says whether the type is declared in the product or in no package, or is time.Time.
func isOurs(t reflect.Type) bool {
	return t.PkgPath() == "" || t == reflect.TypeFor[time.Time]() || strings.HasPrefix(t.PkgPath(), "casebook/")
}
