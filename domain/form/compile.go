package form

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"casebook/domain/rule"
)

// How large a definition may be. The bounds are far above real forms; they keep what a protocol brings from becoming a
// burden on every entry. The cost of each rule is bounded by package rule.
const (
	maxItems       = 200
	maxOptions     = 100
	maxLists       = 100
	maxListOptions = 1000
	maxUnits       = 20
	maxChecks      = 200
	maxLanguages   = 30
	maxDecimals    = 15
	maxTitleChars  = 300
	maxTextChars   = 2000
	maxLabelChars  = 500
	maxValueChars  = rule.MaxTextsChars
	// defaultMaxChars is the longest text answer where the item does not say.
	defaultMaxChars = 500
)

// Answers is the group of variables that holds the answers in rules: answers.worst.
const Answers = "answers"

// Form is a definition that has been found valid, with its rules compiled. It never changes and is safe for concurrent
// use.
type Form struct {
	kind       Kind
	definition Definition
	items      []item
	index      map[ItemID]int
	// derived are the derived items, each after those that it is derived from; skippable are those with a skip rule, and
	// specifying those that say what an option like "other" stands for.
	derived, skippable, specifying []int
	checks                         []check
	// variables are the answers as rules see them.
	variables map[string]rule.Type
	// around is what rules may name beside the form's own answers.
	around Surroundings
	// plain says that rules see the answers as they are recorded, and that nothing but skip rules looks at them.
	plain bool
	// units says that some item can be entered in several units.
	units bool
	// idle are emptied evaluations for Check.
	idle sync.Pool
}

type item struct {
	*Item
	// options are the item's own or those of its list, choices their places by value, ranks what they count.
	options []Option
	choices map[string]int
	ranks   map[string]float64
	units   map[string]conversion
	// asked is the compiled skip rule, nil where the item is always asked.
	asked *rule.Rule
	// formula is the compiled derivation, nil where the item is entered.
	formula *rule.Formula
	// specifies is the place of the item that this one specifies, -1 for none.
	specifies int
	demands   flags
}

type check struct {
	*Check
	item int
	when *rule.Rule
}

// compiler holds what is needed while a form is compiled.
type compiler struct {
	form  *Form
	parts Parts
	lists map[string][]Option
}

// Compile validates a definition and makes it ready for use. It refuses a definition that could not be used as it stands,
// with the kind's code, or invalid_rule for a rule; Field names the part, such as items[2].options. The definition is
// copied.
func (k Kind) Compile(d *Definition) (*Form, error) { return k.CompileWithin(d, Surroundings{}) }

// CompileWithin is Compile for a form that is part of a casebook: its rules may also name what surrounds it.
func (k Kind) CompileWithin(d *Definition, around Surroundings) (*Form, error) {
	f := &Form{kind: k, around: around}
	c := &compiler{form: f, parts: Parts{Code: k.Code}}
	encoded, err := json.Marshal(d)
	if err != nil {
		return nil, c.parts.Invalid("items", "the definition holds a number that cannot be written: %v", err)
	}
	if err := json.Unmarshal(encoded, &f.definition); err != nil {
		return nil, fmt.Errorf("copy the definition of %s: %w", d.ID, err)
	}
	for _, part := range []func() error{c.head, c.languages, c.title, c.codeLists, c.items, c.specified, c.rules, c.derivations, c.checks} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	f.prepare()
	return f, nil
}

// prepare notes what an evaluation would otherwise have to look for.
func (f *Form) prepare() {
	for n := range f.items {
		it := &f.items[n]
		if it.asked != nil {
			f.skippable = append(f.skippable, n)
		}
		if it.specifies >= 0 {
			f.specifying = append(f.specifying, n)
		}
		if it.Required || it.specifies >= 0 {
			it.demands |= mandatory
		}
		if it.SoftMin != nil || it.SoftMax != nil {
			it.demands |= expected
		}
	}
	f.plain = f.kind.DaysAsText && len(f.checks) == 0 && len(f.derived) == 0 && !f.units
}

// Definition returns the definition that the form was made of. It is shared: do not change it.
func (f *Form) Definition() *Definition { return &f.definition }

