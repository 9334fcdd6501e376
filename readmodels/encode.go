package readmodels

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// Encode returns a document as it is stored: the bytes that bson.Marshal makes, except that the members of maps are in the order of
// their keys. How a type is written is found out once, and not for each value, which takes a fraction of the time. What is written
// otherwise than by its kind is left to bson.Marshal.
func Encode(document Document) (bson.Raw, error) { return AppendEncoded(nil, document) }

// AppendEncoded appends a document to dst as Encode returns it. With an error it returns dst as it was.
func AppendEncoded(dst []byte, document Document) ([]byte, error) {
	v := reflect.ValueOf(document)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		raw, err := bson.Marshal(document)
		return append(dst, raw...), err
	}
	encoded, err := encoderOf(v.Type().Elem()).document(dst, v.Elem())
	if err != nil {
		return dst, fmt.Errorf("encode %T: %w", document, err)
	}
	return encoded, nil
}

// encoder writes values of a type.
type encoder struct {
	// element appends a value as the element with a name.
	element func(dst []byte, name string, v reflect.Value) ([]byte, error)
	// document appends a struct as a document; nil for other kinds.
	document func(dst []byte, v reflect.Value) ([]byte, error)
	// empty says whether a value is left out by omitempty.
	empty func(v reflect.Value) bool
}

// encoders holds the encoders of the types that were met, by type. Types may contain themselves, so an encoder is put here before it
// is complete, and found while values are written.
var (
	encoders       sync.Map
	makingEncoders sync.Mutex
)

func encoderOf(t reflect.Type) *encoder {
	if made, ok := encoders.Load(t); ok {
		return made.(*encoder)
	}
	makingEncoders.Lock()
	defer makingEncoders.Unlock()
	making := map[reflect.Type]*encoder{}
	made := encoderIn(t, making)
	for t, e := range making {
		encoders.Store(t, e)
	}
	return made
}

var (
	timeType      = reflect.TypeFor[time.Time]()
	documentType  = reflect.TypeFor[bson.D]()
	zeroerType    = reflect.TypeFor[bson.Zeroer]()
	marshalerType = []reflect.Type{reflect.TypeFor[bson.Marshaler](), reflect.TypeFor[bson.ValueMarshaler]()}
	keyTypes      = []reflect.Type{reflect.TypeFor[bson.KeyMarshaler](), reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()}
	foreignTypes  = []reflect.Type{reflect.TypeFor[json.Number](), reflect.TypeFor[url.URL]()}
)

func encoderIn(t reflect.Type, making map[reflect.Type]*encoder) *encoder {
	if made, ok := encoders.Load(t); ok {
		return made.(*encoder)
	}
	if made, ok := making[t]; ok {
		return made
	}
	e := &encoder{empty: emptyOf(t)}
	making[t] = e
	switch {
	case t == timeType:
		e.element = func(dst []byte, name string, v reflect.Value) ([]byte, error) {
			return bsoncore.AppendDateTime(appendHeader(dst, bsoncore.TypeDateTime, name), timeIn(v).UnixMilli()), nil
		}
	case isMarshaler(t), slices.Contains(foreignTypes, t), strings.HasPrefix(t.PkgPath(), "go.mongodb.org/mongo-driver/"):
		e.element = byTheLibrary
	default:
		e.ofKind(t, making)
	}
	return e
}

func isMarshaler(t reflect.Type) bool {
	return slices.ContainsFunc(marshalerType, func(m reflect.Type) bool {
		return t.Implements(m) || reflect.PointerTo(t).Implements(m)
	})
}

// timeIn returns the time that v holds. Taking it by its address spares a copy on the heap.
func timeIn(v reflect.Value) time.Time {
	if v.CanAddr() {
		return *v.Addr().Interface().(*time.Time)
	}
	return v.Interface().(time.Time)
}

// appendHeader appends the type and the name of an element. Names hold no zero byte: those of fields are checked when their struct is
// met first, and those of maps when they are written.
func appendHeader(dst []byte, kind bsoncore.Type, name string) []byte {
	return append(append(append(dst, byte(kind)), name...), 0)
}

// indexNames are the names of the first elements of an array.
var indexNames = func() (names [256]string) {
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names
}()

// indexName is the name of an element of an array.
func indexName(i int) string {
	if i < len(indexNames) {
		return indexNames[i]
	}
	return strconv.Itoa(i)
}

// byTheLibrary appends what bson.Marshal makes of the value.
func byTheLibrary(dst []byte, name string, v reflect.Value) ([]byte, error) {
	kind, value, err := bson.MarshalValue(v.Interface())
	if err != nil {
		return dst, err
	}
	return append(appendHeader(dst, bsoncore.Type(kind), name), value...), nil
}

