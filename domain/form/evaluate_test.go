package form_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"casebook/domain/form"
	"casebook/domain/rule"

	"github.com/google/go-cmp/cmp"
)

// said writes the findings in one line each: consequence, code, item or check.
func said(e *form.Evaluation) string {
	var lines []string
	for _, f := range e.Findings() {
		what := string(f.Item)
		if f.Check != "" {
			what = f.Check
		}
		if f.Code == "" || f.Sentence == "" || f.Remedy == "" {
			what += " (says too little)"
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", f.Consequence, f.Code, what))
	}
	return strings.Join(lines, "; ")
}

func with(changes entries) entries {
	all := filled()
	for id, e := range changes {
		all[id] = e
	}
	return all
}

func TestEvaluateRecords(t *testing.T) {
	e := compiled(t, vitals()).Evaluate(filled())
	if got := said(e); got != "" {
		t.Errorf("found %s", got)
	}
	want := map[form.ItemID]any{
		"visit": "2026-03-15", "at": "10:30", "taken": "2026-03-15T10:30", "sex": "f", "pregnant": false, "obese": false, "bmi": 22.1,
		"weight": 72.5, "height": 1.81,
		"temperature": 38.5, "pulse": 80.0, "onset": "2026-03-12", "ended": "2026-03-14T10", "days": 3.0, "symptoms": []string{"fever", "cough"},
		"scan": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	}
	if diff := cmp.Diff(want, e.Recorded()); diff != "" {
		t.Errorf("recorded otherwise (-want +got):\n%s", diff)
	}
	for id, want := range map[form.ItemID]form.Value{
		"weight":  {Answer: 72.5, Unit: "kg", Standard: "72.5"},
		"bmi":     {Answer: 22.1, Unit: "kg/m2", Standard: "22.1", Derived: true},
		"sex":     {Answer: "f"},
		"notes":   {NotCollected: true},
		"symptom": {NotCollected: true},
		"nothing": {},
	} {
		if diff := cmp.Diff(want, e.Of(id)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
}

func TestEvaluateFinds(t *testing.T) {
	for name, x := range map[string]struct {
		entries entries
		want    string
	}{
		"an item that is none": {with(entries{"zeal": {Value: 1.0}, "mood": {Value: 1.0}}),
			"refused unknown_item mood; refused unknown_item zeal"},
		"a derived item":         {with(entries{"bmi": {Value: 22.1}}), "refused derived_item bmi"},
		"a derived item cleared": {with(entries{"bmi": {}}), ""},
		"a number as text":       {with(entries{"pulse": {Value: " 80 "}}), ""},
		"a blank number":         {with(entries{"pulse": {Value: " "}}), ""},
		"no number":              {with(entries{"pulse": {Value: "8o"}}), "refused answer_wrong_type pulse"},
		"no whole number":        {with(entries{"pulse": {Value: "80.5"}}), "refused answer_wrong_type pulse"},
		"too many digits":        {with(entries{"height": {Value: "1.8100000000000000001"}}), "refused answer_wrong_type height"},
		"an exponent":            {with(entries{"height": {Value: "181e-2"}}), "refused answer_wrong_type height"},
		"a comma":                {with(entries{"height": {Value: "1,81"}}), "refused answer_wrong_type height"},
		"many decimals":          {with(entries{"weight": {Value: "72.505"}}), "refused too_many_decimals weight"},
		"beyond the hard range":  {with(entries{"weight": {Value: 401.0}}), "refused answer_out_of_range weight"},
		"beyond the soft range":  {with(entries{"weight": {Value: 150.5}, "pregnant": {Value: false}}), "queried answer_unexpected weight"},
		"no boolean":             {with(entries{"pregnant": {Value: "no"}}), "refused answer_wrong_type pregnant"},
		"no option":              {with(entries{"sex": {Value: "x"}}), "refused not_an_option sex; notCollected item_not_asked pregnant"},
		"no day":                 {with(entries{"visit": {Value: "2026-03"}}), "refused answer_wrong_type visit"},
		"no time":                {with(entries{"at": {Value: "25:00"}}), "refused answer_wrong_type at"},
		"no moment":              {with(entries{"taken": {Value: "2026-03-15"}}), "refused answer_wrong_type taken"},
		"no part of a day":       {with(entries{"onset": {Value: "March"}}), "refused answer_wrong_type onset"},
		"no part of a moment":    {with(entries{"ended": {Value: "T10:30"}}), "refused answer_wrong_type ended"},
		"no hash":                {with(entries{"scan": {Value: "scan.pdf"}}), "refused answer_wrong_type scan"},
		"no list":                {with(entries{"symptoms": {Value: "fever"}}), "refused answer_wrong_type symptoms"},
		"no list of texts":       {with(entries{"symptoms": {Value: []any{1.0}}}), "refused answer_wrong_type symptoms"},
		"none of the list":       {with(entries{"symptoms": {Value: []any{"fever", "chills"}}}), "refused not_an_option symptoms"},
		"an unknown unit":        {with(entries{"weight": {Value: 72.5, Unit: "lb"}}), "refused unknown_unit weight"},
		"a unit of none":         {with(entries{"pulse": {Value: 72.0, Unit: "Hz"}}), "refused unknown_unit pulse"},
		"missing": {with(entries{"visit": {}, "sex": {}}),
			"missing item_required visit; missing item_required sex; notCollected item_not_asked pregnant"},
		"required where asked":   {with(entries{"pregnant": {}}), "missing item_required pregnant"},
		"not asked":              {with(entries{"sex": {Value: "m"}, "pregnant": {}}), ""},
		"answered, not asked":    {with(entries{"sex": {Value: "m"}}), "notCollected item_not_asked pregnant"},
		"asked by a derived one": {with(entries{"notes": {Value: "x"}}), "notCollected item_not_asked notes"},
		"other without a text":   {with(entries{"symptoms": {Value: []any{"other"}}}), "missing item_required symptom"},
		"other with a text":      {with(entries{"symptoms": {Value: []any{"other"}}, "symptom": {Value: "hiccups"}}), ""},
		"a text without other":   {with(entries{"symptom": {Value: "hiccups"}}), "notCollected item_not_asked symptom"},
		"a long text": {with(entries{"symptoms": {Value: []any{"other"}}, "symptom": {Value: strings.Repeat("x", 21)}}),
			"refused answer_too_long symptom"},
		"a check":              {with(entries{"onset": {Value: "2026-03-16"}}), "queried check_holds onset-after-visit"},
		"a check of a month":   {with(entries{"onset": {Value: "2026-04"}}), "queried check_holds onset-after-visit"},
		"a check that is open": {with(entries{"onset": {Value: "2026-03"}}), ""},
		"a check of a list":    {with(entries{"temperature": {Value: 37.0}}), "queried check_holds fever-without-fever"},
		"a hard stop": {with(entries{"pregnant": {Value: true}, "weight": {Value: 120.0}}),
			"refused check_holds pregnant-obese"},
		"a check of what is not asked": {with(entries{"pregnant": {Value: true}, "weight": {Value: 120.0}, "sex": {Value: "m"}}),
			"notCollected item_not_asked pregnant"},
		"a check that stops":      {with(entries{"pulse": {Value: 61.0}}), "refused check_holds ratio"},
		"a check that fails":      {with(entries{"pulse": {Value: 60.0}}), "queried check_not_computed ratio"},
		"a derivation that fails": {with(entries{"height": {Value: 0.0}}), "queried not_computed bmi"},
		"a derivation beyond":     {with(entries{"height": {Value: 0.9}}), "queried answer_unexpected bmi"},
		"a derivation of nothing": {with(entries{"height": {}}), ""},
		"a derivation of a fault": {with(entries{"height": {Value: "x"}}), "refused answer_wrong_type height"},
		"days of a day in part":   {with(entries{"onset": {Value: "2026---10"}}), ""},
		"nothing at all":          {entries{}, "missing item_required visit; missing item_required sex"},
		"many faults, in order": {with(entries{"scan": {Value: "x"}, "at": {Value: "x"}, "sex": {}, "x": {}}),
			"refused unknown_item x; refused answer_wrong_type at; missing item_required sex; notCollected item_not_asked pregnant; " +
				"refused answer_wrong_type scan"},
		"a choice typed as number": {with(entries{"sex": {Value: 1.0}}), "refused answer_wrong_type sex; notCollected item_not_asked pregnant"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := said(compiled(t, vitals()).Evaluate(x.entries)); got != x.want {
				t.Errorf("found %q\nwant  %q", got, x.want)
			}
		})
	}
}

// What is entered in another unit is converted without rounding, and held against the ranges as it is.
func TestUnits(t *testing.T) {
	for _, x := range []struct {
		item     form.ItemID
		entry    form.Entry
		standard form.Exact
		finds    string
	}{
		{"weight", form.Entry{Value: 160.0, Unit: "[lb_av]"}, "72.5747792", ""},
		{"weight", form.Entry{Value: "72500", Unit: "g"}, "72.5", ""},
		{"weight", form.Entry{Value: 72.5, Unit: "kg"}, "72.5", ""},
		{"weight", form.Entry{Value: 2000.0, Unit: "g"}, "2", "queried answer_unexpected weight"},
		{"weight", form.Entry{Value: 1999.99, Unit: "g"}, "", "refused answer_out_of_range weight"},
		{"weight", form.Entry{Value: 400000.01, Unit: "g"}, "", "refused answer_out_of_range weight"},
		{"weight", form.Entry{Value: 88.0, Unit: "[lb_av]"}, "39.91612856", "queried answer_unexpected weight"},
		{"height", form.Entry{Value: 181.0, Unit: "cm"}, "1.81", ""},
		{"height", form.Entry{Value: "71.5", Unit: "[in_i]"}, "1.8161", ""},
		{"temperature", form.Entry{Value: 100.0, Unit: "[degF]"}, "340/9", ""},
		{"temperature", form.Entry{Value: 98.6, Unit: "[degF]"}, "37", "queried check_holds fever-without-fever"},
		// 113 F are 45 C to the last digit, the largest that is allowed; in binary fractions they would not be.
		{"temperature", form.Entry{Value: 113.0, Unit: "[degF]"}, "45", ""},
		{"temperature", form.Entry{Value: "113.000001", Unit: "[degF]"}, "", "refused answer_out_of_range temperature"},
	} {
		e := compiled(t, vitals()).Evaluate(with(entries{x.item: x.entry}))
		if got := said(e); got != x.finds {
			t.Errorf("%v %s finds %q, want %q", x.entry.Value, x.entry.Unit, got, x.finds)
		}
		if got := e.Of(x.item); x.standard != "" && (got.Standard != x.standard || got.Unit != x.entry.Unit) {
			t.Errorf("%v %s is %+v, want %s", x.entry.Value, x.entry.Unit, got, x.standard)
		}
	}
	// Rules and derivations see the item's own unit.
	e := compiled(t, vitals()).Evaluate(with(entries{"height": {Value: 181.0, Unit: "cm"}, "weight": {Value: "72500", Unit: "g"}}))
	if got := e.Of("bmi").Answer; got != 22.1 {
		t.Errorf("the body mass index is %v", got)
	}
	for _, f := range compiled(t, vitals()).Evaluate(with(entries{"weight": {Value: 900.0, Unit: "[lb_av]"}})).Findings() {
		if want := "900 [lb_av], which are 408.2331 kg, are outside the range of weight, 2 to 400"; f.Sentence != want {
			t.Errorf("it says %q, want %q", f.Sentence, want)
		}
	}
}

// What is not asked stays readable, and counts for nothing: rules that come later do not see it.
func TestNotCollected(t *testing.T) {
	e := compiled(t, vitals()).Evaluate(with(entries{"sex": {Value: "m"}, "pregnant": {Value: true}, "weight": {Value: 120.0}}))
	if got := e.Of("pregnant"); got.Answer != true || !got.NotCollected {
		t.Errorf("got %+v", got)
	}
	if e.Has(form.Refused) || !e.Has(form.Refused, form.NotCollected) {
		t.Errorf("found %s", said(e))
	}
	// A derived item that is not asked is empty.
	d := vitals()
	at(t, d, "days").AskedWhen = "answers.pulse > 100"
	if got := compiled(t, d).Evaluate(filled()).Of("days"); got.Answer != nil || !got.NotCollected {
		t.Errorf("got %+v", got)
	}
	// The text that specifies "other" is not asked where its choice is not.
	d = vitals()
	at(t, d, "symptoms").AskedWhen = `answers.sex == "f"`
	e = compiled(t, d).Evaluate(with(entries{"sex": {Value: "m"}, "pregnant": {}, "symptoms": {Value: []any{"other"}},
		"symptom": {Value: "hiccups"}}))
	if got := said(e); got != "notCollected item_not_asked symptoms; notCollected item_not_asked symptom" {
		t.Errorf("found %s", got)
	}
}

// Skip rules are all computed over the same values: an item that is not asked still shows its value to them.
func TestSkipRulesDoNotCascade(t *testing.T) {
	f := compiled(t, &form.Definition{ID: "F", Title: form.Plain("F"), Items: []form.Item{
		{ID: "a", Text: form.Plain("A"), Type: form.Boolean},
		{ID: "b", Text: form.Plain("B"), Type: form.Boolean, AskedWhen: "answers.a"},
		{ID: "c", Text: form.Plain("C"), Type: form.Boolean, AskedWhen: "answers.b", Required: true},
	}})
	want := "notCollected item_not_asked b; missing item_required c"
	if got := said(f.Evaluate(entries{"a": {Value: false}, "b": {Value: true}})); got != want {
		t.Errorf("found %s", got)
	}
}

func TestDerivedValuesAreRounded(t *testing.T) {
	for value, want := range map[float64]float64{0.05: 0.1, 0.049: 0, -0.05: -0.1, 1.005: 1, 2.25: 2.3, 1e15: 1e15, 0.15: 0.2} {
		f := compiled(t, &form.Definition{ID: "F", Title: form.Plain("F"), Items: []form.Item{
			{ID: "a", Text: form.Plain("A"), Type: form.Decimal},
			{ID: "b", Text: form.Plain("B"), Type: form.Decimal, Derivation: "answers.a", Decimals: new(1)},
		}})
		if got := f.Evaluate(entries{"a": {Value: value}}).Of("b").Answer; got != want {
			t.Errorf("%v is rounded to %v, want %v", value, got, want)
		}
	}
}

// Every type that can be derived is, and what does not fit the item is asked about, not recorded.
func TestDerivations(t *testing.T) {
	derived := func(kind form.ItemType, formula string, change ...func(*form.Item)) *form.Definition {
		d := &form.Definition{ID: "F", Title: form.Plain("F"), Items: []form.Item{
			{ID: "out", Text: form.Plain("Out"), Type: kind, Derivation: formula},
			{ID: "n", Text: form.Plain("N"), Type: form.Integer}, {ID: "x", Text: form.Plain("X"), Type: form.Decimal},
			{ID: "s", Text: form.Plain("S"), Type: form.Text},
			{ID: "d", Text: form.Plain("D"), Type: form.Date}, {ID: "p", Text: form.Plain("P"), Type: form.PartialDate},
			{ID: "t", Text: form.Plain("T"), Type: form.Time},
		}}
		for _, c := range change {
			c(&d.Items[0])
		}
		return d
	}
	options := func(it *form.Item) { it.Options = []form.Option{{Value: "low"}, {Value: "high"}} }
	given := entries{"n": {Value: 3.0}, "x": {Value: 2.5}, "s": {Value: "high"}, "d": {Value: "2026-03-15"}, "p": {Value: "2026-03"},
		"t": {Value: "10:30"}}
	for _, x := range []struct {
		kind    form.ItemType
		formula string
		change  func(*form.Item)
		want    any
		finds   string
	}{
		{kind: form.Integer, formula: "answers.n * 2", want: 6.0},
		{kind: form.Decimal, formula: "answers.n * 2", want: 6.0},
		{kind: form.Decimal, formula: "answers.x / 2.0", want: 1.25},
		{kind: form.Text, formula: `answers.s + "!"`, want: "high!"},
		{kind: form.Text, formula: `" "`, want: nil},
		{kind: form.Boolean, formula: "answers.n > 2", want: true},
		{kind: form.Choice, formula: `answers.n > 2 ? "high" : "low"`, change: options, want: "high"},
		{kind: form.Choice, formula: `answers.s`, change: options, want: "high"},
		{kind: form.Choice, formula: `answers.s + "er"`, change: options, finds: "queried not_computed out"},
		{kind: form.Date, formula: "answers.d", want: "2026-03-15"},
		{kind: form.PartialDate, formula: "answers.p", want: "2026-03"},
		{kind: form.Date, formula: "answers.p", finds: "queried not_computed out"},
		{kind: form.Time, formula: "answers.t", want: "10:30"},
		{kind: form.Text, formula: "answers.s + answers.s", change: func(it *form.Item) { it.MaxChars = 5 }, finds: "queried not_computed out"},
		{kind: form.Integer, formula: "answers.n / 0", finds: "queried not_computed out"},
		{kind: form.Integer, formula: "answers.n", change: func(it *form.Item) { it.Max = new(2.0) }, finds: "refused answer_out_of_range out"},
	} {
		change := x.change
		if change == nil {
			change = func(*form.Item) {}
		}
		e := compiled(t, derived(x.kind, x.formula, change)).Evaluate(given)
		if got := e.Of("out"); got.Answer != x.want || said(e) != x.finds {
			t.Errorf("%s %s is %v and finds %q; want %v and %q", x.kind, x.formula, got.Answer, said(e), x.want, x.finds)
		}
		if e := compiled(t, derived(x.kind, x.formula, change)).Evaluate(entries{}); e.Of("out").Answer != nil && x.formula != `" "` {
			t.Errorf("%s of nothing is %v", x.formula, e.Of("out").Answer)
		}
	}
}

func TestCheckMessagesSpeakAllLanguages(t *testing.T) {
	found := compiled(t, vitals()).Evaluate(with(entries{"onset": {Value: "2026-03-16"}})).Findings()
	if len(found) != 1 || found[0].Sentence != "Onset lies after the visit" || found[0].Message.In("de", "en") != "Beginn nach der Visite" ||
		found[0].Item != "onset" {
		t.Errorf("found %+v", found)
	}
	if got := found[0].Message.In("fr", "en"); got != "Onset lies after the visit" {
		t.Errorf("in French it says %q", got)
	}
}

// Check takes a form as a whole: what Evaluate finds refuses it, but for what is only queried.
func TestCheck(t *testing.T) {
	f := compiled(t, vitals())
	answers := func(changes map[form.ItemID]any) map[form.ItemID]any {
		all := map[form.ItemID]any{}
		for id, e := range filled() {
			all[id] = e.Value
		}
		all["weight"] = 72.5
		for id, v := range changes {
			all[id] = v
		}
		return all
	}
	clean, err := f.Check(answers(map[form.ItemID]any{"onset": "2026-03-16", "temperature": json.Number("38.5"), "pulse": 80}))
	if err != nil || clean["bmi"] != 22.1 || clean["temperature"] != 38.5 || clean["pulse"] != 80.0 {
		t.Errorf("got %v, %v", clean, err)
	}
	for code, changes := range map[string]map[form.ItemID]any{
		"answer_wrong_type": {"weight": "72.5"}, // typed numbers are for forms that are typed
		"derived_item":      {"bmi": 22.1},
		"item_required":     {"visit": nil},
		"item_not_asked":    {"sex": "m"},
		"check_holds":       {"pregnant": true, "weight": 120.0},
		"unknown_item":      {"zeal": 1.0, "mood": 2.0},
	} {
		_, err := f.Check(answers(changes))
		if r := refusal(t, err); r.Code != code || r.Field == "" || r.Remedy == "" {
			t.Errorf("got %+v, want %s", r, code)
		}
	}
}

// One Check knows nothing of the one before.
func TestCheckForgets(t *testing.T) {
	f := compiled(t, &form.Definition{ID: "F", Title: form.Plain("F"), Items: []form.Item{
		{ID: "a", Text: form.Plain("A"), Type: form.Decimal, Required: true},
		{ID: "b", Text: form.Plain("B"), Type: form.Decimal},
		{ID: "c", Text: form.Plain("C"), Type: form.Decimal, Derivation: "answers.b * 2.0"},
		{ID: "d", Text: form.Plain("D"), Type: form.Decimal, AskedWhen: "answers.b > 3.0"},
	}})
	for range 3 {
		if clean, err := f.Check(map[form.ItemID]any{"a": 1.0, "b": 4.0, "d": 2.0}); err != nil || clean["c"] != 8.0 {
			t.Fatalf("got %v, %v", clean, err)
		}
		if clean, err := f.Check(map[form.ItemID]any{"a": 1.0}); err != nil || len(clean) != 1 {
			t.Fatalf("got %v, %v", clean, err)
		}
		if _, err := f.Check(map[form.ItemID]any{"a": 1.0, "d": 2.0}); refusal(t, err).Code != "item_not_asked" {
			t.Fatalf("got %v", err)
		}
		if _, err := f.Check(map[form.ItemID]any{"b": 4.0}); refusal(t, err).Field != "answers.a" {
			t.Fatalf("got %v", err)
		}
	}
}

// A skip rule that cannot be computed costs nobody the entry: its item may be answered or not.
func TestWhereASkipRuleFails(t *testing.T) {
	f := compiled(t, &form.Definition{ID: "F", Title: form.Plain("F"), Items: []form.Item{
		{ID: "ratio", Text: form.Plain("Ratio"), Type: form.Integer, Required: true, AskedWhen: "6 / answers.n > 2"},
		{ID: "n", Text: form.Plain("N"), Type: form.Integer},
	}})
	for _, given := range []entries{{"n": {Value: 0.0}}, {"n": {Value: 0.0}, "ratio": {Value: 3.0}}} {
		if got := said(f.Evaluate(given)); got != "" {
			t.Errorf("%v finds %s", given, got)
		}
	}
	if got := said(f.Evaluate(entries{"n": {Value: 2.0}})); got != "missing item_required ratio" {
		t.Errorf("found %s", got)
	}
}

// Options are recorded once each, in the order of the list, and no more than rules can look through.
func TestSelections(t *testing.T) {
	list := form.CodeList{ID: "many"}
	var all []any
	for n := range rule.MaxTexts + 1 {
		value := fmt.Sprintf("v%03d", n)
		list.Options = append(list.Options, form.Option{Value: value})
		all = append(all, value)
	}
	f := compiled(t, &form.Definition{ID: "F", Title: form.Plain("F"), Lists: []form.CodeList{list},
		Items: []form.Item{{ID: "m", Text: form.Plain("M"), Type: form.Multi, List: "many"}}})
	e := f.Evaluate(entries{"m": {Value: []any{"v007", "v001", "v007"}}})
	if diff := cmp.Diff([]string{"v001", "v007"}, e.Of("m").Answer); diff != "" {
		t.Errorf("recorded otherwise:\n%s", diff)
	}
	if got := said(f.Evaluate(entries{"m": {Value: all}})); got != "refused too_many_options m" {
		t.Errorf("found %s", got)
	}
	if e := f.Evaluate(entries{"m": {Value: all[1:]}}); said(e) != "" || len(e.Of("m").Answer.([]string)) != rule.MaxTexts {
		t.Errorf("found %s", said(e))
	}
	if e := f.Evaluate(entries{"m": {Value: []any{}}}); said(e) != "" || e.Of("m").Answer != nil {
		t.Errorf("nothing is recorded as %v", e.Of("m").Answer)
	}
}

// A number that is whole in the unit it was entered in, but not in the item's own, is kept. Rules do not see it.
func TestWholeNumbersInOtherUnits(t *testing.T) {
	f := compiled(t, &form.Definition{ID: "F", Title: form.Plain("F"),
		Items: []form.Item{{ID: "rest", Text: form.Plain("Rest"), Type: form.Integer, Unit: "min",
			Units: []form.Unit{{Unit: "s", Factor: "1/60"}}}},
		Checks: []form.Check{{ID: "any", Item: "rest", When: "answers.rest >= 0", Message: form.Plain("Any"), Effect: form.EffectQuery}}})
	for _, x := range []struct {
		seconds  float64
		standard form.Exact
		finds    string
	}{{120, "2", "queried check_holds any"}, {90, "1.5", ""}} {
		e := f.Evaluate(entries{"rest": {Value: x.seconds, Unit: "s"}})
		if got := e.Of("rest"); got.Answer != x.seconds || got.Standard != x.standard || said(e) != x.finds {
			t.Errorf("%v s are %+v and find %q", x.seconds, got, said(e))
		}
	}
}

func TestPoints(t *testing.T) {
	f := compiled(t, &form.Definition{ID: "F", Title: form.Plain("F"), Items: []form.Item{
		{ID: "n", Text: form.Plain("N"), Type: form.Integer},
		{ID: "c", Text: form.Plain("C"), Type: form.Choice, Options: []form.Option{{Value: "low", Rank: new(-1.5)}, {Value: "none"}}},
		{ID: "b", Text: form.Plain("B"), Type: form.Boolean},
		{ID: "t", Text: form.Plain("T"), Type: form.Text},
	}})
	for _, x := range []struct {
		id     form.ItemID
		answer any
		want   float64
		counts bool
	}{
		{"n", 3.0, 3, true}, {"c", "low", -1.5, true}, {"c", "none", 0, false}, {"c", "high", 0, false}, {"b", true, 1, true},
		{"b", false, 0, true},
		{"t", "low", 0, false}, {"n", nil, 0, false}, {"c", []string{"low"}, 0, false},
	} {
		place, ok := f.Index(x.id)
		if got, counts := f.Points(place, x.answer); !ok || got != x.want || counts != x.counts {
			t.Errorf("%v of %s counts %v, %v", x.answer, x.id, got, counts)
		}
	}
	if _, ok := f.Index("x"); ok {
		t.Error("an unknown item has a place")
	}
	for _, kind := range []form.ItemType{form.Text, form.Multi, form.Date, form.File} {
		if kind.HasPoints() {
			t.Errorf("%s has points", kind)
		}
	}
}

func TestExact(t *testing.T) {
	for text, want := range map[form.Exact]float64{"0.45359237": 0.45359237, "5/9": 5.0 / 9, "-160/9": -160.0 / 9, "7": 7, "": 0, "x": 0,
		"1/0": 0, "1e3": 0} {
		if got := text.Float64(); math.Abs(got-want) > 1e-15 {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
}
