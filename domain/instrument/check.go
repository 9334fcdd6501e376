package instrument

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"casebook/domain"
	"casebook/domain/refuse"
)

// Check returns the answers as they are recorded: numbers as float64, nothing for what was left empty. It refuses, with
// Field set to answers.<item>: unknown_item, wrong_type, answer_out_of_range, not_an_option, answer_too_long,
// item_required (asked, required and not answered) and item_not_asked (answered although the skip rule leaves it out).
// The answers that it is given stay as they are.
func (i *Instrument) Check(answers map[ItemID]any) (map[ItemID]any, error) {
	if err := i.refuseUnknown(answers); err != nil {
		return nil, err
	}
	clean := make(map[ItemID]any, len(answers))
	known := values{answers: clean}
	for n := range i.items {
		it := &i.items[n]
		answer, err := it.clean(answers[it.ID])
		if err != nil {
			return nil, err
		}
		asked, certain := true, true
		if it.asked != nil {
			asked, err = it.asked.Holds(&known)
			// A skip rule that cannot be computed (a division by zero) must not cost the patient the diary: the item may
			// then be answered or left out.
			asked, certain = asked || err != nil, err == nil
		}
		switch {
		case answer == nil && it.Required && asked && certain:
			return nil, refuse.Because("item_required", "%s must be answered", it.ID).At(field(it.ID)).Do("answer it and send the diary again")
		case answer != nil && !asked:
			return nil, refuse.Because("item_not_asked", "%s was answered, although it is only asked when %s", it.ID, it.AskedWhen).
				At(field(it.ID)).Do("leave it out")
		case answer != nil:
			clean[it.ID] = answer
		}
	}
	return clean, nil
}

func (i *Instrument) refuseUnknown(answers map[ItemID]any) error {
	var unknown []ItemID
	for id := range answers {
		if _, ok := i.index[id]; !ok {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	id := slices.Min(unknown)
	return refuse.Because("unknown_item", "%q is not an item of %s version %d", shortened(string(id)), i.definition.ID, i.definition.Version).
		At(shortened(field(id))).Do("use the item ids of this version")
}

// clean returns the answer in its recorded form, nil for none.
func (it *item) clean(answer any) (any, error) {
	if answer == nil {
		return nil, nil
	}
	switch it.Type {
	case Integer, Decimal:
		return it.cleanNumber(answer)
	case Boolean:
		if b, ok := answer.(bool); ok {
			return b, nil
		}
		return nil, it.wrongType("true or false")
	case Text, Choice, DateDay:
		if text, ok := answer.(string); ok {
			return it.cleanText(text)
		}
	}
	return nil, it.wrongType("a text")
}

func (it *item) cleanText(text string) (any, error) {
	switch it.Type {
	case Choice:
		if _, ok := it.points[text]; !ok {
			return nil, refuse.Because("not_an_option", "%q is not an option of %s", shortened(text), it.ID).
				At(field(it.ID)).Do("choose " + it.optionList())
		}
	case DateDay:
		if domain.Date(text).Validate() != nil {
			return nil, it.wrongType("a day written YYYY-MM-DD")
		}
	default:
		if n := utf8.RuneCountInString(text); n > it.longest() {
			return nil, refuse.Because("answer_too_long", "the answer to %s has %d characters, more than %d", it.ID, n, it.longest()).
				At(field(it.ID)).Do("shorten it")
		}
		if strings.TrimSpace(text) == "" {
			return nil, nil
		}
	}
	return text, nil
}

// longest is how many characters a text answer may have.
func (it *item) longest() int {
	if it.MaxChars == 0 {
		return defaultMaxChars
	}
	return it.MaxChars
}

func (it *item) cleanNumber(answer any) (any, error) {
	n, ok := number(answer)
	if !ok {
		return nil, it.wrongType("a number")
	}
	if it.Type == Integer && n != math.Trunc(n) {
		return nil, it.wrongType("a whole number")
	}
	if it.Min != nil && n < *it.Min || it.Max != nil && n > *it.Max {
		return nil, refuse.Because("answer_out_of_range", "%v is outside the range of %s%s", n, it.ID, it.rangeText()).
			At(field(it.ID)).Do("give a number within the range")
	}
	return n, nil
}

// number accepts what decoders make of a JSON number, and Go's own whole numbers. Beyond 2^53 a float64 no longer holds
// every whole number, so that what is read would not be what was sent.
func number(answer any) (float64, bool) {
	var n float64
	switch v := answer.(type) {
	case float64:
		n = v
	case int:
		n = float64(v)
	case int64:
		n = float64(v)
	case json.Number:
		parsed, err := v.Float64()
		if err != nil {
			return 0, false
		}
		n = parsed
	default:
		return 0, false
	}
	return n, finite(n) && math.Abs(n) <= 1<<53
}

func (it *item) wrongType(want string) error {
	return refuse.Because("wrong_type", "the answer to %s is not %s", it.ID, want).At(field(it.ID)).Do("send " + want)
}

func (it *item) rangeText() string {
	switch {
	case it.Min != nil && it.Max != nil:
		return ", " + decimal(*it.Min) + " to " + decimal(*it.Max)
	case it.Min != nil:
		return ", " + decimal(*it.Min) + " and more"
	default:
		return ", at most " + decimal(*it.Max)
	}
}

func (it *item) optionList() string {
	named := make([]string, 0, 12)
	for _, o := range it.Options {
		if len(named) == 11 {
			named = append(named, "...")
			break
		}
		named = append(named, o.Value)
	}
	return "one of " + strings.Join(named, ", ")
}

func field(id ItemID) string { return "answers." + string(id) }
