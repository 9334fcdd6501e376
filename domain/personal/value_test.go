package personal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"casebook/domain/personal"
)

const secret = "Anna Beispiel"

func TestNothingShowsTheContent(t *testing.T) {
	v := personal.Of("key", secret)
	var text bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("it", "value", v)
	if err := json.NewEncoder(&text).Encode([]any{v, &v, struct{ V personal.Value[string] }{v}}); err != nil {
		t.Fatal(err)
	}
	for verb := ' '; verb <= '~'; verb++ {
		for _, of := range []any{v, &v, struct{ v personal.Value[string] }{v}, []any{v}} {
			for _, flag := range []string{"", "+", "#"} {
				fmt.Fprintf(&text, "%"+flag+string(verb), of)
			}
		}
	}
	for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("% x", secret),
		strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]")} {
		if strings.Contains(text.String(), form) {
			t.Fatalf("it shows %s", form)
		}
	}
	if !strings.Contains(text.String(), personal.Shown) {
		t.Error("it does not say what it is")
	}
}

func TestWhatDoesNotComeFromTheLogNeverOpens(t *testing.T) {
	for _, text := range []string{`"(personal)"`, `"personal:1:key:AAAA"`, `{"a":1}`, `null`, `7`} {
		v := personal.Of("key", secret)
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if content, err := personal.Reveal(t.Context(), nil, v); err == nil || content != "" {
			t.Errorf("%s opens as %q", text, content)
		}
		if _, _, err := v.Seal(t.Context(), nil, nil); err == nil {
			t.Errorf("%s is sealed again", text)
		}
	}
	if _, _, err := personal.Of("key", secret).Seal(t.Context(), nil, nil); !errors.Is(err, personal.ErrNoKeys) {
		t.Errorf("sealed without keys: %v", err)
	}
}
