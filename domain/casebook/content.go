package casebook

import (
	"slices"
	"strconv"
	"strings"

	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/form"
	"casebook/domain/personal"
)

// Content is what an item holds: nothing, a value, several options, or a text that somebody wrote.
type Content struct {
	// Raw is what was typed, where that is not Text.
	Raw string `json:"raw,omitempty"`
	// Value is the value as it is recorded: a number as a decimal, true or false, an option, a date of which a part may be unknown.
	Value string `json:"value,omitempty"`
	// Values are several options, in the order of the code list.
	Values []string `json:"values,omitempty"`
	// Text is a free text.
	Text personal.Text `json:"text,omitempty"`
	// Unit is the unit that a number was entered in, and Standard the number in the item's own unit, exactly.
	Unit     string     `json:"unit,omitempty"`
	Standard form.Exact `json:"standard,omitempty"`
	// Null says why there is no value.
	Null NullCode `json:"null,omitempty"`
}

// IsEmpty says whether there is nothing.
func (c Content) IsEmpty() bool {
	return c.Value == "" && len(c.Values) == 0 && c.Text == "" && c.Null == ""
}

// contentOf returns the content for an answer in its recorded form.
func contentOf(t form.ItemType, v form.Value) (c Content) {
	switch answer := v.Answer.(type) {
	case float64:
		c.Value, c.Unit, c.Standard = strconv.FormatFloat(answer, 'f', -1, 64), v.Unit, v.Standard
	case bool:
		c.Value = strconv.FormatBool(answer)
	case []string:
		c.Values = answer
	case string:
		if t == form.Text {
			c.Text = personal.Text(answer)
			break
		}
		c.Value = answer
	}
	return c
}

// entryOf returns what was typed as package form takes it.
func entryOf(it *build.Item, value string, values []string, unit string) form.Entry {
	entry := form.Entry{Unit: unit}
	switch {
	case it.Type == form.Multi && value == "":
		if len(values) > 0 {
			entry.Value = values
		}
	case len(values) > 0:
		entry.Value = values // which is refused
	case strings.TrimSpace(value) == "":
	case it.Type == form.Boolean && (value == "true" || value == "false"):
		entry.Value = value == "true"
	default:
		entry.Value = value
	}
	return entry
}

// NullCode says why an item has no value (HL7 NullFlavor, and the codes of CDISC for what is not done).
type NullCode string

// The reasons for which there is no value.
const (
	NotDone       NullCode = "ND"
	NotApplicable NullCode = "NA"
	Unknown       NullCode = "UNK"
	NotAsked      NullCode = "NASK"
	Declined      NullCode = "REF"
)

// NullCodes are all of them.
var NullCodes = []NullCode{NotDone, NotApplicable, Unknown, NotAsked, Declined}

// Schema implements domain.HasSchema.
func (NullCode) Schema() domain.Schema { return domain.OneOf(NullCodes...) }

// item is what the state knows of an item: the newest version.
type item struct {
	// value is the recorded value, or the text, which is sealed where it was read from the log.
	value   string
	several []string
	unit    string
	null    NullCode
	isText  bool
	// version counts the changes.
	version int
}

// after returns the item after one more change.
func (it item) after(version int, c Content) item {
	next := item{value: c.Value, several: c.Values, unit: interned(c.Unit), null: NullCode(interned(string(c.Null))), version: version}
	if c.Text != "" {
		next.value, next.isText = string(c.Text), true
	}
	return next
}

// content returns what the item holds, without what only the events have: what was typed, and the number in the item's own unit.
func (it item) content() Content {
	c := Content{Values: it.several, Unit: it.unit, Null: it.null}
	if it.isText {
		c.Text = personal.Text(it.value)
	} else {
		c.Value = it.value
	}
	return c
}

// holds says whether the item holds the same as a content. Texts are the same if they say the same.
func (it item) holds(c Content, opened map[personal.Text]string) bool {
	if it.null != c.Null {
		return false
	}
	if it.isText || c.Text != "" {
		return it.isText == (c.Text != "") && said(personal.Text(it.value), opened) == said(c.Text, opened)
	}
	return it.value == c.Value && it.unit == c.Unit && slices.Equal(it.several, c.Values)
}

func (it item) isEmpty() bool { return it.value == "" && len(it.several) == 0 }

// said returns what a text says, as far as it was opened.
func said(t personal.Text, opened map[personal.Text]string) string {
	if text, ok := opened[t]; ok {
		return text
	}
	return string(t)
}
