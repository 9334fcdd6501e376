package build_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/form"
	"casebook/domain/refuse"
	"casebook/domain/scenario"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	of   = build.ForBuild("PAIN1", 1)
	call = domain.Call{Actor: "manager"}
)

func item(id form.ItemID, t form.ItemType, change ...func(*build.Item)) build.Item {
	it := build.Item{Item: form.Item{ID: id, Type: t, Text: form.Plain("The " + string(id))}}
	for _, c := range change {
		c(&it)
	}
	return it
}

func derived(expression string) func(*build.Item) {
	return func(it *build.Item) { it.Derivation = expression }
}

func blinded(it *build.Item) { it.Blinding = "pharmacy" }

// definition is a small study: demographics and vital signs at visits, and a log of adverse events.
func definition() *build.Definition {
	plain := form.Plain
	return &build.Definition{
		Lists: []form.CodeList{{ID: "sex", Options: []form.Option{{Value: "f", Label: plain("female")}, {Value: "m", Label: plain("male")}}}},
		Forms: []build.Form{
			{ID: "DM", Title: plain("Demographics"), Kind: build.VisitForm,
				Groups: []build.Group{{ID: "DM", Title: plain("Demographics"), Items: []build.Item{
					item("SEX", form.Choice, func(it *build.Item) { it.List, it.Required = "sex", true }), item("BIRTH", form.PartialDate),
					item("ENROLLED", form.Date)}}}},
			{ID: "VS", Title: plain("Vital signs"), Kind: build.VisitForm, Groups: []build.Group{
				{ID: "VS", Title: plain("Vital signs"), Items: []build.Item{
					item("WEIGHT", form.Decimal, func(it *build.Item) { it.Unit = "kg" }), item("HEIGHT", form.Decimal),
					item("BMI", form.Decimal, derived("answers.WEIGHT / (answers.HEIGHT * answers.HEIGHT)")),
					item("GAIN", form.Decimal, derived(`answers.WEIGHT - at("SCR").VS.WEIGHT`)),
					item("PREGNANT", form.Boolean, func(it *build.Item) { it.AskedWhen = `DM.SEX == "f"` })}},
				{ID: "BP", Title: plain("Blood pressure"), Repeats: &build.Repeats{Kind: build.RepeatsSimple, Max: 3}, Items: []build.Item{
					item("SYS", form.Integer), item("DIA", form.Integer), item("CUFF", form.Text, blinded)}}}},
			{ID: "AE", Title: plain("Adverse events"), Kind: build.LogForm, Repeats: &build.Repeats{Kind: build.RepeatsSimple},
				Groups: []build.Group{{ID: "AE", Title: plain("Adverse event"), Items: []build.Item{
					item("AETERM", form.Text, func(it *build.Item) { it.Role, it.Dictionary = build.AETerm, "MedDRA" }), item("AESTDT", form.PartialDate),
					item("AESER", form.Boolean)}}}},
		},
		Schedule: build.Schedule{Visits: []build.Visit{
			{ID: "SCR", Title: plain("Screening"), Kind: build.VisitScheduled, Forms: []string{"DM", "VS"}},
			{ID: "V1", Title: plain("Week 1"), Kind: build.VisitScheduled, Day: 7, After: 2, Forms: []string{"VS"},
				Anchor: &build.Anchor{Visit: "SCR", Group: "DM", Item: "ENROLLED"}, Condition: `at("SCR").VS.WEIGHT > 30.0`},
			{ID: "UNS", Title: plain("Unscheduled"), Kind: build.VisitUnscheduled, Forms: []string{"VS"}},
			{ID: "LOG", Title: plain("Logs"), Kind: build.VisitCommon, Forms: []string{"AE"}}}},
		Checks: []build.CheckSet{{ID: "vitals", Checks: []build.Check{
			{ID: "sys-dia", Group: "BP", Item: "SYS", When: "answers.SYS <= answers.DIA", Message: plain("Systolic is not above diastolic"),
				Effect: form.EffectQuery},
			{ID: "ae-early", Group: "AE", Item: "AESTDT", When: `answers.AESTDT < at("SCR").DM.ENROLLED`, Message: plain("Before the enrolment"),
				Effect: form.EffectQuery},
			{ID: "lost", Group: "VS", Item: "WEIGHT", When: `prev().VS.WEIGHT - answers.WEIGHT > 10.0 && !rows("AE").exists(r, r.AESER)`,
				Message: plain("Much lost"), Effect: form.EffectQuery, Visits: []string{"V1"}},
		}}},
	}
}

