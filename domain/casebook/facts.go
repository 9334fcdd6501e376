package casebook

import (
	"time"

	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/form"
	"casebook/domain/patient"
	"casebook/domain/personal"
	"casebook/domain/rule"
	"casebook/domain/rule/bounded"
)

// Facts are what a decision on a casebook needs of other streams, and of what the state does not keep.
type Facts struct {
	Patient patient.Patient
	// Released is the build that the patient's site captures new forms by, 0 for none.
	Released int
	// Builds are the released build and those that forms of the casebook are captured by.
	Builds map[int]*build.Compiled
	// Opened are the texts that a rule looks at, as they were written; personal.Redacted in place of one that nobody can read any more.
	Opened map[personal.Text]string
	// Last are the newest changes of the items of which the sender has seen another version.
	Last map[Key]Last
}

// Last says who changed an item last, and when.
type Last struct {
	By domain.UserID
	At time.Time
}

// Based is a command whose entries name the versions of the items that its sender has seen.
type Based interface{ Bases() map[Key]int }

// Stale returns the items of which a command has seen another version than the newest.
func (c Casebook) Stale(cmd Based) (stale []Key) {
	for k, base := range cmd.Bases() {
		if c.Version(k) != base {
			stale = append(stale, k)
		}
	}
	return stale
}

// Changed returns the items of which an event has a new version.
func Changed(e Event) (keys []Key) {
	switch e := e.(type) {
	case FormSubmitted:
		for _, it := range e.Items {
			keys = append(keys, it.Key)
		}
	case ItemsCorrected:
		for _, it := range e.Changes {
			keys = append(keys, it.Key)
		}
	case ItemsDerived:
		for _, it := range e.Items {
			keys = append(keys, it.Key)
		}
	case ItemMarkedNotDone:
		keys = append(keys, e.Key)
	default: // changes no item
	}
	return keys
}

// TextsToOpen returns the sealed texts that rules of the builds look at.
func (c Casebook) TextsToOpen(builds map[int]*build.Compiled) (sealed []personal.Text) {
	for _, f := range c.forms.All() {
		b := builds[f.build]
		if b == nil {
			continue
		}
		read := planOf(b).texts
		for name, r := range f.rows {
			for id, it := range r.items {
				if text := personal.Text(it.value); it.isText && text.Sealed() && read[build.Home{Group: name.group, Item: id}] {
					sealed = append(sealed, text)
				}
			}
		}
	}
	return sealed
}

// plan is what a build's rules look at.
type plan struct {
	reads map[string]reads
	// skips are the groups with skip rules.
	skips map[string]bool
	// texts are the free texts that some rule looks at.
	texts map[build.Home]bool
}

// reads are what the rules of a group look at beside their own row.
type reads struct {
	// here are groups of the same visit, anywhere those of any visit or row.
	here, anywhere map[string]bool
	// previous says that some rule looks at the visit before.
	previous bool
}

var plans = bounded.New[*build.Compiled, *plan](64)

func planOf(b *build.Compiled) *plan {
	if known, ok := plans.Get(b); ok {
		return known
	}
	p := &plan{reads: map[string]reads{}, skips: map[string]bool{}, texts: map[build.Home]bool{}}
	for n := range b.Definition().Forms {
		for i := range b.Definition().Forms[n].Groups {
			p.add(b, b.Group(b.Definition().Forms[n].Groups[i].ID))
		}
	}
	return plans.Add(b, p)
}

func (p *plan) add(b *build.Compiled, g *build.CompiledGroup) {
	r := reads{here: map[string]bool{}, anywhere: map[string]bool{}}
	note := func(variables []rule.Variable) {
		for _, v := range variables {
			own := v.Group == form.Answers && v.Visit == "" && !v.Previous && !v.InRows
			of := v.Group
			switch {
			case own:
				of = g.ID
			case v.Visit != "" || v.InRows:
				r.anywhere[of] = true
			case v.Previous:
				r.anywhere[of], r.previous = true, true
			default:
				r.here[of] = true
			}
			if read := b.Group(of); read != nil && v.Name != "" {
				if it := read.Item(form.ItemID(v.Name)); it != nil && it.Type == form.Text {
					p.texts[build.Home{Group: of, Item: it.ID}] = true
				}
			}
		}
	}
	for n := range g.Items {
		note(g.Form.DerivedFrom(n))
		asked := g.Form.AskedBy(n)
		note(asked)
		p.skips[g.ID] = p.skips[g.ID] || len(asked) > 0 || g.Items[n].AskedWhen != ""
	}
	for n := range g.Checks {
		note(g.Form.Checked(n))
	}
	p.reads[g.ID] = r
}
