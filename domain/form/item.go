package form

import (
	"encoding/json"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"casebook/domain/partial"
	"casebook/domain/refuse"
	"casebook/domain/rule"
)

// maxWhole is the largest number up to which a float64 holds every whole number.
const maxWhole = 1 << 53

// clean returns an answer in its recorded form, or nil if there is no answer. If typed is set, a number may be a text. If
// a number is in another unit than the item's own, converted is the number in the item's own unit.
//
// It refuses, at answers.<item>: answer_wrong_type, answer_out_of_range, too_many_decimals, unknown_unit, not_an_option,
// too_many_options and answer_too_long.
func (it *item) clean(answer any, unit string, typed bool) (recorded any, converted *big.Rat, err error) {
	if answer == nil {
		return nil, nil, nil
	}
	switch it.Type {
	case Integer, Decimal:
		return it.cleanNumber(answer, unit, typed)
	case Boolean:
		if _, ok := answer.(bool); ok {
			return answer, nil, nil
		}
		return nil, nil, it.wrongType("true or false")
	case Multi:
		recorded, err = it.cleanSelection(answer)
		return recorded, nil, err
	default:
	}
	text, ok := answer.(string)
	if !ok {
		return nil, nil, it.wrongType("a text")
	}
	taken, err := it.cleanText(text)
	if !taken || err != nil {
		return nil, nil, err
	}
	return answer, nil, nil
}

// cleanText says whether a text is an answer. A blank text is not.
func (it *item) cleanText(text string) (taken bool, err error) {
	switch it.Type {
	case Choice:
		if _, ok := it.choices[text]; !ok {
			return false, it.notAnOption(text)
		}
	case Date, Time, Datetime, PartialDate, PartialDatetime:
		if _, ok := it.moment(text); !ok {
			return false, it.wrongType(it.written())
		}
	case File:
		if !hashPattern.MatchString(text) {
			return false, it.wrongType(it.written())
		}
	default:
		if n := utf8.RuneCountInString(text); n > it.longest() {
			return false, refuse.Because("answer_too_long", "the answer to %s has %d characters, more than %d", it.ID, n, it.longest()).
				At(field(it.ID)).Do("shorten it")
		}
		if strings.TrimSpace(text) == "" {
			return false, nil
		}
	}
	return true, nil
}

// hashPattern is a SHA-256 in lower-case hexadecimal.
var hashPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// moment reads an answer of a date or a time.
func (it *item) moment(text string) (partial.Moment, bool) {
	switch it.Type {
	case Time:
		return partial.Clock(text)
	case Datetime:
		return partial.DayAndTime(text)
	case PartialDate:
		return partial.Date(text)
	case PartialDatetime:
		return partial.Datetime(text)
	default:
		return partial.Day(text)
	}
}

// written says how an answer of the item's type is written.
func (it *item) written() string {
	switch it.Type {
	case Time:
		return "a time written HH:MM or HH:MM:SS"
	case Datetime:
		return "a day with its time, written YYYY-MM-DDTHH:MM"
	case PartialDate:
		return "a day written YYYY-MM-DD, YYYY-MM or YYYY, or with a hyphen for an unknown part, such as 2026---15"
	case PartialDatetime:
		return "a day with its time, written YYYY-MM-DDTHH:MM, or as much of it as is known"
	case File:
		return "the SHA-256 of a file, 64 digits of lower-case hexadecimal"
	default:
		return "a day written YYYY-MM-DD"
	}
}

// longest is how many characters a text answer may have.
func (it *item) longest() int {
	if it.MaxChars == 0 {
		return defaultMaxChars
	}
	return it.MaxChars
}

func (it *item) cleanNumber(answer any, unit string, typed bool) (recorded any, converted *big.Rat, err error) {
	n, ok := number(answer)
	if !ok {
		text, isText := answer.(string)
		switch {
		case !typed || !isText:
			return nil, nil, it.wrongType("a number")
		case strings.TrimSpace(text) == "":
			return nil, nil, nil
		}
		if n, ok = typedNumber(text); !ok {
			return nil, nil, it.wrongType("a number of at most 15 digits")
		}
	}
	switch {
	case it.Decimals != nil && decimalsOf(n) > *it.Decimals:
		return nil, nil, refuse.Because("too_many_decimals", "%s has more than %d decimals for %s", decimal(n), *it.Decimals, it.ID).
			At(field(it.ID)).Do("round it")
	case unit == "" || unit == it.Unit:
		if it.Type == Integer && n != math.Trunc(n) {
			return nil, nil, it.wrongType("a whole number")
		}
		if it.Min != nil && n < *it.Min || it.Max != nil && n > *it.Max {
			return nil, nil, refuse.Because("answer_out_of_range", "%v is outside the range of %s%s", n, it.ID, it.rangeText()).
				At(field(it.ID)).Do("give a number within the range")
		}
	default:
		if converted, err = it.inOwnUnit(n, unit); err != nil {
			return nil, nil, err
		}
		if outside(converted, it.Min, it.Max) {
			return nil, nil, refuse.Because("answer_out_of_range", "%s %s, which are %s %s, are outside the range of %s%s",
				decimal(n), unit, approximately(converted), it.Unit, it.ID, it.rangeText()).
				At(field(it.ID)).Do("give a number within the range")
		}
	}
	if _, ok := answer.(float64); ok {
		return answer, converted, nil
	}
	return n, converted, nil
}