// ofKind has values written by the kind of their type.
func (e *encoder) ofKind(t reflect.Type, making map[reflect.Type]*encoder) {
	switch t.Kind() {
	case reflect.String:
		e.element = func(dst []byte, name string, v reflect.Value) ([]byte, error) {
			return bsoncore.AppendString(appendHeader(dst, bsoncore.TypeString, name), v.String()), nil
		}
	case reflect.Bool:
		e.element = func(dst []byte, name string, v reflect.Value) ([]byte, error) {
			return bsoncore.AppendBoolean(appendHeader(dst, bsoncore.TypeBoolean, name), v.Bool()), nil
		}
	case reflect.Int8, reflect.Int16, reflect.Int32:
		e.element = func(dst []byte, name string, v reflect.Value) ([]byte, error) {
			return bsoncore.AppendInt32(appendHeader(dst, bsoncore.TypeInt32, name), int32(v.Int())), nil // #nosec G115 -- by its kind
		}
	case reflect.Int:
		e.element = func(dst []byte, name string, v reflect.Value) ([]byte, error) {
			if n := v.Int(); n < math.MinInt32 || n > math.MaxInt32 {
				return bsoncore.AppendInt64(appendHeader(dst, bsoncore.TypeInt64, name), n), nil
			}
			return bsoncore.AppendInt32(appendHeader(dst, bsoncore.TypeInt32, name), int32(v.Int())), nil // #nosec G115 -- compared above
		}
	case reflect.Int64:
		e.element = func(dst []byte, name string, v reflect.Value) ([]byte, error) {
			return bsoncore.AppendInt64(appendHeader(dst, bsoncore.TypeInt64, name), v.Int()), nil
		}
	case reflect.Uint, reflect.Uint32, reflect.Uint64:
		e.element = func(dst []byte, name string, v reflect.Value) ([]byte, error) {
			if v.Uint() > math.MaxInt64 {
				return dst, fmt.Errorf("%d is more than BSON can hold", v.Uint())
			}
			return bsoncore.AppendInt64(appendHeader(dst, bsoncore.TypeInt64, name), int64(v.Uint())), nil // #nosec G115 -- compared above
		}
	case reflect.Float32, reflect.Float64:
		e.element = func(dst []byte, name string, v reflect.Value) ([]byte, error) {
			return bsoncore.AppendDouble(appendHeader(dst, bsoncore.TypeDouble, name), v.Float()), nil
		}
	case reflect.Pointer:
		to := encoderIn(t.Elem(), making)
		e.element = func(dst []byte, name string, v reflect.Value) ([]byte, error) {
			if v.IsNil() {
				return appendHeader(dst, bsoncore.TypeNull, name), nil
			}
			return to.element(dst, name, v.Elem())
		}
	case reflect.Interface:
		e.element = func(dst []byte, name string, v reflect.Value) ([]byte, error) {
			if v.IsNil() {
				return appendHeader(dst, bsoncore.TypeNull, name), nil
			}
			return encoderOf(v.Elem().Type()).element(dst, name, v.Elem())
		}
	case reflect.Slice:
		e.ofSlice(t, making)
	case reflect.Map:
		e.ofMap(t, making)
	case reflect.Struct:
		e.ofStruct(t, making)
	default:
		e.element = byTheLibrary
	}
}

func (e *encoder) ofSlice(t reflect.Type, making map[reflect.Type]*encoder) {
	if t.Elem().Kind() == reflect.Uint8 || t.ConvertibleTo(documentType) {
		e.element = byTheLibrary
		return
	}
	of := encoderIn(t.Elem(), making)
	e.element = func(dst []byte, name string, v reflect.Value) ([]byte, error) {
		if v.IsNil() {
			return appendHeader(dst, bsoncore.TypeNull, name), nil
		}
		at, dst := bsoncore.ReserveLength(appendHeader(dst, bsoncore.TypeArray, name))
		var err error
		for i := range v.Len() {
			if dst, err = of.element(dst, indexName(i), v.Index(i)); err != nil {
				return dst, err
			}
		}
		return closed(dst, at), nil
	}
}

func (e *encoder) ofMap(t reflect.Type, making map[reflect.Type]*encoder) {
	special := slices.ContainsFunc(keyTypes, t.Key().Implements)
	if t.Key().Kind() != reflect.String || special {
		e.element = byTheLibrary
		return
	}
	if t.Key().PkgPath() == "" && t.Elem() == anyType {
		e.element = elementOfAny
		return
	}
	of := encoderIn(t.Elem(), making)
	e.element = func(dst []byte, name string, v reflect.Value) ([]byte, error) {
		if v.IsNil() {
			return appendHeader(dst, bsoncore.TypeNull, name), nil
		}
		at, dst := bsoncore.ReserveLength(appendHeader(dst, bsoncore.TypeEmbeddedDocument, name))
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		var err error
		for _, key := range keys {
			if strings.IndexByte(key.String(), 0) >= 0 {
				return dst, fmt.Errorf("the key %q has a character that names in BSON cannot have", key.String())
			}
			if dst, err = of.element(dst, key.String(), v.MapIndex(key)); err != nil {
				return dst, err
			}
		}
		return closed(dst, at), nil
	}
}

var (
	anyType      = reflect.TypeFor[any]()
	mapOfAnyType = reflect.TypeFor[map[string]any]()
)

