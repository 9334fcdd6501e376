package form

import (
	"encoding/json"
	"slices"

	"casebook/domain"
)

// Translation is a text by language. A form without languages has plain texts, under the language "". In JSON a plain
// text is a string, and one with languages an object: {"de": "Gewicht", "en": "Weight"}.
type Translation map[string]string

// Schema implements domain.HasSchema.
func (Translation) Schema() domain.Schema {
	return domain.Schema{Members: []string{"string"}, OrText: true, Example: map[string]string{"en": "Weight", "de": "Gewicht"},
		Description: "A plain text, or the text in each language by its tag."}
}

// plain is the language of texts without one.
const plain = ""

// Plain returns a text without a language; none for "".
func Plain(text string) Translation {
	if text == "" {
		return nil
	}
	return Translation{plain: text}
}

// In returns the text in a language; where it is not there in it, in fallback, and where it is in neither, as plain text.
func (t Translation) In(language, fallback string) string {
	for _, l := range []string{language, fallback} {
		if text, ok := t[l]; ok {
			return text
		}
	}
	return t[plain]
}

// MarshalJSON writes a plain text as a string.
func (t Translation) MarshalJSON() ([]byte, error) {
	if text, ok := t[plain]; ok && len(t) == 1 || len(t) == 0 {
		return json.Marshal(text)
	}
	return json.Marshal(map[string]string(t))
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Translation) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err == nil {
		*t = Plain(text)
		return nil
	}
	var texts map[string]string
	if err := json.Unmarshal(data, &texts); err != nil {
		return err
	}
	*t = texts
	return nil
}

func (c *compiler) languages() error {
	languages := c.form.definition.Languages
	if err := c.parts.Count("languages", len(languages), 0, maxLanguages); err != nil {
		return err
	}
	for n, l := range languages {
		at := indexed("languages", n)
		if !domain.IsLanguage(l) {
			return c.parts.Invalid(at, "%q is not a language; de and en-GB are", shortened(l))
		}
		if slices.Contains(languages[:n], l) {
			return c.parts.Invalid(at, "the language %s is there twice", l)
		}
	}
	return nil
}

// text refuses a text that is missing or too long in one of the form's languages, and one in a language that the form
// does not have. An optional text may be missing as a whole.
func (c *compiler) text(at string, t Translation, maxChars int, optional bool) error {
	if len(t) == 0 && optional {
		return nil
	}
	languages := c.form.definition.Languages
	if len(languages) == 0 {
		if _, isPlain := t[plain]; len(t) > 1 || len(t) == 1 && !isPlain {
			return c.parts.Invalid(at, "it has languages, and the form has none")
		}
		return c.parts.Required(at, t[plain], maxChars)
	}
	for _, l := range languages {
		text, ok := t[l]
		if !ok {
			return c.parts.Invalid(at, "it is missing in the language %s", l)
		}
		if err := c.parts.Required(at+"."+l, text, maxChars); err != nil {
			return err
		}
	}
	if len(t) > len(languages) {
		return c.parts.Invalid(at, "it has languages that the form does not have")
	}
	return nil
}