// outside says whether a number lies outside a range. A bound that is nil is no limit.
func outside(n *big.Rat, least, most *float64) bool {
	return least != nil && n.Cmp(exactly(*least)) < 0 || most != nil && n.Cmp(exactly(*most)) > 0
}

// approximately writes a number with as many decimals as a reader can use.
func approximately(n *big.Rat) string {
	text := n.FloatString(4)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// unexpected says whether a number of the item raises a query, though it is allowed.
func (it *item) unexpected(n any, converted *big.Rat) bool {
	if it.SoftMin == nil && it.SoftMax == nil {
		return false
	}
	if converted == nil {
		f, ok := n.(float64)
		return ok && (it.SoftMin != nil && f < *it.SoftMin || it.SoftMax != nil && f > *it.SoftMax)
	}
	return outside(converted, it.SoftMin, it.SoftMax)
}

// number accepts the types to which decoders decode a JSON number, and Go's own whole numbers. It refuses numbers beyond
// 2^53: a float64 cannot hold all of them, so the recorded number could differ from the one that was sent.
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
	return n, !math.IsNaN(n) && math.Abs(n) <= maxWhole
}

var typedPattern = regexp.MustCompile(`^[+-]?[0-9]{1,20}(\.[0-9]{1,20})?$`)

// typedNumber reads a number as it was typed. It refuses a number that a float64 would round, because the recorded number
// would differ from the one that was typed.
func typedNumber(text string) (float64, bool) {
	text = strings.TrimSpace(text)
	if !typedPattern.MatchString(text) {
		return 0, false
	}
	n, err := json.Number(strings.TrimPrefix(text, "+")).Float64()
	if err != nil || math.Abs(n) > maxWhole {
		return 0, false
	}
	exact, ok := new(big.Rat).SetString(text)
	return n, ok && exact.Cmp(exactly(n)) == 0
}

func decimalsOf(n float64) int {
	_, decimals, _ := strings.Cut(decimal(n), ".")
	return len(decimals)
}

// cleanSelection returns the chosen options in the order of the list, each once; nil where there are none.
func (it *item) cleanSelection(answer any) (any, error) {
	var chosen []string
	switch v := answer.(type) {
	case []string:
		chosen = v
	case []any:
		for _, one := range v {
			text, ok := one.(string)
			if !ok {
				return nil, it.wrongType("a list of texts")
			}
			chosen = append(chosen, text)
		}
	default:
		return nil, it.wrongType("a list of texts")
	}
	if len(chosen) == 0 {
		return nil, nil
	}
	places := make([]int, 0, len(chosen))
	for _, value := range chosen {
		place, ok := it.choices[value]
		if !ok {
			return nil, it.notAnOption(value)
		}
		places = append(places, place)
	}
	slices.Sort(places)
	places = slices.Compact(places)
	if len(places) > rule.MaxTexts {
		return nil, refuse.Because("too_many_options", "%d options of %s are chosen, more than %d", len(places), it.ID, rule.MaxTexts).
			At(field(it.ID)).Do("choose fewer")
	}
	recorded := make([]string, len(places))
	for n, place := range places {
		recorded[n] = it.options[place].Value
	}
	return recorded, nil
}

// choosesOther says whether a recorded answer includes an option such as "other", which is marked with Option.Other.
func (it *item) choosesOther(answer any) bool {
	switch v := answer.(type) {
	case string:
		place, ok := it.choices[v]
		return ok && it.options[place].Other
	case []string:
		return slices.ContainsFunc(v, func(one string) bool { return it.options[it.choices[one]].Other })
	default:
		return false
	}
}

func (it *item) wrongType(want string) error {
	return refuse.Because("answer_wrong_type", "the answer to %s is not %s", it.ID, want).At(field(it.ID)).Do("send " + want)
}

func (it *item) notAnOption(value string) error {
	return refuse.Because("not_an_option", "%q is not an option of %s", shortened(value), it.ID).
		At(field(it.ID)).Do("choose " + it.optionList())
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

func (it *item) softRangeText() string {
	soft := item{Item: &Item{Min: it.SoftMin, Max: it.SoftMax}}
	return soft.rangeText()
}

func (it *item) optionList() string {
	named := make([]string, 0, 12)
	for _, o := range it.options {
		if len(named) == 11 {
			named = append(named, "...")
			break
		}
		named = append(named, o.Value)
	}
	return "one of " + strings.Join(named, ", ")
}

func field(id ItemID) string { return Answers + "." + string(id) }