// Index returns the place of an item in the form.
func (f *Form) Index(id ItemID) (int, bool) {
	n, ok := f.index[id]
	return n, ok
}

// HasPoints says whether answers of the type count as a number: numbers, booleans and choices do.
func (t ItemType) HasPoints() bool {
	return t == Integer || t == Decimal || t == Boolean || t == Choice
}

// Points returns what a recorded answer of the item in this place counts: a number as it is, a choice by the rank of its
// option, a boolean as 1 or 0. ok is false where it counts nothing.
func (f *Form) Points(n int, answer any) (points float64, ok bool) {
	if number, isNumber := answer.(float64); isNumber {
		return number, true
	}
	return f.items[n].points(answer)
}

func (it *item) points(answer any) (points float64, ok bool) {
	switch answer := answer.(type) {
	case string:
		points, ok = it.ranks[answer]
		return points, ok
	case bool:
		if answer {
			return 1, true
		}
		return 0, true
	default:
		return 0, false
	}
}

func (c *compiler) head() error {
	d := &c.form.definition
	if err := c.parts.Name("id", "a form's id", d.ID); err != nil {
		return err
	}
	if d.Version < 0 {
		return c.parts.Invalid("version", "the version is %d", d.Version)
	}
	return nil
}

func (c *compiler) title() error {
	return c.text("title", c.form.definition.Title, maxTitleChars, false)
}

func (c *compiler) items() error {
	f := c.form
	items := f.definition.Items
	if err := c.parts.Count("items", len(items), 1, maxItems); err != nil {
		return err
	}
	f.items, f.index, f.variables = make([]item, 0, len(items)), make(map[ItemID]int, len(items)), make(map[string]rule.Type, len(items))
	for n := range items {
		it, at := &items[n], indexed("items", n)
		if err := c.parts.Variable(at+".id", string(it.ID)); err != nil {
			return err
		}
		if _, taken := f.index[it.ID]; taken {
			return c.parts.Invalid(at+".id", "the item %s is defined twice", it.ID)
		}
		compiled, err := c.item(at, it)
		if err != nil {
			return err
		}
		if f.kind.TopDown && it.AskedWhen != "" {
			// Only earlier items are declared: rules that point at each other would have no answer.
			if compiled.asked, err = f.compileRule(at+".askedWhen", it.AskedWhen, rule.Variables{Answers: f.variables}); err != nil {
				return err
			}
		}
		f.index[it.ID] = n
		f.items = append(f.items, compiled)
		f.variables[string(it.ID)] = f.kind.ruleType(it.Type)
	}
	return nil
}

// item checks all of an item but what it names of other items.
func (c *compiler) item(at string, it *Item) (item, error) {
	compiled := item{Item: it, specifies: -1}
	if err := c.text(at+".text", it.Text, maxTextChars, false); err != nil {
		return item{}, err
	}
	if err := c.text(at+".help", it.Help, maxTextChars, true); err != nil {
		return item{}, err
	}
	if err := c.parts.AtMost(at+".unit", it.Unit, maxValueChars); err != nil {
		return item{}, err
	}
	if !c.form.kind.has(it.Type) {
		return item{}, c.parts.Invalid(at+".type", "%q is not a type of answer", shortened(string(it.Type)))
	}
	if err := c.number(at, it); err != nil {
		return item{}, err
	}
	selects := it.Type == Choice || it.Type == Multi
	switch {
	case !selects && len(it.Options) > 0:
		return item{}, c.parts.Invalid(at+".options", "options are for a choice; %s is of type %s", it.ID, it.Type)
	case !selects && it.List != "":
		return item{}, c.parts.Invalid(at+".list", "a code list is for a choice; %s is of type %s", it.ID, it.Type)
	case it.Type != Text && it.MaxChars != 0:
		return item{}, c.parts.Invalid(at+".maxChars", "a length is for texts; %s is of type %s", it.ID, it.Type)
	case it.MaxChars < 0 || it.MaxChars > rule.MaxTextChars:
		return item{}, c.parts.Invalid(at+".maxChars", "a text can have 1 to %d characters", rule.MaxTextChars)
	case selects:
		if err := c.choice(at, it, &compiled); err != nil {
			return item{}, err
		}
	}
	return compiled, c.otherUnits(at+".units", it, &compiled)
}