// elementOfAny appends a map with values of any type. The usual ones are written without reflection.
func elementOfAny(dst []byte, name string, v reflect.Value) ([]byte, error) {
	if v.IsNil() {
		return appendHeader(dst, bsoncore.TypeNull, name), nil
	}
	all := v.Convert(mapOfAnyType).Interface().(map[string]any)
	at, dst := bsoncore.ReserveLength(appendHeader(dst, bsoncore.TypeEmbeddedDocument, name))
	keys := make([]string, 0, 16)
	for key := range all {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var err error
	for _, key := range keys {
		if strings.IndexByte(key, 0) >= 0 {
			return dst, fmt.Errorf("the key %q has a character that names in BSON cannot have", key)
		}
		switch value := all[key].(type) {
		case nil:
			dst = appendHeader(dst, bsoncore.TypeNull, key)
		case string:
			dst = bsoncore.AppendString(appendHeader(dst, bsoncore.TypeString, key), value)
		case float64:
			dst = bsoncore.AppendDouble(appendHeader(dst, bsoncore.TypeDouble, key), value)
		case bool:
			dst = bsoncore.AppendBoolean(appendHeader(dst, bsoncore.TypeBoolean, key), value)
		default:
			of := reflect.ValueOf(value)
			if dst, err = encoderOf(of.Type()).element(dst, key, of); err != nil {
				return dst, err
			}
		}
	}
	return closed(dst, at), nil
}

// structField is a field of a struct as it is written.
type structField struct {
	name      string
	index     []int
	omitEmpty bool
	of        *encoder
}

func (e *encoder) ofStruct(t reflect.Type, making map[reflect.Type]*encoder) {
	fields, plain := fieldsOf(t, nil, making)
	if !plain {
		e.element = byTheLibrary
		e.document = func(dst []byte, v reflect.Value) ([]byte, error) {
			raw, err := bson.Marshal(v.Interface())
			return append(dst, raw...), err
		}
		return
	}
	e.document = func(dst []byte, v reflect.Value) ([]byte, error) {
		at, dst := bsoncore.AppendDocumentStart(dst)
		var err error
		for i := range fields {
			f := &fields[i]
			value := v.FieldByIndex(f.index)
			if f.omitEmpty && f.of.empty(value) {
				continue
			}
			if dst, err = f.of.element(dst, f.name, value); err != nil {
				return dst, fmt.Errorf("%s: %w", f.name, err)
			}
		}
		return closed(dst, at), nil
	}
	e.element = func(dst []byte, name string, v reflect.Value) ([]byte, error) {
		return e.document(appendHeader(dst, bsoncore.TypeEmbeddedDocument, name), v)
	}
}

// fieldsOf returns the fields of a struct, with those of the structs that are inline, behind the indexes of the structs that they are
// in. plain is false for a struct that has something special about it.
func fieldsOf(t reflect.Type, in []int, making map[reflect.Type]*encoder) (fields []structField, plain bool) {
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, tagged := sf.Tag.Lookup("bson")
		switch {
		case !sf.IsExported() || tag == "-":
			continue
		case !tagged && sf.Tag != "" && !strings.Contains(string(sf.Tag), ":"):
			return nil, false // a tag without a name counts as one for BSON
		}
		parts := strings.Split(tag, ",")
		index := append(slices.Clip(in), i)
		inline := slices.Contains(parts[1:], "inline")
		switch kind := sf.Type.Kind(); {
		case slices.Contains(parts[1:], "minsize"), inline && kind != reflect.Struct,
			kind == reflect.Interface && sf.Type.NumMethod() > 0:
			return nil, false
		case inline:
			inner, plain := fieldsOf(sf.Type, index, making)
			if !plain {
				return nil, false
			}
			fields = append(fields, inner...)
			continue
		}
		name := parts[0]
		if name == "" {
			name = strings.ToLower(sf.Name)
		}
		fields = append(fields, structField{name: name, index: index, omitEmpty: slices.Contains(parts[1:], "omitempty"),
			of: encoderIn(sf.Type, making)})
	}
	names := map[string]bool{}
	for _, f := range fields {
		if names[f.name] || strings.IndexByte(f.name, 0) >= 0 {
			return nil, false
		}
		names[f.name] = true
	}
	return fields, true
}

// emptyOf returns what says whether a value of a type is left out by omitempty.
func emptyOf(t reflect.Type) func(reflect.Value) bool {
	switch {
	case t == timeType:
		return func(v reflect.Value) bool { return timeIn(v).IsZero() }
	case t.Implements(zeroerType) && t.Kind() == reflect.Pointer:
		return func(v reflect.Value) bool { return v.IsNil() || v.Interface().(bson.Zeroer).IsZero() }
	case t.Implements(zeroerType):
		return func(v reflect.Value) bool {
			if v.CanAddr() {
				return v.Addr().Interface().(bson.Zeroer).IsZero()
			}
			return v.Interface().(bson.Zeroer).IsZero()
		}
	}
	switch t.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return func(v reflect.Value) bool { return v.Len() == 0 }
	case reflect.Struct:
		return func(reflect.Value) bool { return false }
	case reflect.Interface:
		return reflect.Value.IsNil
	default:
		return reflect.Value.IsZero
	}
}
