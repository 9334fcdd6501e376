package build

import (
	"fmt"
	"slices"

	"casebook/domain/form"
	"casebook/domain/refuse"
)

// reserved are the names that rules have for something else than a group.
var reserved = []string{form.Answers, "at", "prev", "rows", "days", "date", "time", "has", "size", "contains", "startsWith", "endsWith",
	"exists", "all", "filter", "int", "double", "casebook"}

// validForm refuses a form whose own names and numbers are not well formed. What it names of other parts, and its rules,
// are looked at with the whole build.
func validForm(at string, f *Form) error {
	if err := parts.Variable(at+".id", f.ID); err != nil {
		return err
	}
	if f.Kind != VisitForm && f.Kind != LogForm {
		return parts.Invalid(at+".kind", "%q is not a kind of form; visit and log are", refuse.Shortened(string(f.Kind)))
	}
	if err := validRepeats(at+".repeats", f.Repeats); err != nil {
		return err
	}
	if err := parts.Count(at+".groups", len(f.Groups), 1, maxGroups); err != nil {
		return err
	}
	seen := map[string]bool{}
	for n := range f.Groups {
		g, at := &f.Groups[n], fmt.Sprintf("%s.groups[%d]", at, n)
		if err := parts.Variable(at+".id", g.ID); err != nil {
			return err
		}
		if slices.Contains(reserved, g.ID) || seen[g.ID] {
			return parts.Invalid(at+".id", "the name %s is there twice, or rules have it for something else", g.ID)
		}
		seen[g.ID] = true
		if err := validRepeats(at+".repeats", g.Repeats); err != nil {
			return err
		}
		if err := parts.Count(at+".items", len(g.Items), 1, maxItems); err != nil {
			return err
		}
		if err := validItems(at, g); err != nil {
			return err
		}
	}
	return nil
}

func validItems(at string, g *Group) error {
	for n := range g.Items {
		it, at := &g.Items[n], fmt.Sprintf("%s.items[%d]", at, n)
		if err := parts.Variable(at+".id", string(it.ID)); err != nil {
			return err
		}
		if slices.ContainsFunc(g.Items[:n], func(other Item) bool { return other.ID == it.ID }) {
			return parts.Invalid(at+".id", "the item %s is defined twice", it.ID)
		}
		if it.Role != "" && !slices.Contains(Roles, it.Role) {
			return parts.Invalid(at+".role", "%q is not a role of an item", refuse.Shortened(string(it.Role)))
		}
		for field, text := range map[string]string{"oid": it.OID, "blinding": it.Blinding, "dictionary": it.Dictionary, "origin": it.Origin} {
			if err := parts.AtMost(at+"."+field, text, maxOIDChars); err != nil {
				return err
			}
		}
	}
	return nil
}

const maxOIDChars = 100

func validRepeats(at string, r *Repeats) error {
	switch {
	case r == nil:
		return nil
	case r.Kind != RepeatsSimple && r.Kind != RepeatsDynamic && r.Kind != RepeatsStatic:
		return parts.Invalid(at+".kind", "%q is not a kind of repetition; simple, dynamic and static are", refuse.Shortened(string(r.Kind)))
	case r.Min < 0 || r.Max < 0 || r.Max > maxRows || r.Min > r.most():
		return parts.Invalid(at+".min", "there can be %d to %d; the fewest is not above the most, and the most not above %d", r.Min, r.Max,
			maxRows)
	}
	return nil
}

func validSchedule(s *Schedule) error {
	if err := parts.Count("schedule.visits", len(s.Visits), 1, maxVisits); err != nil {
		return err
	}
	common := 0
	for n := range s.Visits {
		v, at := &s.Visits[n], fmt.Sprintf("schedule.visits[%d]", n)
		if err := parts.Name(at+".id", "a visit's id", v.ID); err != nil {
			return err
		}
		switch {
		case slices.ContainsFunc(s.Visits[:n], func(other Visit) bool { return other.ID == v.ID }):
			return parts.Invalid(at+".id", "the visit %s is there twice", v.ID)
		case v.Kind != VisitScheduled && v.Kind != VisitUnscheduled && v.Kind != VisitCommon:
			return parts.Invalid(at+".kind", "%q is not a kind of visit; scheduled, unscheduled and common are", refuse.Shortened(string(v.Kind)))
		case v.Kind != VisitScheduled && (v.Anchor != nil || v.Day != 0 || v.Before != 0 || v.After != 0):
			return parts.Invalid(at+".day", "the visit %s is not planned, and has a day", v.ID)
		case v.Before < 0 || v.After < 0 || v.Before > maxDays || v.After > maxDays || v.Day < -maxDays || v.Day > maxDays:
			return parts.Invalid(at+".day", "the days of the visit %s lie beyond %d", v.ID, maxDays)
		case len(v.Forms) > maxForms:
			return parts.Invalid(at+".forms", "there are %d forms", len(v.Forms))
		}
		if v.Kind == VisitCommon {
			common++
		}
		for i, f := range v.Forms {
			if slices.Contains(v.Forms[:i], f) {
				return parts.Invalid(fmt.Sprintf("%s.forms[%d]", at, i), "the form %s is there twice; let it repeat instead", refuse.Shortened(f))
			}
		}
	}
	if common > 1 {
		return parts.Invalid("schedule.visits", "there are %d visits of the kind common, which is the place of what belongs to no visit", common)
	}
	return nil
}

// maxDays is a century, longer than any follow-up.
const maxDays = 36_525
