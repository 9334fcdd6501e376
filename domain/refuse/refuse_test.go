package refuse_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"casebook/domain/refuse"
)

func TestEveryKindHasItsFunction(t *testing.T) {
	for kind, make := range map[refuse.Kind]func(string, string, ...any) *refuse.Refusal{
		refuse.KindRule: refuse.Because, refuse.KindMalformed: refuse.Malformed, refuse.KindState: refuse.WrongState,
		refuse.KindNotFound: refuse.NotFound, refuse.KindForbidden: refuse.Forbidden,
		refuse.KindUnauthenticated: refuse.Unauthenticated, refuse.KindOverload: refuse.Overload,
	} {
		r := make("a_code", "%d of %s", 3, "these").At("field").Do("try again")
		want := refuse.Refusal{Kind: kind, Code: "a_code", Sentence: "3 of these", Remedy: "try again", Field: "field"}
		if *r != want {
			t.Errorf("got %+v, want %+v", *r, want)
		}
		if got := r.Error(); got != "a_code: 3 of these; try again" {
			t.Errorf("Error returns %q", got)
		}
	}
	if got := refuse.Because("a_code", "so it is").Error(); got != "a_code: so it is" {
		t.Errorf("without a remedy Error returns %q", got)
	}
}

func TestAsFindsRefusalsInAChain(t *testing.T) {
	r := refuse.Because("a_code", "no")
	if got, ok := refuse.As(fmt.Errorf("while trying: %w", errors.Join(errors.New("other"), r))); !ok || got != r {
		t.Errorf("got %v, %v", got, ok)
	}
	for _, err := range []error{nil, errors.New("a failure")} {
		if got, ok := refuse.As(err); ok || got != nil {
			t.Errorf("%v is taken for the refusal %v", err, got)
		}
	}
}

func TestShortened(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "short": "short", strings.Repeat("ä", 80): strings.Repeat("ä", 80),
		strings.Repeat("ä", 81): strings.Repeat("ä", 80) + "...", strings.Repeat("x", 1_000_000): strings.Repeat("x", 80) + "...",
	} {
		if got := refuse.Shortened(text); got != want {
			t.Errorf("%.100q became %q", text, got)
		}
	}
}
