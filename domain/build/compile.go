package build

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"casebook/domain/canonical"
	"casebook/domain/form"
	"casebook/domain/refuse"
	"casebook/domain/rule"
	"casebook/domain/rule/bounded"
)

// Compiled is a definition that has been found valid, with all its rules compiled. It never changes and is safe for
// concurrent use.
type Compiled struct {
	definition *Definition
	forms      map[string]*Form
	groups     map[string]*CompiledGroup
	visits     map[string]*CompiledVisit
	// order are the groups of derived items, each after those that it is derived from.
	derived []Home
}

// Home is an item in its group.
type Home struct {
	Group string
	Item  form.ItemID
}

// CompiledGroup is a group of items, ready to be filled in.
type CompiledGroup struct {
	*Group
	// Of is the form that the group belongs to.
	Of *Form
	// Form evaluates one row of the group, or the group where it has no rows. Its checks are those whose home is here.
	Form *form.Form
	// Checks are the checks of Form, in the same order.
	Checks []*Check
	items  map[form.ItemID]*Item
}

// Item returns an item of the group, nil if it has none of that name.
func (g *CompiledGroup) Item(id form.ItemID) *Item { return g.items[id] }

// HasRows says whether there can be several of the group in a casebook, other than at several visits.
func (g *CompiledGroup) HasRows() bool { return g.Repeats != nil || g.Of.Repeats != nil }

// CompiledVisit is a visit of the schedule.
type CompiledVisit struct {
	*Visit
	// Takes is the compiled condition, nil where the visit always takes place.
	Takes *rule.Rule
}

// Definition returns what was compiled. It is shared: do not change it.
func (c *Compiled) Definition() *Definition { return c.definition }

// Form returns a form, nil if there is none of that name.
func (c *Compiled) Form(id string) *Form { return c.forms[id] }

// Group returns a group, nil if there is none of that name.
func (c *Compiled) Group(id string) *CompiledGroup { return c.groups[id] }

// Visit returns a visit, nil if there is none of that name.
func (c *Compiled) Visit(id string) *CompiledVisit { return c.visits[id] }

// Derived returns the derived items, each after those that it is derived from.
func (c *Compiled) Derived() []Home { return slices.Clone(c.derived) }

// compiled caches compiled builds by the hash of their definition: all patients of a study have the same few.
var compiled = bounded.New[[sha256.Size]byte, *Compiled](64)

// SHA256 returns the hash of the definition: the SHA-256 of its canonical JSON (RFC 8785, see package canonical), in
// lower-case hexadecimal. Forms, lists and sets of checks count in the order of their ids, so that the order in which they
// were put into the draft changes nothing.
func (d *Definition) SHA256() (string, error) { return canonical.SHA256(d.inOrder()) }

