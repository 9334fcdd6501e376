package domain

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"casebook/domain/refuse"
)

// Text refuses a text that is missing or blank (code value_missing) or longer than most characters (code value_too_long).
func Text(field, value string, most int) error {
	if strings.TrimSpace(value) == "" {
		return refuse.Malformed("value_missing", "%s is missing", field).At(field).Do("give it")
	}
	return OptionalText(field, value, most)
}

// OptionalText refuses a text that is longer than most characters (code value_too_long).
func OptionalText(field, value string, most int) error {
	if n := utf8.RuneCountInString(value); n > most {
		return refuse.Malformed("value_too_long", "%s has %d characters", field, n).At(field).Do(fmt.Sprintf("use at most %d", most))
	}
	return nil
}

// Reason refuses a change without its reason (code reason_required; ICH E6(R3) 4.2.2(a)(ii)). Blanks are none.
func Reason(value string) error {
	if strings.TrimSpace(value) == "" {
		return refuse.Because("reason_required", "the change has no reason").At("reason").Do("say why, in a sentence")
	}
	return OptionalText("reason", value, 500)
}

// Between refuses a number outside a range, both ends included (code value_out_of_range).
func Between(field string, value, least, most int) error {
	if value < least || value > most {
		return refuse.Malformed("value_out_of_range", "%s is %d", field, value).At(field).Do(fmt.Sprintf("use %d to %d", least, most))
	}
	return nil
}

// At names the field that a refusal is about, for checks that do not know where their value came from. It leaves failures
// and nil as they are.
func At(field string, err error) error {
	if r, ok := refuse.As(err); ok {
		return r.At(field)
	}
	return err
}

// First returns the first error of a list of checks that have been made.
func First(checks ...error) error {
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}
