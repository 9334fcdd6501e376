package blind_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"casebook/domain/blind"

	"github.com/google/go-cmp/cmp"
)

const secret = "ZQX-9"

type arms map[string]string

// event has a blinded value in every kind of field. It also has a text and a number, so that every verb is bad for one
// of its fields.
type event struct {
	Name    string
	N       int
	Arm     blind.Value[string]            `json:"arm"`
	Behind  *blind.Value[string]           `json:"behind"`
	Some    []blind.Value[arms]            `json:"some"`
	ByName  map[string]blind.Value[[]byte] `json:"byName"`
	Any     any                            `json:"any"`
	private blind.Value[string]
	hidden  []blind.Value[arms]
}

func full() event {
	one := blind.Of(secret)
	return event{Name: "n", N: 7, Arm: one, Behind: &one, Some: []blind.Value[arms]{blind.Of(arms{secret: secret})},
		ByName: map[string]blind.Value[[]byte]{"k": blind.Of([]byte(secret))}, Any: one, private: one,
		hidden: []blind.Value[arms]{blind.Of(arms{"a": secret})}}
}

// shows says whether a text contains the secret, in any of the forms in which fmt writes texts.
func shows(text string) bool {
	for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("% x", secret),
		fmt.Sprintf("%d", []byte(secret)), strings.Trim(fmt.Sprintf("%#v", []byte(secret)), "[]byte{}")} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

func TestPrintingNeverShowsTheContent(t *testing.T) {
	e, one := full(), blind.Of(secret)
	flags := []string{"", "+", "#", "-", " ", "0", "20", ".3", "+#20.3", "*", ".*"}
	printed := 0
	wrong := []string{"none", "%[2]*[1]d", "%[3]d", "%!", "%"}
	for _, v := range []any{e, &e, one, &one, []event{e}, map[string]event{"k": e}, struct{ inner event }{e}, []any{e, &one},
		struct{ v blind.Value[string] }{one}} {
		for verb := ' '; verb <= '~'; verb++ {
			for _, f := range flags {
				if text := fmt.Sprintf("%"+f+string(verb), v); shows(text) {
					t.Fatalf("%%%s%c of %T prints %s", f, verb, v, text)
				}
				printed++
			}
		}
		texts := []string{fmt.Sprint(v), fmt.Sprintln(v), fmt.Errorf("wrapped: %w", fmt.Errorf("%v", v)).Error()}
		for _, format := range wrong {
			texts = append(texts, fmt.Sprintf(format, v, v))
		}
		for _, text := range texts {
			if shows(text) {
				t.Fatalf("%T prints %s", v, text)
			}
		}
	}
	if printed < 1000 {
		t.Fatalf("only %d texts were printed", printed)
	}
	want := strings.Repeat(blind.Shown+"|", 4) + blind.Shown
	if text := fmt.Sprintf("%v|%s|%#v|%d|%+v", one, one, one, one, blind.Value[int]{}); text != want {
		t.Errorf("values print as %s", text)
	}
	if one.String() != blind.Shown {
		t.Errorf("String returns %s", one.String())
	}
}

func TestMarshallingNeverShowsTheContent(t *testing.T) {
	e := full()
	var text bytes.Buffer
	for name, write := range map[string]func() error{
		"JSON": func() error { return json.NewEncoder(&text).Encode([]any{e, &e}) },
		"XML":  func() error { return xml.NewEncoder(&text).Encode(e.Arm) },
		"text handler": func() error {
			slog.New(slog.NewTextHandler(&text, nil)).Info("it", "event", e, "behind", &e, "value", e.Arm, slog.Group("g", "some", e.Some))
			return nil
		},
		"JSON handler": func() error {
			slog.New(slog.NewJSONHandler(&text, nil)).Info("it", "event", e, "behind", &e, "value", e.Arm, slog.Group("g", "some", e.Some))
			return nil
		},
	} {
		text.Reset()
		if err := write(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if text.Len() == 0 || shows(text.String()) || !strings.Contains(text.String(), "(blinded)") {
			t.Errorf("%s shows %s", name, &text)
		}
	}
}

func TestValueReadWithoutKeysIsSealed(t *testing.T) {
	for _, text := range []string{`"(blinded)"`, `"sealed:1:abc"`, `{"a":1}`, `null`, `7`} {
		v := blind.Of("before")
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if plain, open := v.Open(); open || plain != "" || !v.Sealed() {
			t.Errorf("%s is read as %q, %v", text, plain, open)
		}
	}
	if v := (blind.Value[int]{}); !v.Sealed() {
		t.Error("the zero value is open")
	}
}

func TestValuesAreSealedAndOpened(t *testing.T) {
	var written []byte
	sealed, err := blind.Of(arms{"a": secret}).SealWith(func(plain []byte) (string, error) {
		written = plain
		return "sealed", nil
	})
	if err != nil || sealed != "sealed" || string(written) != `{"a":"`+secret+`"}` {
		t.Fatalf("sealed as %q from %s, %v", sealed, written, err)
	}
	var v blind.Value[arms]
	if err := v.UnsealFrom(append(written, "   "...)); err != nil {
		t.Fatal(err)
	}
	if plain, open := v.Open(); !open || v.Sealed() || plain["a"] != secret {
		t.Errorf("opened as %v, %v", plain, open)
	}

	// A failed UnsealFrom keeps the old content, and its error does not show the new one.
	if err := v.UnsealFrom([]byte(`["` + secret + `"]`)); err == nil || shows(err.Error()) {
		t.Errorf("opened from JSON of another type: %v", err)
	}
	if plain, open := v.Open(); !open || plain["a"] != secret {
		t.Errorf("after the failure it holds %v, %v", plain, open)
	}
	never := func([]byte) (string, error) { t.Error("seal was called without content"); return "", nil }
	if _, err := (blind.Value[arms]{}).SealWith(never); err == nil {
		t.Error("a sealed value was sealed again")
	}
	if _, err := blind.Of(func() {}).SealWith(never); err == nil {
		t.Error("a function, which has no JSON, was sealed")
	}
	broken := errors.New("broken")
	if _, err := blind.Of(1).SealWith(func([]byte) (string, error) { return "", broken }); !errors.Is(err, broken) {
		t.Errorf("the sealer's error became %v", err)
	}
}

func TestEqual(t *testing.T) {
	a, b, sealed := blind.Of(arms{"x": "1", "y": "2"}), blind.Of(arms{"y": "2", "x": "1"}), blind.Value[arms]{}
	for _, c := range []struct {
		v, w blind.Value[arms]
		same bool
	}{
		{a, a, true}, {a, b, true}, {sealed, sealed, true}, {a, sealed, false}, {sealed, a, false},
		{a, blind.Of(arms{"x": "1"}), false}, {blind.Of[arms](nil), sealed, false},
	} {
		if c.v.Equal(c.w) != c.same || cmp.Equal(c.v, c.w) != c.same {
			t.Errorf("Equal does not return %v", c.same)
		}
	}
}
