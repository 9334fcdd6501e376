package domain

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// singleLine is up to how many characters a text is one line: a name or a number. Longer ones may have several lines.
const singleLine = 200

// Text refuses a text that is missing or blank (code value_missing), has more than most characters (code value_too_long), or
// has characters that nobody sees (code value_unprintable).
func Text[T ~string](field string, value T, most int) error {
	if isBlank(string(value)) {
		return refuse.Malformed("value_missing", "%s is missing", field).At(field).Do("give it")
	}
	return OptionalText(field, value, most)
}

// isBlank says whether a text shows nothing: it has spaces alone, and characters that have no width or look like a space.
func isBlank(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool {
		return unicode.IsGraphic(r) && !unicode.IsSpace(r) && !strings.ContainsRune("\u2800\u3164\u115f\u1160\uffa0\u180e\u034f", r) &&
			!unicode.Is(unicode.Variation_Selector, r)
	})
}

// SealedText refuses a text whose JSON, without the quotes, has more than most bytes (code value_too_long). Such a text becomes
// part of sealed values, which have one size as long as each text in them has at most so many bytes: a character that is not
// ASCII has up to four, and one that JSON escapes six.
func SealedText(field, value string, most int) error {
	text, err := json.Marshal(value)
	if err != nil || len(text)-2 > most {
		return refuse.Malformed("value_too_long", "%s has more than %d bytes", field, most).At(field).
			Do(fmt.Sprintf("use at most %d bytes; letters that are not ASCII have several", most))
	}
	return nil
}

// OptionalText refuses a text that has more than most characters (code value_too_long), or has characters that nobody sees
// (code value_unprintable). An empty text is allowed.
//
// A text that was read from the log, which a process hands on, was checked when it was written.
func OptionalText[T ~string](field string, value T, most int) error {
	if text, is := any(value).(personal.Text); is && text.Sealed() {
		return nil
	}
	if n := utf8.RuneCountInString(string(value)); n > most {
		return refuse.Malformed("value_too_long", "%s has %d characters", field, n).At(field).Do(fmt.Sprintf("use at most %d", most))
	}
	if most <= singleLine && strings.ContainsAny(string(value), "\r\n\t") {
		return unprintable(field).Do("write it in one line")
	}
	return Printable(field, string(value))
}

// Printable refuses a text with characters that nobody sees and that change how the text around them is shown (code
// value_unprintable): control characters other than tabs and line breaks, and those that turn the direction of writing.
// With the latter, what is recorded is not what its reader sees (Unicode Technical Report 36, section 2.5).
func Printable(field, value string) error {
	for i, r := range value {
		switch {
		case r == '\n' || r == '\t' || r == '\r' && strings.HasPrefix(value[i:], "\r\n"):
		case unicode.IsControl(r) || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' || r == '\u2028' || r == '\u2029':
			return unprintable(field).Do(fmt.Sprintf("remove the character U+%04X", r))
		}
	}
	return nil
}

func unprintable(field string) *refuse.Refusal {
	return refuse.Malformed("value_unprintable", "%s has a character that nobody sees", field).At(field)
}

// Reason refuses a reason that is missing or blank (code reason_required; ICH E6(R3) 4.2.2(a)(ii)) or has more than 500
// characters (code value_too_long), or characters that nobody sees (code value_unprintable).
func Reason(value personal.Text) error {
	if isBlank(string(value)) {
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

// At sets the field that a refusal is about. It is for checks that do not know which field their value came from.
// Failures and nil are returned unchanged.
func At(field string, err error) error {
	if r, ok := refuse.As(err); ok {
		return r.At(field)
	}
	return err
}

// First returns the first error among the results of checks, or nil.
func First(checks ...error) error {
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

// Either names values for a remedy, of which one is to be used.
func Either[T ~string](values ...T) string { return named("or", values) }

// Each names values for a remedy, all of which are meant.
func Each[T ~string](values ...T) string { return named("and", values) }

// maxNamed bounds the values that a remedy names.
const maxNamed = 30

func named[T ~string](last string, values []T) string {
	var words strings.Builder
	for i, v := range values {
		switch {
		case i == maxNamed:
			fmt.Fprintf(&words, " %s %d more", last, len(values)-maxNamed)
			return words.String()
		case i > 0 && i == len(values)-1:
			words.WriteString(" " + last + " ")
		case i > 0:
			words.WriteString(", ")
		}
		words.WriteString(string(v))
	}
	if len(values) == 0 {
		return "none, for there is none"
	}
	return words.String()
}

// MayCorrect refuses a correction of a value that is not the recorded one, because somebody may have corrected it meanwhile
// (code other_value_recorded), and one that changes nothing (code nothing_to_correct).
func MayCorrect[T ~string](recorded, from, to T) error {
	if from != recorded {
		return refuse.WrongState("other_value_recorded", "%q is recorded, not %.60q", string(recorded), string(from)).At("from").
			Do("read the patient's record again")
	}
	if to == recorded {
		return refuse.Because("nothing_to_correct", "%q is recorded already", string(recorded)).At("to").Do("nothing is left to do")
	}
	return nil
}
