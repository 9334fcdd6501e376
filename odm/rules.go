package odm

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"casebook/domain/build"
	"casebook/domain/form"
)

// rules gives the items their ranges, skip rules and derivations, and the build its checks.
func (m *mapping) rules() {
	var checks []build.Check
	for _, i := range m.version.Items {
		for _, h := range m.homes[i.OID] {
			group := &m.definition.Forms[h.form].Groups[h.group]
			item := &group.Items[h.item]
			if c, has := find(m.version.Conditions, h.ref.Exception, func(c Condition) string { return c.OID }); has {
				if rule, ok := m.cel(c.Expressions, h, "ConditionDef", c.OID, "bool"); ok {
					item.AskedWhen = not(rule)
				}
			}
			if method, has := find(m.version.Methods, h.ref.Method, func(x Method) string { return x.OID }); has {
				item.Derivation, _ = m.cel(method.Expressions, h, "MethodDef", method.OID, "")
			}
			for n := range i.Checks {
				if c, is := m.check(&i.Checks[n], n, h, group, item); is {
					checks = append(checks, c)
				}
			}
		}
	}
	if len(checks) > 0 {
		m.definition.Checks = []build.CheckSet{{ID: "odm", Checks: checks}}
	}
}

var negated = regexp.MustCompile(`^!\(([^()]*)\)$`)

// not inverts a rule: in ODM a condition says when nothing is collected, here when an item is asked.
func not(rule string) string {
	if inner := negated.FindStringSubmatch(rule); inner != nil {
		return inner[1]
	}
	return "!(" + rule + ")"
}

// cel returns the first expression that can be executed, in CEL. Of is the type that it needs to have; any if empty.
func (m *mapping) cel(expressions []Expression, h home, construct, oid, of string) (string, bool) {
	for _, x := range expressions {
		code := strings.TrimSpace(x.Code)
		switch x.Context {
		case ContextCEL:
			return code, true
		case "OpenEDC":
			if result, ok := translate(code, func(name string) (operand, bool) { return m.named(name, h) }); ok && (of == "" || result.of == of) {
				return result.cel, true
			}
		}
	}
	m.found(KeptUnused, "expression_inert", construct, oid, "Its expressions are in no language that is executed; write the rule in CEL.")
	return "", false
}

// named is what an expression of OpenEDC means by an OID: an item of the same group, or else of another; with the group's OID
// and a hyphen before it, an item of that group.
func (m *mapping) named(name string, from home) (operand, bool) {
	var best *home
	for oid, homes := range m.homes {
		for n := range homes {
			h := &homes[n]
			own := h.form == from.form && h.group == from.group
			switch {
			case name != oid && name != h.from+"-"+oid:
			case own:
				best = h
			case best == nil || best.form != from.form && h.form == from.form:
				best = h
			}
		}
	}
	if best == nil {
		return operand{}, false
	}
	group := &m.definition.Forms[best.form].Groups[best.group]
	item := group.Items[best.item]
	x := operand{cel: group.ID + "." + string(item.ID), of: "other"}
	if best.form == from.form && best.group == from.group {
		x.cel = form.Answers + "." + string(item.ID)
	}
	switch item.Type {
	case form.Integer:
		x.of = "int"
	case form.Decimal:
		x.of = "double"
	case form.Boolean:
		x.of = "bool"
	case form.Text:
		x.of = "string"
	case form.Choice:
		if x.of = "string"; best.of.DataType == "integer" {
			x.of = "digits"
		}
	default:
	}
	return x, true
}

// operators are those of CEL by the comparators of ODM; one of several values is enough for IN.
var operators = map[string]string{"LT": "<", "LE": "<=", "GT": ">", "GE": ">=", "EQ": "==", "NE": "!=", "IN": "==", "NOTIN": "!="}

