package readmodels

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

type listed struct {
	Items  []part            `json:"items"`
	Names  map[string]string `json:"names"`
	Shown  []string          `json:"shown,omitempty"`
	Parts  map[string]part   `json:"parts,omitempty"`
	Next   *listed           `json:"next,omitempty"`
	Hidden []string          `json:"-"`
	part
	Header
	Embedded

	at time.Time
}

type part struct {
	Words []string        `json:"words"`
	Raw   json.RawMessage `json:"raw,omitempty"`
	Any   any             `json:"any,omitempty"`
}

// Embedded is embedded under its own name.
type Embedded struct {
	Inner []int `json:"inner"`
}

func TestListsOfAnAnswerAreNeverNull(t *testing.T) {
	fill := emptyLists(reflect.TypeFor[listed]())
	answer := listed{Items: []part{{}, {Words: []string{"a"}, Any: []string(nil)}}, Parts: map[string]part{"p": {}}, Next: &listed{}, at: time.Now()}
	fill(reflect.ValueOf(&answer).Elem())
	text, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"items":[{"words":[]},{"words":["a"],"any":null}],"names":{},"parts":{"p":{"words":[]}},` +
		`"next":{"items":[],"names":{},"words":[],"position":0,"inner":[]},"words":[],"position":0,"inner":[]}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if answer.Shown != nil || answer.Hidden != nil {
		t.Errorf("lists that are left out became %v and %v", answer.Shown, answer.Hidden)
	}
	plain := 7
	emptyLists(reflect.TypeFor[int]())(reflect.ValueOf(&plain).Elem())
	var list []int
	emptyLists(reflect.TypeFor[[]int]())(reflect.ValueOf(&list).Elem())
	if plain != 7 || list == nil {
		t.Errorf("they became %v and %v", plain, list)
	}
}
