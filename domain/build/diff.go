package build

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"

	"casebook/domain"
)

// Change is one difference between two builds.
type Change struct {
	Kind ChangeKind `json:"kind" doc:"Whether it is new, gone or different"`
	Of   ChangedOf  `json:"of" doc:"What it is"`
	// Name is the name of a form, a group, a visit or a check, and GROUP.ITEM for an item.
	Name string `json:"name" example:"VS.SYSBP" doc:"Its name; that of an item with its group"`
	// Fields are the fields of its definition that differ.
	Fields []string `json:"fields,omitempty" doc:"What is different in it"`
	Effect Effect   `json:"effect" doc:"What becomes of what is recorded by the earlier build"`
}

// ChangeKind says whether something is new, gone or different.
type ChangeKind string

// The kinds of changes.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// Schema implements domain.HasSchema.
func (ChangeKind) Schema() domain.Schema { return domain.OneOf(Added, Removed, Changed) }

// ChangedOf is what has changed.
type ChangedOf string

// What can change.
const (
	ChangedForm  ChangedOf = "form"
	ChangedGroup ChangedOf = "group"
	ChangedItem  ChangedOf = "item"
	ChangedVisit ChangedOf = "visit"
	ChangedCheck ChangedOf = "check"
)

// Schema implements domain.HasSchema.
func (ChangedOf) Schema() domain.Schema {
	return domain.OneOf(ChangedForm, ChangedGroup, ChangedItem, ChangedVisit, ChangedCheck)
}

// Effect says what a change means for values that were recorded by the earlier build.
type Effect string

// The effects of changes.
const (
	// EffectNone leaves every recorded value as it is read.
	EffectNone Effect = "none"
	// EffectOrphans: recorded values have no place any more. They stay readable.
	EffectOrphans Effect = "orphans"
	// EffectMisfits: a recorded value may not be one that could be entered now.
	EffectMisfits Effect = "misfits"
	// EffectMissing: something may be missing in forms that were complete.
	EffectMissing Effect = "missing"
	// EffectQueries: recorded values may be asked about, or be asked about no more.
	EffectQueries Effect = "queries"
	// EffectDerives: derived values may become others.
	EffectDerives Effect = "derives"
)

// Effects are all effects, the gravest first.
var Effects = []Effect{EffectOrphans, EffectMisfits, EffectDerives, EffectMissing, EffectQueries, EffectNone}

// Schema implements domain.HasSchema.
func (Effect) Schema() domain.Schema { return domain.OneOf(Effects...) }

// effects are what follows from a change of a field of an item. Fields that are not here concern what people read.
var effects = map[string]Effect{
	"type": EffectMisfits, "unit": EffectMisfits, "units": EffectMisfits, "min": EffectMisfits, "max": EffectMisfits,
	"decimals": EffectMisfits,
	"options":  EffectMisfits, "list": EffectMisfits, "specifiedBy": EffectMissing, "maxChars": EffectMisfits, "derivation": EffectDerives,
	"askedWhen": EffectMissing, "required": EffectMissing, "softMin": EffectQueries, "softMax": EffectQueries, "blinding": EffectMisfits,
}

// Diff compares two builds, item by item: an item is the same in both if its group and its name are, wherever the group is.
// The changes are sorted by what they are of and by their names. Their effects say where to look: which recorded values are
// concerned, only the casebooks know.
func Diff(from, to *Definition) []Change {
	var changes []Change
	changes = append(changes, compare(ChangedForm, forms(from), forms(to), func(k ChangeKind, _ []string) Effect { return orphaned(k) })...)
	changes = append(changes, compare(ChangedGroup, groups(from), groups(to), func(k ChangeKind, fields []string) Effect {
		if slices.Contains(fields, "repeats") {
			return EffectMisfits
		}
		return orphaned(k)
	})...)
	changes = append(changes, compare(ChangedItem, items(from), items(to), func(k ChangeKind, fields []string) Effect {
		gravest := orphaned(k)
		for _, f := range fields {
			if e, ok := effects[f]; ok && slices.Index(Effects, e) < slices.Index(Effects, gravest) {
				gravest = e
			}
		}
		return gravest
	})...)
	for n := range changes {
		if c := &changes[n]; c.Kind == Added && c.Of == ChangedItem && to.requires(c.Name) {
			c.Effect = EffectMissing
		}
	}
	changes = append(changes, compare(ChangedVisit, visits(from), visits(to), func(k ChangeKind, fields []string) Effect {
		if k == Added || slices.Contains(fields, "forms") || slices.Contains(fields, "condition") {
			return EffectMissing
		}
		return orphaned(k)
	})...)
	changes = append(changes, compare(ChangedCheck, checks(from), checks(to), func(_ ChangeKind, fields []string) Effect {
		if len(fields) == 1 && fields[0] == "message" {
			return EffectNone
		}
		return EffectQueries
	})...)
	return changes
}

