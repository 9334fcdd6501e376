package build_test

import (
	"testing"

	"casebook/domain/build"
	"casebook/domain/form"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// amendments change the definition, each with the differences that it makes.
var amendments = []struct {
	name   string
	change func(*build.Definition)
	want   build.Change
}{
	{"a text", func(d *build.Definition) { d.Forms[0].Groups[0].Items[0].Text = form.Plain("Sex at birth") },
		build.Change{Kind: build.Changed, Of: build.ChangedItem, Name: "DM.SEX", Fields: []string{"text"}, Effect: build.EffectNone}},
	{"an option less", func(d *build.Definition) { d.Lists[0].Options = d.Lists[0].Options[:1] },
		build.Change{Kind: build.Changed, Of: build.ChangedItem, Name: "DM.SEX", Fields: []string{"options"}, Effect: build.EffectMisfits}},
	{"an optional item", func(d *build.Definition) { d.Forms[0].Groups[0].Items[0].Required = false },
		build.Change{Kind: build.Changed, Of: build.ChangedItem, Name: "DM.SEX", Fields: []string{"required"}, Effect: build.EffectMissing}},
	{"another type", func(d *build.Definition) { d.Forms[0].Groups[0].Items[1].Type = form.Date },
		build.Change{Kind: build.Changed, Of: build.ChangedItem, Name: "DM.BIRTH", Fields: []string{"type"}, Effect: build.EffectMisfits}},
	{"another derivation", func(d *build.Definition) { d.Forms[1].Groups[0].Items[3].Derivation = "answers.WEIGHT * 2.0" },
		build.Change{Kind: build.Changed, Of: build.ChangedItem, Name: "VS.GAIN", Fields: []string{"derivation"}, Effect: build.EffectDerives}},
	{"an item less", func(d *build.Definition) { d.Forms[0].Groups[0].Items = d.Forms[0].Groups[0].Items[:2] },
		build.Change{Kind: build.Removed, Of: build.ChangedItem, Name: "DM.ENROLLED", Effect: build.EffectOrphans}},
	{"an item more", func(d *build.Definition) {
		d.Forms[1].Groups[0].Items = append(d.Forms[1].Groups[0].Items, item("PULSE", form.Integer))
	}, build.Change{Kind: build.Added, Of: build.ChangedItem, Name: "VS.PULSE", Effect: build.EffectNone}},
	{"a required item more", func(d *build.Definition) {
		d.Forms[1].Groups[1].Items = append(d.Forms[1].Groups[1].Items, item("ARMSIDE", form.Text, func(it *build.Item) { it.Required = true }))
	}, build.Change{Kind: build.Added, Of: build.ChangedItem, Name: "BP.ARMSIDE", Effect: build.EffectMissing}},
	{"more rows", func(d *build.Definition) {
		d.Forms[1].Groups[1].Repeats = &build.Repeats{Kind: build.RepeatsSimple, Max: 5}
	},
		build.Change{Kind: build.Changed, Of: build.ChangedGroup, Name: "BP", Fields: []string{"repeats"}, Effect: build.EffectMisfits}},
	{"another title", func(d *build.Definition) { d.Forms[2].Title = form.Plain("Events") },
		build.Change{Kind: build.Changed, Of: build.ChangedForm, Name: "AE", Fields: []string{"title"}, Effect: build.EffectNone}},
	{"another window", func(d *build.Definition) { d.Schedule.Visits[1].After = 5 },
		build.Change{Kind: build.Changed, Of: build.ChangedVisit, Name: "V1", Fields: []string{"after"}, Effect: build.EffectNone}},
	{"a visit more", func(d *build.Definition) {
		d.Schedule.Visits = append(d.Schedule.Visits, build.Visit{ID: "V2", Title: form.Plain("Week 2"), Kind: build.VisitScheduled, Day: 14})
	}, build.Change{Kind: build.Added, Of: build.ChangedVisit, Name: "V2", Effect: build.EffectMissing}},
	{"another check", func(d *build.Definition) { d.Checks[0].Checks[0].When = "answers.SYS < answers.DIA" },
		build.Change{Kind: build.Changed, Of: build.ChangedCheck, Name: "sys-dia", Fields: []string{"when"}, Effect: build.EffectQueries}},
	{"another message", func(d *build.Definition) { d.Checks[0].Checks[1].Message = form.Plain("Too early") },
		build.Change{Kind: build.Changed, Of: build.ChangedCheck, Name: "ae-early", Fields: []string{"message"}, Effect: build.EffectNone}},
	{"a check less", func(d *build.Definition) { d.Checks[0].Checks = d.Checks[0].Checks[:2] },
		build.Change{Kind: build.Removed, Of: build.ChangedCheck, Name: "lost", Effect: build.EffectQueries}},
}

// Whatever an amendment changes is shown, and nothing else; taken back, it is the same the other way round.
func TestAmendmentsAreCompared(t *testing.T) {
	for _, a := range amendments {
		t.Run(a.name, func(t *testing.T) {
			d := definition()
			a.change(d)
			if diff := cmp.Diff([]build.Change{a.want}, build.Diff(definition(), d)); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSeveralAmendmentsAreComparedTogether(t *testing.T) {
	opposite := map[build.ChangeKind]build.ChangeKind{build.Added: build.Removed, build.Removed: build.Added, build.Changed: build.Changed}
	rapid.Check(t, func(t *rapid.T) {
		d, touched := definition(), map[string]bool{}
		for n, a := range amendments {
			// An item that is gone has no other change.
			if rapid.Bool().Draw(t, a.name) {
				amendments[n].change(d)
				touched[string(a.want.Of)+" "+a.want.Name] = true
			}
		}
		there, back := build.Diff(definition(), d), build.Diff(d, definition())
		if len(there) != len(touched) || len(back) != len(there) {
			t.Fatalf("%d were changed, %d are shown, %d the other way round", len(touched), len(there), len(back))
		}
		for n, c := range there {
			if !touched[string(c.Of)+" "+c.Name] {
				t.Fatalf("%v was not changed", c)
			}
			if b := back[n]; b.Name != c.Name || b.Kind != opposite[c.Kind] || !cmp.Equal(b.Fields, c.Fields) {
				t.Fatalf("%v is %v the other way round", c, b)
			}
		}
		if same := build.Diff(d, d); len(same) > 0 {
			t.Fatalf("a build differs from itself in %v", same)
		}
	})
}