func (c *compiler) number(at string, it *Item) error {
	switch {
	case !it.numeric() && (it.Min != nil || it.Max != nil):
		return c.parts.Invalid(at+".min", "a range is for numbers; %s is of type %s", it.ID, it.Type)
	case !it.numeric() && (it.SoftMin != nil || it.SoftMax != nil):
		return c.parts.Invalid(at+".softMin", "a range is for numbers; %s is of type %s", it.ID, it.Type)
	case above(it.Min, it.Max):
		return c.parts.Invalid(at+".min", "the smallest number of %s is above its largest", it.ID)
	case above(it.SoftMin, it.SoftMax):
		return c.parts.Invalid(at+".softMin", "the smallest number of %s without a query is above its largest", it.ID)
	case above(it.Min, it.SoftMin) || above(it.SoftMin, it.Max):
		return c.parts.Invalid(at+".softMin", "the range of %s without a query reaches beyond what is allowed", it.ID)
	case above(it.SoftMax, it.Max) || above(it.Min, it.SoftMax):
		return c.parts.Invalid(at+".softMax", "the range of %s without a query reaches beyond what is allowed", it.ID)
	case it.Decimals != nil && it.Type != Decimal:
		return c.parts.Invalid(at+".decimals", "decimals are for decimal numbers; %s is of type %s", it.ID, it.Type)
	case it.Decimals != nil && (*it.Decimals < 0 || *it.Decimals > maxDecimals):
		return c.parts.Invalid(at+".decimals", "a number can have 0 to %d decimals", maxDecimals)
	}
	return nil
}

// above says whether the lower bound lies above the upper; a bound that is not there bounds nothing.
func above(lower, upper *float64) bool { return lower != nil && upper != nil && *lower > *upper }

// rules compiles the skip rules of forms that are not filled in from the top.
func (c *compiler) rules() error {
	f := c.form
	for n := range f.items {
		it := &f.items[n]
		if it.AskedWhen == "" || it.asked != nil {
			continue
		}
		others := make(map[string]rule.Type, len(f.variables))
		for name, t := range f.variables {
			if name != string(it.ID) {
				others[name] = t
			}
		}
		var err error
		if it.asked, err = f.compileRule(indexed("items", n)+".askedWhen", it.AskedWhen, rule.Variables{Answers: others}); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) checks() error {
	f := c.form
	checks := f.definition.Checks
	if err := c.parts.Count("checks", len(checks), 0, maxChecks); err != nil {
		return err
	}
	seen := map[string]bool{}
	for n := range checks {
		ch, at := &checks[n], indexed("checks", n)
		if err := c.parts.Name(at+".id", "a check's id", ch.ID); err != nil {
			return err
		}
		if seen[ch.ID] {
			return c.parts.Invalid(at+".id", "the check %s is defined twice", ch.ID)
		}
		seen[ch.ID] = true
		home, ok := f.index[ch.Item]
		if !ok {
			return c.parts.Invalid(at+".item", "the check %s is about %q, which is not an item", ch.ID, shortened(string(ch.Item)))
		}
		if ch.Effect != EffectQuery && ch.Effect != EffectHardStop {
			return c.parts.Invalid(at+".effect", "%q is not an effect; query and hardStop are", shortened(string(ch.Effect)))
		}
		if err := c.text(at+".message", ch.Message, maxLabelChars, false); err != nil {
			return err
		}
		when, err := f.CompileRule(at+".when", ch.When, nil)
		if err != nil {
			return err
		}
		f.checks = append(f.checks, check{Check: ch, item: home, when: when})
	}
	return nil
}

func (k Kind) has(t ItemType) bool {
	if len(k.Types) > 0 {
		return slices.Contains(k.Types, t)
	}
	switch t {
	case Integer, Decimal, Text, Boolean, Choice, Multi, Date, Time, Datetime, PartialDate, PartialDatetime, File:
		return true
	default:
		return false
	}
}

func (it *Item) numeric() bool { return it.Type == Integer || it.Type == Decimal }
