package form

import (
	"fmt"
	"regexp"
	"unicode/utf8"

	"casebook/domain/refuse"
)

// Parts refuses parts of a definition. Its refusals have its code; Field names the part, such as items[2].options, and so
// does the beginning of the sentence.
type Parts struct{ Code string }

var (
	namePattern     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	variablePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,39}$`)
)

// reserved are the words that CEL keeps for itself; an item of that name could not be used in a rule.
var reserved = map[string]bool{
	"as": true, "break": true, "const": true, "continue": true, "else": true, "false": true, "for": true,
	"function": true, "if": true, "import": true, "in": true, "let": true, "loop": true, "namespace": true, "null": true,
	"package": true, "return": true, "true": true, "var": true, "void": true, "while": true,
}

// Invalid refuses a part, for the reason given.
func (p Parts) Invalid(part, format string, args ...any) *refuse.Refusal {
	r := refuse.Because(p.Code, format, args...).At(part).Do("correct " + part + " of the definition")
	r.Sentence = part + ": " + r.Sentence
	return r
}

// Name refuses what is not a name: 1 to 64 letters, digits and . _ -, the first a letter or digit. what says whose name
// it is.
func (p Parts) Name(part, what, name string) error {
	if !namePattern.MatchString(name) {
		return p.Invalid(part, "%s has 1 to 64 letters, digits and . _ -", what)
	}
	return nil
}

// Variable refuses a name that rules could not use.
func (p Parts) Variable(part, name string) error {
	if !variablePattern.MatchString(name) || reserved[name] {
		const what = "a name has 1 to 40 letters, digits and _, begins with a letter and is no word of CEL"
		return p.Invalid(part, "%q cannot be used in rules: %s", shortened(name), what)
	}
	return nil
}

// Required refuses a text that is empty or too long.
func (p Parts) Required(part, text string, maxChars int) error {
	if text == "" {
		return p.Invalid(part, "it is empty")
	}
	return p.AtMost(part, text, maxChars)
}

// AtMost refuses a text that is too long.
func (p Parts) AtMost(part, text string, maxChars int) error {
	if n := utf8.RuneCountInString(text); n > maxChars {
		return p.Invalid(part, "it has %d characters, more than %d", n, maxChars)
	}
	return nil
}

// Count refuses a list that is too short or too long.
func (p Parts) Count(part string, n, from, to int) error {
	if n < from || n > to {
		return p.Invalid(part, "there are %d, and there can be %d to %d", n, from, to)
	}
	return nil
}

func indexed(part string, n int) string { return fmt.Sprintf("%s[%d]", part, n) }

func shortened(s string) string { return refuse.Shortened(s) }