func begun(t testing.TB) scenario.Given[build.Build, build.Event] {
	return scenario.For(t, build.Decider).Strict()
}

// put are the events that bring a definition into a draft.
func put(d *build.Definition) []build.Event {
	events := []build.Event{build.DraftCreated{OfBuild: of, Title: "First", Languages: d.Languages}}
	for _, f := range d.Forms {
		events = append(events, build.FormPut{OfBuild: of, Form: f})
	}
	for _, l := range d.Lists {
		events = append(events, build.CodeListPut{OfBuild: of, List: l})
	}
	events = append(events, build.SchedulePut{OfBuild: of, Schedule: d.Schedule})
	for _, s := range d.Checks {
		events = append(events, build.ChecksPut{OfBuild: of, Checks: s})
	}
	return events
}

func hashOf(t testing.TB, d *build.Definition) string {
	t.Helper()
	hash, err := d.SHA256()
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestADraftIsBegunFilledAndSealed(t *testing.T) {
	d := definition()
	given := begun(t).
		When(scenario.SentWithFacts(build.CreateDraft, build.Before{StudyExists: true},
			build.CreateBuildDraft{OfBuild: of, Title: "First"}, call)).
		Then(build.DraftCreated{OfBuild: of, Title: "First"})
	for _, e := range put(d)[1:] {
		given = given.When(sent(e)).Then(e)
	}
	given = given.When(scenario.Sent(build.Seal, build.SealBuild{OfBuild: of}, call)).
		Then(build.Sealed{OfBuild: of, SHA256: hashOf(t, d)})
	state := given.State()
	if diff := cmp.Diff(d, state.Definition()); diff != "" || !state.IsSealed() || state.SHA256() != hashOf(t, d) {
		t.Errorf("the sealed build is (-want +got):\n%s", diff)
	}
	// What is sealed never changes.
	for _, e := range put(d)[1:] {
		given.When(sent(e)).ThenRefused("build_sealed")
	}
	given.When(scenario.Sent(build.Seal, build.SealBuild{OfBuild: of}, call)).ThenRefused("build_sealed")
	given.When(scenario.Sent(build.Remove, build.RemovePart{OfBuild: of, Kind: build.PartForm, Part: "VS"}, call)).ThenRefused("build_sealed")
}

type decision = func(build.Build) ([]build.Event, error)

// sent is the command that records an event of a part.
func sent(e build.Event) decision {
	switch e := e.(type) {
	case build.FormPut:
		return scenario.Sent(build.ChangeForm, build.PutForm{OfBuild: of, Form: e.Form}, call)
	case build.CodeListPut:
		return scenario.Sent(build.ChangeCodeList, build.PutCodeList{OfBuild: of, List: e.List}, call)
	case build.SchedulePut:
		return scenario.Sent(build.ChangeSchedule, build.PutSchedule{OfBuild: of, Schedule: e.Schedule}, call)
	case build.ChecksPut:
		return scenario.Sent(build.ChangeChecks, build.PutChecks{OfBuild: of, Checks: e.Checks}, call)
	case build.PartRemoved:
		return scenario.Sent(build.Remove, build.RemovePart{OfBuild: of, Kind: e.Kind, Part: e.Part}, call)
	default:
		panic(fmt.Sprintf("%T is no part", e))
	}
}

func TestADraftIsBegunInOrder(t *testing.T) {
	create := func(n int, before build.Before) decision {
		return scenario.SentWithFacts(build.CreateDraft, before, build.CreateBuildDraft{OfBuild: build.ForBuild("PAIN1", n), Title: "Build"},
			call)
	}
	begun(t).When(create(1, build.Before{})).ThenRefused("study_not_found")
	begun(t).When(create(2, build.Before{StudyExists: true})).ThenRefused("build_order")
	begun(t).When(create(0, build.Before{StudyExists: true, Previous: true})).ThenRefused("build_order")
	begun(t).When(create(2, build.Before{StudyExists: true, Previous: true})).Then(build.DraftCreated{OfBuild: build.ForBuild("PAIN1", 2),
		Title: "Build"})
	begun(t).Given(build.DraftCreated{OfBuild: of, Title: "First"}).When(create(1, build.Before{StudyExists: true})).
		ThenRefused("build_exists")
	begun(t).When(scenario.SentWithFacts(build.CreateDraft, build.Before{StudyExists: true},
		build.CreateBuildDraft{OfBuild: of, Title: "x", Languages: []string{"de", "de"}}, call)).ThenRefused("invalid_build")
	for _, e := range put(definition())[1:] {
		begun(t).When(sent(e)).ThenRefused("build_not_found")
	}
}

func TestPartsAreReplacedAndRemoved(t *testing.T) {
	d := definition()
	events := put(d)
	given := begun(t).Given(events...)
	for _, e := range events[1:] {
		given.When(sent(e)).Then() // the same content records nothing
	}
	changed := d.Forms[0]
	changed.Title = form.Plain("About the patient")
	state := given.When(sent(build.FormPut{Form: changed})).Then(build.FormPut{OfBuild: of, Form: changed}).State()
	if len(state.Definition().Forms) != 3 || state.Definition().Form("DM").Title[""] != "About the patient" {
		t.Errorf("the changed form is not in the place of the one before: %v", state.Definition().Forms)
	}
	for _, removed := range []build.PartRemoved{{Kind: build.PartForm, Part: "VS"}, {Kind: build.PartList, Part: "sex"},
		{Kind: build.PartSchedule},
		{Kind: build.PartChecks, Part: "vitals"}} {
		removed.OfBuild = of
		given.When(sent(removed)).Then(removed).When(sent(removed)).ThenRefused("part_not_found")
	}
	given.When(sent(build.PartRemoved{Kind: "page", Part: "x"})).ThenRefused("part_not_found")
}

func TestPartsThatAreNotWellFormedAreRefused(t *testing.T) {
	given := begun(t).Given(put(definition())...)
	many := definition().Forms[0]
	many.Groups = slices.Repeat(many.Groups, 51)
	large := definition().Forms[0]
	large.Groups[0].Items = append(large.Groups[0].Items, item("BIG", form.Text,
		func(it *build.Item) { it.Help = form.Plain(strings.Repeat("x", 600_000)) }))
	for name, e := range map[string]build.Event{
		"a form without a name":    build.FormPut{Form: build.Form{Kind: build.VisitForm}},
		"a form of no kind":        build.FormPut{Form: build.Form{ID: "X"}},
		"a form without groups":    build.FormPut{Form: build.Form{ID: "X", Kind: build.VisitForm}},
		"too many groups":          build.FormPut{Form: many},
		"a form that is too large": build.FormPut{Form: large},
		"a group named as a function": build.FormPut{Form: build.Form{ID: "X", Kind: build.VisitForm, Groups: []build.Group{{ID: "rows",
			Items: []build.Item{item("A", form.Text)}}}}},
		"an item twice": build.FormPut{Form: build.Form{ID: "X", Kind: build.VisitForm, Groups: []build.Group{{ID: "X",
			Items: []build.Item{item("A", form.Text), item("A", form.Text)}}}}},
		"a role that there is not": build.FormPut{Form: build.Form{ID: "X", Kind: build.VisitForm, Groups: []build.Group{{ID: "X",
			Items: []build.Item{item("A", form.Text, func(it *build.Item) { it.Role = "queen" })}}}}},
		"fewer rows than most": build.FormPut{Form: build.Form{ID: "X", Kind: build.VisitForm, Groups: []build.Group{{ID: "X",
			Repeats: &build.Repeats{Kind: build.RepeatsSimple, Min: 3, Max: 2}, Items: []build.Item{item("A", form.Text)}}}}},
		"a list without a name": build.CodeListPut{},
		"a schedule of nothing": build.SchedulePut{},
		"a visit twice": build.SchedulePut{Schedule: build.Schedule{Visits: []build.Visit{{ID: "A", Kind: build.VisitScheduled},
			{ID: "A", Kind: build.VisitScheduled}}}},
		"an unplanned day": build.SchedulePut{Schedule: build.Schedule{Visits: []build.Visit{{ID: "A", Kind: build.VisitUnscheduled,
			Day: 3}}}},
		"a form twice at a visit": build.SchedulePut{Schedule: build.Schedule{Visits: []build.Visit{{ID: "A", Kind: build.VisitScheduled,
			Forms: []string{"X", "X"}}}}},
		"two common visits": build.SchedulePut{Schedule: build.Schedule{Visits: []build.Visit{{ID: "A", Kind: build.VisitCommon},
			{ID: "B", Kind: build.VisitCommon}}}},
		"a set of no checks": build.ChecksPut{Checks: build.CheckSet{ID: "x"}},
	} {
		t.Run(name, func(t *testing.T) { given.When(sent(e)).ThenRefused("invalid_build") })
	}
}

// hideRows blinds all items of the group AE, and leaves the check of it out.
func hideRows(d *build.Definition) {
	d.Checks[0].Checks = d.Checks[0].Checks[:1]
	for n := range d.Forms {
		for m := range d.Forms[n].Groups {
			if g := &d.Forms[n].Groups[m]; g.ID == "AE" {
				for k := range g.Items {
					g.Items[k].Blinding = "pharmacy"
				}
			}
		}
	}
}

// A draft is not sealed while something in it could not be used, or would tell of what is blinded.
func TestWhatCannotBeUsedIsNotSealed(t *testing.T) {
	vs := func(d *build.Definition) *build.Group { return &d.Forms[1].Groups[0] }
	check := func(d *build.Definition, n int) *build.Check { return &d.Checks[0].Checks[n] }
	for name, x := range map[string]struct {
		change      func(*build.Definition)
		code, field string
	}{
		"nothing":                  {func(d *build.Definition) { *d = build.Definition{} }, "invalid_build", "forms"},
		"a list that there is not": {func(d *build.Definition) { d.Lists = nil }, "invalid_build", "forms.DM.groups[0].items[0].list"},
		"a form that there is not": {func(d *build.Definition) { d.Forms = d.Forms[:2] }, "invalid_build", "schedule.visits[3].forms[0]"},
		"a log form at a visit": {func(d *build.Definition) { d.Schedule.Visits[0].Forms[0] = "AE" }, "invalid_build",
			"schedule.visits[0].forms[0]"},
		"a group in two forms": {func(d *build.Definition) { vs(d).ID = "DM" }, "invalid_build", "forms.VS.groups[0].id"},
		"an OID twice":         {func(d *build.Definition) { d.Forms[0].OID = "VS" }, "invalid_build", "forms.VS.oid"},
		"an OID of two items": {func(d *build.Definition) { vs(d).Items[0].OID = "HEIGHT" }, "invalid_build",
			"forms.VS.groups[0].items[1].oid"},
		"a check of no item": {func(d *build.Definition) { check(d, 0).Item = "PULSE" }, "invalid_build",
			"checks.vitals.checks[0].item"},
		"a check twice": {func(d *build.Definition) { check(d, 1).ID = "sys-dia" }, "invalid_build", "checks.vitals.checks[1].id"},
		"a check at another visit": {func(d *build.Definition) { check(d, 2).Visits = []string{"LOG"} }, "invalid_build",
			"checks.vitals.checks[2].visits"},
		"an anchor that there is not": {func(d *build.Definition) { d.Schedule.Visits[1].Anchor.Visit = "V9" }, "invalid_build",
			"schedule.visits[1].anchor"},
		"an anchor that is no date": {func(d *build.Definition) { d.Schedule.Visits[1].Anchor.Item = "SEX" }, "invalid_build",
			"schedule.visits[1].anchor"},
		"visits counted from each other": {func(d *build.Definition) { d.Schedule.Visits[0].Anchor = &build.Anchor{Visit: "V1"} },
			"invalid_build", "schedule.visits[0].anchor"},
		"rows of no list": {func(d *build.Definition) {
			d.Forms[1].Groups[1].Repeats = &build.Repeats{Kind: build.RepeatsStatic, Key: []form.ItemID{"SYS"}}
		}, "invalid_build", "forms.VS.groups[1].repeats.key"},
		"rows told apart by nothing": {func(d *build.Definition) { d.Forms[1].Groups[1].Repeats.Key = []form.ItemID{"X"} }, "invalid_build",
			"forms.VS.groups[1].repeats.key"},
		"a rule that is not CEL": {func(d *build.Definition) { check(d, 0).When = "answers.SYS <" }, "invalid_rule",
			"checks.vitals.checks[0].when"},
		"a rule over no visit": {func(d *build.Definition) { vs(d).Items[3].Derivation = `at("V8").VS.WEIGHT` }, "invalid_rule",
			"forms.VS.groups[0].items[3].derivation"},
		"at an unscheduled visit": {func(d *build.Definition) { vs(d).Items[3].Derivation = `at("UNS").VS.WEIGHT` }, "invalid_rule",
			"forms.VS.groups[0].items[3].derivation"},
		"not collected at it": {func(d *build.Definition) { vs(d).Items[3].Derivation = `double(at("V1").DM.SEX)` }, "invalid_rule",
			"forms.VS.groups[0].items[3].derivation"},
		"a rule that costs too much": {func(d *build.Definition) {
			check(d, 1).When = `rows("AE").exists(a, rows("AE").exists(b, a.AESER && b.AESER))`
		},
			"invalid_rule", "checks.vitals.checks[1].when"},
		"an option that there is not": {func(d *build.Definition) { vs(d).Items[4].AskedWhen = `DM.SEX == "w"` }, "invalid_rule",
			"forms.VS.groups[0].items[4].askedWhen"},
		"a condition that is none": {func(d *build.Definition) { d.Schedule.Visits[1].Condition = "1 + 1" }, "invalid_rule",
			"schedule.visits[1].condition"},
		"a mandatory derived item": {func(d *build.Definition) { vs(d).Items[2].Required = true }, "invalid_build",
			"forms.VS.groups[0].items[2].required"},
		"an item of no type": {func(d *build.Definition) { vs(d).Items[0].Type = "weight" }, "invalid_build",
			"forms.VS.groups[0].items[0].type"},
		"derived from itself over forms": {func(d *build.Definition) {
			d.Forms[0].Groups[0].Items = append(d.Forms[0].Groups[0].Items, item("LIGHT", form.Decimal, derived("VS.GAIN")))
			vs(d).Items[3].Derivation = "DM.LIGHT"
		}, "invalid_build", "forms.DM.groups[0].items[3].derivation"},
		"derived from itself at other visits": {func(d *build.Definition) { vs(d).Items[3].Derivation = "prev().VS.GAIN" }, "invalid_build",
			"forms.VS.groups[0].items[3].derivation"},
		"a missing translation": {func(d *build.Definition) { d.Languages = []string{"en", "de"} }, "invalid_build", "forms.AE.title"},
		"derived from a blinded item": {func(d *build.Definition) { vs(d).Items[0].Blinding = "pharmacy" }, "invalid_build",
			"forms.VS.groups[0].items[2].derivation"},
		"asked because of a blinded item": {func(d *build.Definition) {
			d.Forms[0].Groups[0].Items[0].Blinding = "pharmacy"
		}, "invalid_build", "forms.VS.groups[0].items[4].askedWhen"},
		"a check of a blinded item": {func(d *build.Definition) { check(d, 0).When = `answers.CUFF == "x"` }, "invalid_build",
			"checks.vitals.checks[0]"},
		"a check on a blinded item": {func(d *build.Definition) { check(d, 0).Item = "CUFF" }, "invalid_build", "checks.vitals.checks[0]"},
		"a message that names a blinded item": {func(d *build.Definition) { check(d, 0).Message = form.Plain("Look at Cuff, too") },
			"invalid_build",
			"checks.vitals.checks[0].message"},
		"a message that quotes a blinded question": {func(d *build.Definition) {
			d.Forms[1].Groups[1].Items[2].Text = form.Plain("Colour of the tablet")
			check(d, 1).Message = form.Plain("Is it the colour of the tablet?")
		}, "invalid_build", "checks.vitals.checks[1].message"},
		"rows told apart by a blinded item": {func(d *build.Definition) {
			d.Forms[0].Groups[0].Repeats = &build.Repeats{Kind: build.RepeatsSimple, Key: []form.ItemID{d.Forms[0].Groups[0].Items[0].ID}}
			d.Forms[0].Groups[0].Items[0].Blinding = "pharmacy"
		}, "invalid_build", "forms.DM.groups[0].repeats.key"},
		"visits counted from a blinded day": {func(d *build.Definition) {
			d.Checks[0].Checks = d.Checks[0].Checks[:1]
			a := d.Schedule.Visits[1].Anchor
			for n := range d.Forms {
				for m := range d.Forms[n].Groups {
					for k := range d.Forms[n].Groups[m].Items {
						if g := &d.Forms[n].Groups[m]; g.ID == a.Group && g.Items[k].ID == a.Item {
							g.Items[k].Blinding = "pharmacy"
						}
					}
				}
			}
		}, "invalid_build", "schedule.visits[1].anchor"},
		"derived from how many hidden rows there are": {func(d *build.Definition) {
			hideRows(d)
			vs(d).Items[3].Derivation = `double(size(rows("AE")))`
		}, "invalid_build", "forms.VS.groups[0].items[3].derivation"},
		"asked because of hidden rows": {func(d *build.Definition) {
			hideRows(d)
			vs(d).Items[4].AskedWhen = `rows("AE").exists(r, true)`
		}, "invalid_build", "forms.VS.groups[0].items[4].askedWhen"},
		"a check that counts hidden rows": {func(d *build.Definition) {
			hideRows(d)
			check(d, 0).When = `size(rows("AE")) > 1`
		}, "invalid_build", "checks.vitals.checks[0]"},
		"a visit because of hidden rows": {func(d *build.Definition) {
			hideRows(d)
			d.Schedule.Visits[1].Condition = `size(rows("AE")) > 0`
		}, "invalid_build", "schedule.visits[1].condition"},
		"a visit because of a blinded item": {func(d *build.Definition) {
			d.Forms[0].Groups[0].Items = append(d.Forms[0].Groups[0].Items, item("ARM", form.Text, blinded))
			d.Schedule.Visits[1].Condition = `at("SCR").DM.ARM == "a"`
		}, "invalid_build", "schedule.visits[1].condition"},
	} {
		t.Run(name, func(t *testing.T) {
			d := definition()
			x.change(d)
			_, err := build.Seal(build.Decider.Fold(put(d)...), build.SealBuild{OfBuild: of}, call)
			r, ok := refuse.As(err)
			if !ok || r.Code != x.code || r.Field != x.field || r.Remedy == "" {
				t.Fatalf("got %v at %v; want %s at %s", err, r, x.code, x.field)
			}
		})
	}
	begun(t).When(scenario.Sent(build.Seal, build.SealBuild{OfBuild: of}, call)).ThenRefused("build_not_found")
}

// What is blinded may follow from what those of its class see.
func TestAClassSeesItsOwnItems(t *testing.T) {
	d := definition()
	bp := &d.Forms[1].Groups[1]
	bp.Items = append(bp.Items, item("TIGHT", form.Boolean, blinded, derived(`answers.CUFF == "tight"`)))
	check := &d.Checks[0].Checks[0]
	check.When, check.Blinding, check.Message = "answers.TIGHT", "pharmacy", form.Plain("CUFF is tight")
	c, err := d.Compile()
	if err != nil {
		t.Fatal(err)
	}
	g := c.Group("BP")
	if g.Item("TIGHT") == nil || len(g.Checks) != 1 || g.Checks[0].ID != "sys-dia" || !g.HasRows() || c.Group("VS").HasRows() {
		t.Errorf("the group is %+v", g)
	}
}

func TestDerivedItemsAreOrderedOverForms(t *testing.T) {
	d := definition()
	d.Forms[0].Groups[0].Items = append(d.Forms[0].Groups[0].Items, item("HEAVY", form.Boolean, derived("VS.BMI > 30.0")))
	c, err := d.Compile()
	if err != nil {
		t.Fatal(err)
	}
	want := []build.Home{{Group: "VS", Item: "BMI"}, {Group: "DM", Item: "HEAVY"}, {Group: "VS", Item: "GAIN"}}
	if diff := cmp.Diff(want, c.Derived()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// However the parts come, and however often they are put in between, the sealed build is the same.
func TestTheOrderOfPartsChangesNothing(t *testing.T) {
	want := hashOf(t, definition())
	rapid.Check(t, func(t *rapid.T) {
		events := put(definition())
		parts := rapid.Permutation(events[1:]).Draw(t, "order")
		again := rapid.SliceOf(rapid.SampledFrom(parts)).Draw(t, "again")
		state := build.Decider.Fold(events[0])
		for _, e := range append(append([]build.Event{}, again...), parts...) {
			recorded, err := sent(e)(state)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range recorded {
				state = build.Decider.Evolve(state, r)
			}
		}
		sealed, err := build.Seal(state, build.SealBuild{OfBuild: of}, call)
		if err != nil {
			t.Fatal(err)
		}
		if got := sealed[0].(build.Sealed).SHA256; got != want {
			t.Fatalf("sealed as %s, want %s", got, want)
		}
	})
}
