package readmodels_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"casebook/readmodels"
)

// answer has lists in all places.
type answer struct {
	Items  []part   `json:"items" bson:"items"`
	Shown  []string `json:"shown,omitempty" bson:"shown,omitempty"`
	Next   *answer  `json:"next,omitempty" bson:"next,omitempty"`
	Hidden []string `json:"-" bson:"hidden"`
	Stored []string `json:"stored"`
	part
	Embedded

	at time.Time
}

type part struct {
	Words []string        `json:"words" bson:"words"`
	Raw   json.RawMessage `json:"raw,omitempty"`
	Any   any             `json:"any,omitempty"`
}

// Embedded is embedded under its own name.
type Embedded struct {
	Inner []int `json:"inner"`
}

func TestListsOfAnAnswerAreNeverNull(t *testing.T) {
	fill := readmodels.EmptyLists(reflect.TypeFor[answer](), "json")
	a := answer{Items: []part{{}, {Words: []string{"a"}, Any: []string(nil)}}, Next: &answer{}, at: time.Now()}
	fill(reflect.ValueOf(&a).Elem())
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"items":[{"words":[]},{"words":["a"],"any":null}],"next":{"items":[],"stored":[],"words":[],"inner":[]},` +
		`"stored":[],"words":[],"inner":[]}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if a.Shown != nil || a.Hidden != nil {
		t.Errorf("lists that are left out became %v and %v", a.Shown, a.Hidden)
	}
	if readmodels.EmptyLists(reflect.TypeFor[int](), "json") != nil {
		t.Error("a number has lists")
	}
}

// TestListsOfADocumentAreStored: what is not the document's own, but of an event, stays as it came.
func TestListsOfADocumentAreStored(t *testing.T) {
	var a answer
	readmodels.EmptyLists(reflect.TypeFor[answer](), "bson")(reflect.ValueOf(&a).Elem())
	if a.Items == nil || a.Hidden == nil || a.Stored != nil || a.Words != nil || a.Shown != nil {
		t.Errorf("the lists are %+v", a)
	}
}
