package domain_test

import (
	"testing"

	"casebook/domain"
)

func TestValuesAreNamedInWords(t *testing.T) {
	for want, got := range map[string]string{
		"a, b or c":               domain.Either("a", "b", "c"),
		"a and b":                 domain.Each("a", "b"),
		"a":                       domain.Either("a"),
		"none, for there is none": domain.Either[string](),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
