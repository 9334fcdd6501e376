package build_test

import (
	"fmt"
	"testing"

	"casebook/domain/build"
	"casebook/domain/form"
)

// large is a build as large studies have it: 100 forms of 30 items at 20 visits, 1,000 checks over the casebook.
func large(seed int) *build.Definition {
	d := &build.Definition{}
	var forms []string
	for f := range 100 {
		id := fmt.Sprintf("F%d", f)
		forms = append(forms, id)
		g := build.Group{ID: id, Title: form.Plain(id)}
		for i := range 30 {
			g.Items = append(g.Items, item(form.ItemID(fmt.Sprintf("I%d", i)), form.Integer))
		}
		g.Items = append(g.Items, item("SUM", form.Integer, derived(fmt.Sprintf("answers.I0 + answers.I1 + %d", seed))))
		d.Forms = append(d.Forms, build.Form{ID: id, Title: form.Plain(id), Kind: build.VisitForm, Groups: []build.Group{g}})
		set := build.CheckSet{ID: id}
		for i := range 10 {
			set.Checks = append(set.Checks, build.Check{ID: fmt.Sprintf("%s-%d", id, i), Group: id, Item: "I0", Effect: form.EffectQuery,
				When:    fmt.Sprintf(`answers.I%d > at("V1").F%d.I%d && prev().%s.SUM < 3`, i, (f+7)%100, i, id),
				Message: form.Plain("Look at it")})
		}
		d.Checks = append(d.Checks, set)
	}
	for v := range 20 {
		d.Schedule.Visits = append(d.Schedule.Visits, build.Visit{ID: fmt.Sprintf("V%d", v), Title: form.Plain("Visit"),
			Kind: build.VisitScheduled, Day: 7 * v, Forms: forms})
	}
	return d
}

// BenchmarkCompile compiles a build as large studies have it.
func BenchmarkCompile(b *testing.B) {
	for seed := 0; b.Loop(); seed++ {
		if _, err := large(seed).Compile(); err != nil {
			b.Fatal(err)
		}
	}
}