// check turns a range check into a bound of the item, where bounds say the same, or else into a check of the build.
func (m *mapping) check(r *RangeCheck, n int, h home, group *build.Group, item *build.Item) (build.Check, bool) {
	effect := form.EffectQuery
	lowest, highest := &item.SoftMin, &item.SoftMax
	if r.Strength == "Hard" {
		effect, lowest, highest = form.EffectHardStop, &item.Min, &item.Max
	}
	number := item.Type == form.Integer || item.Type == form.Decimal
	if bound, err := strconv.ParseFloat(strings.Join(r.Values, " "), 64); err == nil && number && len(r.Message) == 0 {
		switch {
		case r.Comparator == "GE" && *lowest == nil:
			*lowest = &bound
			return build.Check{}, false
		case r.Comparator == "LE" && *highest == nil:
			*highest = &bound
			return build.Check{}, false
		}
	}
	operator := operators[r.Comparator]
	c := build.Check{ID: fmt.Sprintf("%s-%s-%d", group.ID, item.ID, n+1), Group: group.ID, Item: item.ID, Effect: effect,
		Message: m.text(r.Message, fmt.Sprintf("%s %s %s", item.OID, operator, strings.Join(r.Values, ", ")))}
	if len(r.Expressions) > 0 {
		rule, ok := m.cel(r.Expressions, h, "RangeCheck", h.of.OID, "bool")
		c.When = not(rule)
		return c, ok
	}
	var holds []string
	for _, value := range r.Values {
		t := &translator{left: "x " + operator + " " + quoted(value), names: func(string) (operand, bool) { return m.named(h.of.OID, h) }}
		x := t.comparison()
		if t.failed {
			m.found(KeptUnused, "check_inert", "RangeCheck", h.of.OID, "The value cannot be compared with what the check names.")
			return build.Check{}, false
		}
		holds = append(holds, x.cel)
	}
	joined := " || "
	if r.Comparator == "NOTIN" || r.Comparator == "NE" {
		joined = " && "
	}
	c.When = "!(" + strings.Join(holds, joined) + ")"
	return c, len(holds) > 0
}

// schedule turns the visits into those of the build, with the windows that the timing constraints give.
func (m *mapping) schedule() {
	visits := map[string]string{}
	for _, v := range m.version.Visits {
		visits[v.OID] = m.name("visit", v.OID)
	}
	for _, v := range m.version.Visits {
		visit := build.Visit{ID: visits[v.OID], OID: v.OID, Title: m.text(v.Description, v.Name), Kind: build.VisitScheduled}
		if v.Type == "Unscheduled" || v.Repeating == "Yes" {
			visit.Kind = build.VisitUnscheduled
		}
		if v.Type == "Common" || v.Type == "Scheduled" && v.Repeating == "Yes" {
			m.found(Becomes, "visit_kind", "StudyEventDef", v.OID,
				"A visit of the type "+v.Type+", repeating "+v.Repeating+", is "+string(visit.Kind)+" here.")
		}
		for _, r := range v.Forms {
			if id, has := m.groups["form "+r.OID]; has {
				visit.Forms = append(visit.Forms, id)
			} else {
				m.found(KeptUnused, "not_a_crf", "StudyEventDef", v.OID, "The group "+short(r.OID)+" is not a form.")
			}
			if r.Exception != "" {
				m.found(KeptUnused, "kept_unused", "StudyEventDef", v.OID, "A build skips visits and items, not the form "+short(r.OID)+".")
			}
		}
		if visit.Kind == build.VisitScheduled && m.version.Protocol != nil {
			m.window(&visit, visits)
		}
		m.definition.Schedule.Visits = append(m.definition.Schedule.Visits, visit)
	}
	if m.version.Protocol == nil {
		return
	}
	for _, timing := range m.version.Protocol.Timings {
		for _, t := range timing.Absolute {
			m.found(KeptUnused, "timing_kept", "AbsoluteTimingConstraint", t.OID,
				"The date is the study's; a visit's window follows from the patient's days.")
		}
	}
}

func (m *mapping) window(visit *build.Visit, visits map[string]string) {
	for _, timing := range m.version.Protocol.Timings {
		for _, t := range timing.Relative {
			if t.Successor != visit.OID {
				continue
			}
			day, is := days(t.Target)
			before, isBefore := days(t.Before)
			after, isAfter := days(t.After)
			anchor := visits[t.Predecessor]
			if !is || !isBefore || !isAfter || anchor == "" || visit.Anchor != nil || t.Type != "" && t.Type != "StartToStart" {
				m.found(KeptUnused, "timing_kept", "RelativeTimingConstraint", t.OID, "A window is whole days from another visit to this one.")
				continue
			}
			visit.Anchor, visit.Day, visit.Before, visit.After = &build.Anchor{Visit: anchor}, day, before, after
		}
	}
}

var duration = regexp.MustCompile(`^P(?:([0-9]{1,4})W|([0-9]{1,5})D)$`)

// days returns a duration of days or weeks in days, 0 for none; false for others, as months and years have no length in days.
func days(text string) (int, bool) {
	found := duration.FindStringSubmatch(text)
	if found == nil {
		return 0, text == ""
	}
	weeks, _ := strconv.Atoi(found[1])
	single, _ := strconv.Atoi(found[2])
	return weeks*7 + single, true
}
