package projections_test

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/projections"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

// filled sets v to a value drawn from its type. Maps have at most one member, because the driver writes them in any order.
func filled(r *rapid.T, v reflect.Value, depth int) {
	if !v.CanSet() {
		return
	}
	if v.Type() == reflect.TypeFor[time.Time]() {
		if rapid.Bool().Draw(r, "a time") {
			v.Set(reflect.ValueOf(time.UnixMicro(rapid.Int64Range(-1e15, 4e15).Draw(r, "µs")).UTC()))
		}
		return
	}
	none := depth > 4 || rapid.IntRange(0, 3).Draw(r, "none") == 0
	switch v.Kind() {
	case reflect.String:
		v.SetString(rapid.SampledFrom([]string{"", "a", "é\U0001F600", "a\x00b", "0123456789"}).Draw(r, "text"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(r, "bool"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n := rapid.Int64().Draw(r, "int")
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64Range(0, 1<<63-1).Draw(r, "uint"))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(rapid.Float64().Draw(r, "float"))
	case reflect.Pointer:
		if !none {
			v.Set(reflect.New(v.Type().Elem()))
			filled(r, v.Elem(), depth+1)
		}
	case reflect.Slice:
		if !none {
			v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 3).Draw(r, "len"), 3))
			for i := range v.Len() {
				filled(r, v.Index(i), depth+1)
			}
		}
	case reflect.Map:
		if none {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		if key := reflect.New(v.Type().Key()).Elem(); rapid.Bool().Draw(r, "a member") && key.Kind() == reflect.String {
			key.SetString("key")
			value := reflect.New(v.Type().Elem()).Elem()
			filled(r, value, depth+1)
			v.SetMapIndex(key, value)
		}
	case reflect.Interface:
		if v.NumMethod() == 0 && !none {
			v.Set(reflect.ValueOf(rapid.SampledFrom([]any{3.5, "text", true, int64(7), 8, []any{1.0, "b", nil}, map[string]any{"k": 1.5},
				time.Unix(1e9, 0).UTC(), bson.D{{Key: "d", Value: 1}}, bson.A{"x"}, [2]int{1, 2}, []byte{1, 2}}).Draw(r, "any")))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			filled(r, v.Field(i), depth+1)
		}
	default:
	}
}

// TestDocumentsAreEncodedAsTheDriverWould draws documents of every view.
func TestDocumentsAreEncodedAsTheDriverWould(t *testing.T) {
	for _, p := range contexts.Projections() {
		t.Run(p.View.Name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) { encodedAlike(r, p.Blank("an id")) })
		})
	}
}

// special has what documents of views do not have today.
type special struct {
	readmodels.Header `bson:",inline"`
	Untagged          int
	Small             int64 `bson:"small,minsize"`
	Both              any   `bson:",omitempty"`
	Bytes             []byte
	Raw               bson.Raw `bson:"raw,omitempty"`
	Self              []special
	Named             map[string]special
	Left              string `bson:"-"`
	ID2               bson.ObjectID
	Date              bson.DateTime
	Inner             struct {
		A *int `bson:"a,omitempty"`
		B [2]string
	} `bson:"inner"`
	Fraction float32
	Tiny     int8
	Byte     uint8
	hidden   int
}

func TestSpecialDocumentsAreEncodedAsTheDriverWould(t *testing.T) {
	_ = special{}.hidden
	rapid.Check(t, func(r *rapid.T) { encodedAlike(r, new(special)) })
}

func encodedAlike(r *rapid.T, doc readmodels.Document) {
	filled(r, reflect.ValueOf(doc).Elem(), 0)
	if s, is := doc.(*special); is {
		s.Raw = nil // a drawn one is no document
	}
	want, failed := bson.Marshal(doc)
	got, err := readmodels.Encode(doc)
	if (failed != nil) != (err != nil) {
		r.Fatalf("the driver says %v, and Encode %v", failed, err)
	}
	if failed == nil && !bytes.Equal(want, got) {
		r.Fatalf("want %s\n got %s", bson.Raw(want), got)
	}
}

// TestMembersOfMapsAreInOrder has each build of a view store the same bytes.
func TestMembersOfMapsAreInOrder(t *testing.T) {
	type counted struct {
		readmodels.Header `bson:",inline"`
		Counts            map[string]int `bson:"counts"`
	}
	doc := counted{Counts: map[string]int{}}
	for i := range 20 {
		doc.Counts[fmt.Sprint(i%7, "x", i)] = i
	}
	got, err := readmodels.Encode(&doc)
	if err != nil {
		t.Fatal(err)
	}
	members, err := got.Lookup("counts").Document().Elements()
	if err != nil || len(members) != 20 {
		t.Fatal(len(members), err)
	}
	for i, m := range members[1:] {
		if m.Key() < members[i].Key() {
			t.Errorf("%s stands behind %s", m.Key(), members[i].Key())
		}
	}
	doc.Counts["a\x00b"] = 1
	if _, err := readmodels.Encode(&doc); err == nil {
		t.Error("a name with a null character is stored")
	}
}

// BenchmarkEncode encodes the document that a submitted diary makes, by the driver and by Encode.
func BenchmarkEncode(b *testing.B) {
	for _, p := range contexts.Projections() {
		doc := exampleOf(p)
		b.Run(p.View.Name+"/driver", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bson.Marshal(doc); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(p.View.Name+"/encode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := readmodels.Encode(doc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// exampleOf returns a document of a view with something in each field.
func exampleOf(p projections.Projection) readmodels.Document {
	return rapid.Custom(func(r *rapid.T) readmodels.Document {
		doc := p.Blank("an id")
		filled(r, reflect.ValueOf(doc).Elem(), 0)
		return doc
	}).Filter(func(doc readmodels.Document) bool {
		_, err := bson.Marshal(doc)
		return err == nil
	}).Example(1)
}