func (d *Definition) inOrder() *Definition {
	o := *d
	o.Forms, o.Lists, o.Checks = slices.Clone(d.Forms), slices.Clone(d.Lists), slices.Clone(d.Checks)
	slices.SortFunc(o.Forms, func(a, b Form) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(o.Lists, func(a, b form.CodeList) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(o.Checks, func(a, b CheckSet) int { return strings.Compare(a.ID, b.ID) })
	return &o
}

// Compile validates a definition as a whole and makes it ready for use. It copies the definition. Equal definitions may
// share what is compiled.
//
// It refuses, with the code invalid_build or, for a rule, invalid_rule, and with Field naming the part: names or OIDs that
// are there twice or that nothing has; items that their type, list or unit does not suit; derivations in a circle; rules
// that are not CEL, name what is not there, or could cost too much; mandatory derived items; texts that are missing in a
// language; and what would tell of a blinded item to those who may not see it.
func (d *Definition) Compile() (*Compiled, error) {
	encoded, err := json.Marshal(d.inOrder())
	if err != nil {
		return nil, parts.Invalid("build", "it holds a number that cannot be written: %v", err)
	}
	key := sha256.Sum256(encoded)
	if known, ok := compiled.Get(key); ok {
		return known, nil
	}
	var copied Definition
	if err := json.Unmarshal(encoded, &copied); err != nil {
		return nil, fmt.Errorf("copy a build: %w", err)
	}
	c := &compiler{Compiled: Compiled{definition: &copied, forms: map[string]*Form{}, groups: map[string]*CompiledGroup{},
		visits: map[string]*CompiledVisit{}}}
	for _, step := range []func() error{c.names, c.oids, c.texts, c.anchors, c.checksByGroup, c.declare, c.compileForms, c.compileVisits,
		c.orderDerived,
		c.blinding} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return compiled.Add(key, &c.Compiled), nil
}

type compiler struct {
	Compiled
	// checks are the checks by their home group, with the part of the build that each is in.
	checks map[string][]placed
	scope  *rule.Scope
	// bare are the groups compiled without their rules, for the types of their items.
	bare map[string]*form.Form
	// at are the groups that are collected at each visit, by form.
	at map[string][]string
}

type placed struct {
	*Check
	part string
}

// names finds every form, group, item and visit under its name, and refuses those that are there twice or missing.
func (c *compiler) names() error {
	d := c.definition
	if len(d.Forms) == 0 {
		return parts.Invalid("forms", "the build has no form")
	}
	for n := range d.Forms {
		f := &d.Forms[n]
		c.forms[f.ID] = f
		for g := range f.Groups {
			group := &CompiledGroup{Group: &f.Groups[g], Of: f, items: map[form.ItemID]*Item{}}
			part := fmt.Sprintf("forms.%s.groups[%d]", f.ID, g)
			if other, taken := c.groups[group.ID]; taken {
				return parts.Invalid(part+".id", "the group %s is in the form %s already; rules name items by their group alone", group.ID, other.Of.ID)
			}
			c.groups[group.ID] = group
			for i := range group.Items {
				it := &group.Items[i]
				group.items[it.ID] = it
				if it.List != "" && d.List(it.List) == nil {
					return parts.Invalid(fmt.Sprintf("%s.items[%d].list", part, i), "%s uses the code list %q, which the build does not have", it.ID,
						refuse.Shortened(it.List))
				}
			}
			for _, r := range []*Repeats{group.Repeats, f.Repeats} {
				if err := c.rowKey(part, group, r, r == f.Repeats); err != nil {
					return err
				}
			}
		}
	}
	for n := range d.Schedule.Visits {
		v := &d.Schedule.Visits[n]
		part := fmt.Sprintf("schedule.visits[%d]", n)
		c.visits[v.ID] = &CompiledVisit{Visit: v}
		for i, id := range v.Forms {
			f := c.forms[id]
			switch {
			case f == nil:
				return parts.Invalid(fmt.Sprintf("%s.forms[%d]", part, i), "the visit %s has the form %q, which the build does not have", v.ID,
					refuse.Shortened(id))
			case (f.Kind == LogForm) != (v.Kind == VisitCommon):
				return parts.Invalid(fmt.Sprintf("%s.forms[%d]", part, i), "the visit %s is of the kind %s, and the form %s of the kind %s", v.ID,
					v.Kind,
					f.ID, f.Kind)
			}
		}
	}
	return nil
}

// rowKey refuses a key of items that the group does not have, or that no list gives the rows of.
func (c *compiler) rowKey(part string, g *CompiledGroup, r *Repeats, ofForm bool) error {
	if r == nil || ofForm && g.Group != &g.Of.Groups[0] {
		return nil
	}
	for _, id := range r.Key {
		if g.items[id] == nil {
			return parts.Invalid(part+".repeats.key", "the rows of %s are told apart by %q, which is not an item of it", g.ID,
				refuse.Shortened(string(id)))
		}
		if of := g.items[id].Blinding; slices.ContainsFunc(g.Items, func(it Item) bool { return it.Blinding != of }) && of != "" {
			return parts.Invalid(part+".repeats.key", "the rows of %s are told apart by %s, which is blinded for some who see them", g.ID, id)
		}
	}
	if r.Kind == RepeatsSimple {
		return nil
	}
	if len(r.Key) != 1 || g.items[r.Key[0]].Type != form.Choice {
		return parts.Invalid(part+".repeats.key", "the rows of %s follow from a code list, so that its key is one choice", g.ID)
	}
	return nil
}

// oids refuses an OID that two parts of the same kind have.
func (c *compiler) oids() error {
	type owner struct{ kind, oid string }
	seen := map[owner]string{}
	unique := func(kind, part, id, oid string) error {
		if oid == "" {
			oid = id
		}
		if other, taken := seen[owner{kind, oid}]; taken {
			return parts.Invalid(part, "%s has the OID %q, as %s has", id, refuse.Shortened(oid), other)
		}
		seen[owner{kind, oid}] = id
		return nil
	}
	for _, f := range c.definition.Forms {
		if err := unique("form", "forms."+f.ID+".oid", f.ID, f.OID); err != nil {
			return err
		}
		for n, g := range f.Groups {
			if err := unique("group", fmt.Sprintf("forms.%s.groups[%d].oid", f.ID, n), g.ID, g.OID); err != nil {
				return err
			}
			for i, it := range g.Items {
				// One item of ODM can be in several groups.
				if err := unique("item of "+g.ID, fmt.Sprintf("forms.%s.groups[%d].items[%d].oid", f.ID, n, i), string(it.ID), it.OID); err != nil {
					return err
				}
			}
		}
	}
	for n, v := range c.definition.Schedule.Visits {
		if err := unique("visit", fmt.Sprintf("schedule.visits[%d].oid", n), v.ID, v.OID); err != nil {
			return err
		}
	}
	return nil
}

// texts refuses the titles that package form does not see where they are missing in a language.
func (c *compiler) texts() error {
	for _, f := range c.definition.Forms {
		if err := c.text("forms."+f.ID+".title", f.Title); err != nil {
			return err
		}
	}
	for n, v := range c.definition.Schedule.Visits {
		if err := c.text(fmt.Sprintf("schedule.visits[%d].title", n), v.Title); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) text(part string, t form.Translation) error {
	languages := c.definition.Languages
	if len(languages) == 0 {
		languages = []string{""}
	}
	for _, l := range languages {
		if err := parts.Required(part, t[l], maxTitleChars); err != nil {
			if l != "" && t[l] == "" {
				return parts.Invalid(part, "it is missing in the language %s", l)
			}
			return err
		}
	}
	if len(t) > len(languages) {
		return parts.Invalid(part, "it has languages that the build does not have")
	}
	return nil
}

const maxTitleChars = 300

// anchors refuses anchors that are not there, and visits whose days are counted from each other.
func (c *compiler) anchors() error {
	for n := range c.definition.Schedule.Visits {
		v := &c.definition.Schedule.Visits[n]
		part := fmt.Sprintf("schedule.visits[%d].anchor", n)
		if a := v.Anchor; a != nil && a.Item != "" {
			g := c.groups[a.Group]
			if g == nil || g.items[a.Item] == nil || g.items[a.Item].Type != form.Date {
				return parts.Invalid(part, "the days of %s are counted from %.80q.%.80q, which is not an item of the type date", v.ID, a.Group, a.Item)
			}
			if g.items[a.Item].Blinding != "" {
				return parts.Invalid(part, "the days of %s, which everybody sees, are counted from %s.%s, which is blinded", v.ID, a.Group, a.Item)
			}
		}
		seen := map[string]bool{}
		for at := v; at.Anchor != nil && at.Anchor.Visit != ""; {
			seen[at.ID] = true
			next := c.visits[at.Anchor.Visit]
			if next == nil {
				return parts.Invalid(part, "the days of %s are counted from the visit %q, which there is not", at.ID, refuse.Shortened(at.Anchor.Visit))
			}
			if at = next.Visit; seen[at.ID] {
				return parts.Invalid(part, "the days of %s are counted from itself", at.ID)
			}
		}
	}
	return nil
}

// checksByGroup sorts the checks by their home.
func (c *compiler) checksByGroup() error {
	c.checks = map[string][]placed{}
	seen := map[string]string{}
	for s := range c.definition.Checks {
		set := &c.definition.Checks[s]
		for n := range set.Checks {
			ch, part := &set.Checks[n], fmt.Sprintf("checks.%s.checks[%d]", set.ID, n)
			if other, taken := seen[ch.ID]; taken {
				return parts.Invalid(part+".id", "the check %s is in the set %s already", ch.ID, other)
			}
			seen[ch.ID] = set.ID
			g := c.groups[ch.Group]
			if g == nil || g.items[ch.Item] == nil {
				return parts.Invalid(part+".item", "the check %s is about %.80q.%.80q, which is not an item", ch.ID, ch.Group, ch.Item)
			}
			for _, id := range ch.Visits {
				v := c.visits[id]
				if v == nil || !slices.Contains(v.Forms, g.Of.ID) {
					return parts.Invalid(part+".visits", "the check %s is for the visit %q, at which the form %s is not filled in", ch.ID,
						refuse.Shortened(id), g.Of.ID)
				}
			}
			c.checks[ch.Group] = append(c.checks[ch.Group], placed{Check: ch, part: part})
		}
	}
	return nil
}

// asForm is a group as a form of package form, with or without its rules.
func (c *compiler) asForm(g *CompiledGroup, withRules bool) *form.Definition {
	d := &form.Definition{ID: g.ID, Title: g.Title, Languages: c.definition.Languages}
	lists := map[string]bool{}
	for n := range g.Items {
		it := g.Items[n].Item
		if !withRules {
			it.AskedWhen, it.Derivation = "", ""
		}
		d.Items = append(d.Items, it)
		if it.List != "" && !lists[it.List] {
			lists[it.List] = true
			d.Lists = append(d.Lists, *c.definition.List(it.List))
		}
	}
	if withRules {
		for _, ch := range c.checks[g.ID] {
			d.Checks = append(d.Checks, form.Check{ID: ch.ID, Item: ch.Item, When: ch.When, Message: ch.Message, Effect: ch.Effect})
		}
	}
	return d
}

// declare finds out what rules can name: the types of all items, and which groups are where.
func (c *compiler) declare() error {
	c.bare, c.at = map[string]*form.Form{}, map[string][]string{}
	around := rule.Surroundings{Visits: map[string]rule.Variables{}, Previous: rule.Variables{}, Rows: rule.Variables{}}
	for _, id := range c.groupIDs() {
		g := c.groups[id]
		bare, err := form.CaseReport.Compile(c.asForm(g, false))
		if err != nil {
			return c.placed(g, err)
		}
		c.bare[id] = bare
		switch {
		case g.HasRows():
			around.Rows[id] = bare.RuleTypes()
		case g.Of.Kind == VisitForm:
			around.Previous[id] = bare.RuleTypes()
		}
	}
	for id, v := range c.visits {
		for _, f := range v.Forms {
			c.at[f] = append(c.at[f], id)
		}
		if v.Kind == VisitUnscheduled {
			continue // there can be several, so that at() could not say which
		}
		collected := rule.Variables{}
		for _, f := range v.Forms {
			for n := range c.forms[f].Groups {
				if g := c.groups[c.forms[f].Groups[n].ID]; !g.HasRows() {
					collected[g.ID] = c.bare[g.ID].RuleTypes()
				}
			}
		}
		around.Visits[id] = collected
	}
	var err error
	c.scope, err = rule.Within(around)
	return err
}

func (c *compiler) groupIDs() []string { return slices.Sorted(maps.Keys(c.groups)) }

// together are the groups that rules of a group name by their id alone: those without rows that are filled in at one of
// the visits at which this one is.
func (c *compiler) together(g *CompiledGroup) rule.Variables {
	groups := rule.Variables{}
	for id, other := range c.groups {
		if id == g.ID || other.HasRows() {
			continue
		}
		if other.Of == g.Of || slices.ContainsFunc(c.at[g.Of.ID], func(v string) bool { return slices.Contains(c.at[other.Of.ID], v) }) {
			groups[id] = c.bare[id].RuleTypes()
		}
	}
	return groups
}

func (c *compiler) compileForms() error {
	options := func(group, item string) ([]string, bool) {
		if bare := c.bare[group]; bare != nil {
			return bare.OptionsOf(form.ItemID(item))
		}
		return nil, false
	}
	for _, id := range c.groupIDs() {
		g := c.groups[id]
		f, err := form.CaseReport.CompileWithin(c.asForm(g, true), form.Surroundings{Scope: c.scope, Groups: c.together(g), Options: options})
		if err != nil {
			return c.placed(g, err)
		}
		g.Form = f
		for _, ch := range c.checks[id] {
			g.Checks = append(g.Checks, ch.Check)
		}
	}
	return nil
}

// placed names the part of the build that a refusal of a group is about.
func (c *compiler) placed(g *CompiledGroup, err error) error {
	r, ok := refuse.As(err)
	if !ok {
		return err
	}
	if r.Code == form.CaseReport.Code {
		r = refuse.Because(parts.Code, "%s", r.Sentence).Do(r.Remedy).At(r.Field)
	}
	var n int
	var rest string
	if found, _ := fmt.Sscanf(r.Field, "checks[%d]%s", &n, &rest); found > 0 && n < len(c.checks[g.ID]) {
		return r.At(c.checks[g.ID][n].part + rest)
	}
	for n := range g.Of.Groups {
		if &g.Of.Groups[n] == g.Group {
			return r.At(fmt.Sprintf("forms.%s.groups[%d].%s", g.Of.ID, n, r.Field))
		}
	}
	return r
}

func (c *compiler) compileVisits() error {
	for n := range c.definition.Schedule.Visits {
		v := c.visits[c.definition.Schedule.Visits[n].ID]
		if v.Condition == "" {
			continue
		}
		takes, err := c.scope.Compile(v.Condition, nil)
		if err != nil {
			if r, ok := refuse.As(err); ok {
				return r.At(fmt.Sprintf("schedule.visits[%d].condition", n))
			}
			return err
		}
		v.Takes = takes
	}
	return nil
}

// homeOf returns the item that a variable of a group's rule is.
func homeOf(group string, v rule.Variable) Home {
	if v.Group == form.Answers && v.Visit == "" && !v.Previous && !v.InRows {
		return Home{Group: group, Item: form.ItemID(v.Name)}
	}
	return Home{Group: v.Group, Item: form.ItemID(v.Name)}
}

// orderDerived orders the derived items of the whole build. It refuses items that are derived from themselves, over however
// many forms and visits: an item at one visit is taken for the same as at another.
func (c *compiler) orderDerived() error {
	const (
		underway = 1
		taken    = 2
	)
	state := map[Home]int{}
	var path []string
	var visit func(h Home) error
	visit = func(h Home) error {
		g := c.groups[h.Group]
		place, ok := g.Form.Index(h.Item)
		if !ok || g.items[h.Item].Derivation == "" || state[h] == taken {
			return nil
		}
		path = append(path, h.Group+"."+string(h.Item))
		defer func() { path = path[:len(path)-1] }()
		if state[h] == underway {
			return c.placed(g, parts.Invalid(fmt.Sprintf("items[%d].derivation", place), "an item is derived from itself: %s",
				strings.Join(path[slices.Index(path, path[len(path)-1]):], " from ")))
		}
		state[h] = underway
		for _, v := range g.Form.DerivedFrom(place) {
			if v.Name == "" {
				continue // the number of rows
			}
			if err := visit(homeOf(h.Group, v)); err != nil {
				return err
			}
		}
		state[h] = taken
		c.derived = append(c.derived, h)
		return nil
	}
	for _, id := range c.groupIDs() {
		for n := range c.groups[id].Items {
			if err := visit(Home{Group: id, Item: c.groups[id].Items[n].ID}); err != nil {
				return err
			}
		}
	}
	return nil
}

// blinding refuses what would tell of a blinded item to those who may not see it: an item that is derived from it or asked
// because of it, a visit that takes place because of it, and a check that looks at it or names it in its message.
func (c *compiler) blinding() error {
	for _, id := range c.groupIDs() {
		g := c.groups[id]
		for n := range g.Items {
			it := &g.Items[n]
			for what, variables := range map[string][]rule.Variable{"derivation": g.Form.DerivedFrom(n), "askedWhen": g.Form.AskedBy(n)} {
				if from := c.hidden(id, it.Blinding, variables); from != "" {
					return c.placed(g, parts.Invalid(fmt.Sprintf("items[%d].%s", n, what), "%s follows from %s, which is blinded for those who see %s",
						it.ID, from, it.ID))
				}
			}
		}
		for n, ch := range c.checks[id] {
			if from := c.hidden(id, ch.Blinding, append(g.Form.Checked(n), rule.Variable{Group: form.Answers, Name: string(ch.Item)})); from != "" {
				return parts.Invalid(ch.part, "the check %s looks at %s, which is blinded for those who see its queries", ch.ID, from)
			}
			if named := c.namedIn(ch.Message, ch.Blinding); named != "" {
				return parts.Invalid(ch.part+".message", "the message of %s names %s, which is blinded for those who read it", ch.ID, named)
			}
		}
	}
	for n := range c.definition.Schedule.Visits {
		v := c.visits[c.definition.Schedule.Visits[n].ID]
		if v.Takes == nil {
			continue
		}
		if from := c.hidden("", "", v.Takes.Variables()); from != "" {
			return parts.Invalid(fmt.Sprintf("schedule.visits[%d].condition", n), "%s takes place because of %s, which is blinded", v.ID, from)
		}
	}
	return nil
}

// hidden returns the first item among variables that those of a class may not see, "" for none.
func (c *compiler) hidden(group, class string, variables []rule.Variable) string {
	for _, v := range variables {
		h := homeOf(group, v)
		if g := c.groups[h.Group]; v.InRows && v.Name == "" && g != nil {
			// How many rows there are, everybody knows who sees anything of them.
			if !slices.ContainsFunc(g.Items, func(it Item) bool { return it.visibleTo(class) }) {
				return h.Group
			}
			continue
		}
		if g := c.groups[h.Group]; g != nil && g.items[h.Item] != nil && !g.items[h.Item].visibleTo(class) {
			return h.Group + "." + string(h.Item)
		}
	}
	return ""
}

// visibleTo says whether those of a class see the item.
func (it *Item) visibleTo(class string) bool { return it.Blinding == "" || it.Blinding == class }

// namedIn returns the first item that a message names, by its name or its question, and that those of a class may not see.
func (c *compiler) namedIn(message form.Translation, class string) string {
	for _, id := range c.groupIDs() {
		for n := range c.groups[id].Items {
			it := &c.groups[id].Items[n]
			if it.visibleTo(class) {
				continue
			}
			for language, text := range message {
				question := it.Text[language]
				if hasWord(text, string(it.ID)) || question != "" && strings.Contains(strings.ToLower(text), strings.ToLower(question)) {
					return id + "." + string(it.ID)
				}
			}
		}
	}
	return ""
}

// hasWord says whether a text has a word, in capital or small letters.
func hasWord(text, word string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(text, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}), func(one string) bool { return strings.EqualFold(one, word) })
}
