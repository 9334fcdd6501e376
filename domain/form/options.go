package form

import "slices"

func (c *compiler) codeLists() error {
	lists := c.form.definition.Lists
	if err := c.parts.Count("lists", len(lists), 0, maxLists); err != nil {
		return err
	}
	c.lists = make(map[string][]Option, len(lists))
	for n := range lists {
		l, at := &lists[n], indexed("lists", n)
		if err := c.parts.Name(at+".id", "a code list's id", l.ID); err != nil {
			return err
		}
		if _, taken := c.lists[l.ID]; taken {
			return c.parts.Invalid(at+".id", "the code list %s is defined twice", l.ID)
		}
		if err := c.options(at+".options", "code list "+l.ID, l.Options, maxListOptions); err != nil {
			return err
		}
		c.lists[l.ID] = l.Options
	}
	return nil
}

func (c *compiler) options(at, of string, options []Option, most int) error {
	if err := c.parts.Count(at, len(options), 1, most); err != nil {
		return err
	}
	seen := make(map[string]bool, len(options))
	for n, o := range options {
		at := indexed(at, n)
		if err := c.parts.Required(at+".value", o.Value, maxValueChars); err != nil {
			return err
		}
		// An option without a label is shown as its value, where there are no languages.
		if err := c.text(at+".label", o.Label, maxLabelChars, len(c.form.definition.Languages) == 0); err != nil {
			return err
		}
		if seen[o.Value] {
			return c.parts.Invalid(at+".value", "the %s has the option %q twice", of, o.Value)
		}
		seen[o.Value] = true
	}
	return nil
}

func (c *compiler) choice(at string, it *Item, compiled *item) error {
	if it.List != "" && len(it.Options) > 0 {
		return c.parts.Invalid(at+".list", "%s has options and the code list %s; it can have one of them", it.ID, shortened(it.List))
	}
	compiled.options = it.Options
	if it.List != "" {
		options, ok := c.lists[it.List]
		if !ok {
			return c.parts.Invalid(at+".list", "%s uses the code list %q, which the form does not have", it.ID, shortened(it.List))
		}
		compiled.options = options
	} else if err := c.options(at+".options", "item "+string(it.ID), it.Options, maxOptions); err != nil {
		return err
	}
	compiled.choices, compiled.ranks = make(map[string]int, len(compiled.options)), map[string]float64{}
	for n, o := range compiled.options {
		compiled.choices[o.Value] = n
		if o.Rank != nil && it.Type == Choice {
			compiled.ranks[o.Value] = *o.Rank
		}
	}
	return nil
}

// specified ties each item whose list has an option like "other" to the text item that says what it is.
func (c *compiler) specified() error {
	f := c.form
	for n := range f.items {
		it, at := &f.items[n], indexed("items", n)+".specifiedBy"
		hasOther := slices.ContainsFunc(it.options, func(o Option) bool { return o.Other })
		if it.SpecifiedBy == "" {
			if hasOther {
				return c.parts.Invalid(at, "%s has an option for what its list does not have, and no item that says what that is", it.ID)
			}
			continue
		}
		place, ok := f.index[it.SpecifiedBy]
		switch {
		case !hasOther:
			return c.parts.Invalid(at, "%s has no option for what its list does not have", it.ID)
		case !ok:
			return c.parts.Invalid(at, "%s is specified by %q, which is not an item", it.ID, shortened(string(it.SpecifiedBy)))
		case f.items[place].Type != Text || f.items[place].AskedWhen != "" || f.items[place].Derivation != "":
			return c.parts.Invalid(at, "%s is specified by %s, which is not a text without a rule of its own", it.ID, it.SpecifiedBy)
		case f.items[place].specifies >= 0:
			return c.parts.Invalid(at, "%s specifies %s already", it.SpecifiedBy, f.items[f.items[place].specifies].ID)
		case f.kind.TopDown && place < n:
			return c.parts.Invalid(at, "%s is specified by %s, which is asked before it", it.ID, it.SpecifiedBy)
		}
		f.items[place].specifies = n
	}
	return nil
}