func orphaned(k ChangeKind) Effect {
	if k == Removed {
		return EffectOrphans
	}
	return EffectNone
}

// fieldsOf are the fields of a part as JSON has them.
type fieldsOf map[string]any

func fields(of any, without ...string) fieldsOf {
	encoded, err := json.Marshal(of)
	all := fieldsOf{}
	if err == nil {
		err = json.Unmarshal(encoded, &all)
	}
	if err != nil {
		// A number that cannot be written is in no build that was put (see Build.fits).
		return fieldsOf{"unreadable": err.Error()}
	}
	for _, name := range without {
		delete(all, name)
	}
	return all
}

func compare(of ChangedOf, from, to map[string]fieldsOf, effect func(ChangeKind, []string) Effect) (changes []Change) {
	for name, before := range from {
		after, there := to[name]
		if !there {
			changes = append(changes, Change{Kind: Removed, Of: of, Name: name, Effect: effect(Removed, nil)})
			continue
		}
		var differ []string
		for field := range before {
			if !reflect.DeepEqual(before[field], after[field]) {
				differ = append(differ, field)
			}
		}
		for field := range after {
			if _, known := before[field]; !known {
				differ = append(differ, field)
			}
		}
		if len(differ) > 0 {
			slices.Sort(differ)
			changes = append(changes, Change{Kind: Changed, Of: of, Name: name, Fields: differ, Effect: effect(Changed, differ)})
		}
	}
	for name := range to {
		if _, known := from[name]; !known {
			changes = append(changes, Change{Kind: Added, Of: of, Name: name, Effect: effect(Added, nil)})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Name, b.Name) })
	return changes
}

func forms(d *Definition) map[string]fieldsOf {
	all := map[string]fieldsOf{}
	for _, f := range d.Forms {
		all[f.ID] = fields(f, "groups")
	}
	return all
}

func groups(d *Definition) map[string]fieldsOf {
	all := map[string]fieldsOf{}
	for _, f := range d.Forms {
		for _, g := range f.Groups {
			all[g.ID] = fields(g, "items")
			all[g.ID]["form"] = f.ID
		}
	}
	return all
}

// items are the items with the options of their lists, so that a change of a list is one of each item that uses it.
func items(d *Definition) map[string]fieldsOf {
	all := map[string]fieldsOf{}
	for _, f := range d.Forms {
		for _, g := range f.Groups {
			for _, it := range g.Items {
				if l := d.List(it.List); l != nil {
					it.Options, it.List = l.Options, ""
				}
				all[g.ID+"."+string(it.ID)] = fields(it)
			}
		}
	}
	return all
}

func visits(d *Definition) map[string]fieldsOf {
	all := map[string]fieldsOf{}
	for _, v := range d.Schedule.Visits {
		all[v.ID] = fields(v)
	}
	return all
}

func checks(d *Definition) map[string]fieldsOf {
	all := map[string]fieldsOf{}
	for _, s := range d.Checks {
		for _, c := range s.Checks {
			all[c.ID] = fields(c)
		}
	}
	return all
}

// requires says whether an item, named with its group, has to be answered.
func (d *Definition) requires(name string) bool {
	for _, f := range d.Forms {
		for _, g := range f.Groups {
			if slices.ContainsFunc(g.Items, func(it Item) bool { return it.Required && g.ID+"."+string(it.ID) == name }) {
				return true
			}
		}
	}
	return false
}
