package readmodels_test

import (
	"fmt"
	"strings"
	"testing"

	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// TestBulksOfAnySizeAreStored stores more than one command can hold, documents of nearly the largest size among them, and
// stores the same again.
func TestBulksOfAnySizeAreStored(t *testing.T) {
	s := connect(t, newDatabase())
	const collection = "large_v1"
	var all []readmodels.Encoded
	for i, size := range []int{3, 5 << 20, 5 << 20, 16<<20 - 100, 7, 3 << 20, 11} {
		e := readmodels.Encoded{Header: readmodels.Header{ID: fmt.Sprint("D", i), Position: int64(10 + i)}}
		raw, err := bson.Marshal(struct {
			readmodels.Header `bson:",inline"`
			Text              string
		}{e.Header, strings.Repeat("x", size)})
		if err != nil {
			t.Fatal(err)
		}
		e.Document = raw
		all = append(all, e)
	}
	holds := func(when string) {
		t.Helper()
		for _, e := range all {
			stored, err := s.CollectionNamed(collection).FindOne(t.Context(), bson.D{{Key: "_id", Value: e.Header.ID}}).Raw()
			if err != nil || !stored.Lookup("text").Equal(e.Document.Lookup("text")) {
				t.Errorf("%s, %s is another document: %v", when, e.Header.ID, err)
			}
		}
	}
	if n, err := s.Insert(t.Context(), collection, all[:5]); err != nil || n != 0 {
		t.Fatalf("%d were there before, %v", n, err)
	}
	if n, err := s.Insert(t.Context(), collection, all); err != nil || n != 5 {
		t.Errorf("%d were there before instead of 5, %v", n, err)
	}
	holds("after they were inserted")
	for i := range all[:3] {
		all[i].Header.Position-- // what is stored has seen more
	}
	if n, err := s.Replace(t.Context(), collection, all); err != nil || n != 3 {
		t.Errorf("%d have seen more instead of 3, %v", n, err)
	}
	holds("after they were replaced")
}
