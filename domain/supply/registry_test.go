package supply_test

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"

	"pgregory.net/rapid"
)

type supplyDecision = func(supply.Supply) ([]supply.Event, error)

func opening(in study.Study, depot supply.LocationID, name string) supplyDecision {
	return scenario.SentWithFacts(supply.Open, in, supply.OpenDepot{InStudy: domain.ForStudy(pain), Depot: depot, Name: name}, call)
}

func registering(in study.Study, depot supply.LocationID, text string) supplyDecision {
	return scenario.SentWithFacts(supply.Register, in, supply.RegisterKits{InStudy: domain.ForStudy(pain), Depot: depot, CSV: text}, call)
}

func releasing(lot, certificate string) supplyDecision {
	return scenario.Sent(supply.Release, supply.ReleaseBatch{InStudy: domain.ForStudy(pain), Lot: lot, Certificate: certificate}, call)
}

func recalling(lot, reason string) supplyDecision {
	cmd := supply.RecallLot{InStudy: domain.ForStudy(pain), Lot: lot, Reasoned: domain.Because(reason)}
	return scenario.SentWithFacts(supply.Recall, theStudy(nil), cmd, call)
}

func settingRule(r supply.ResupplyRule) supplyDecision {
	return scenario.SentWithFacts(supply.SetRule, theStudy(nil), supply.SetResupplyRule{InStudy: domain.ForStudy(pain), Rule: r}, call)
}

// withDepot is the supply of a study with the depot D.
func withDepot(t testing.TB) scenario.Given[supply.Supply, supply.Event] {
	return scenario.For(t, supply.Decider).Strict().Given(supply.DepotOpened{Study: pain, Depot: "D", Name: "Central"})
}

func TestOpenDepot(t *testing.T) {
	nothing := scenario.For(t, supply.Decider).Strict()
	nothing.When(opening(theStudy(nil), "D", "Central")).Then(supply.DepotOpened{Study: pain, Depot: "D", Name: "Central"}).
		When(opening(theStudy(nil), "D", "Another")).ThenRefused("depot_exists")
	nothing.When(opening(theStudy(nil), "no id", "Central")).ThenRefused("malformed_id")
	nothing.When(opening(theStudy(nil), "D", " ")).ThenRefused("value_missing")
	nothing.When(opening(theStudy(nil), "D", strings.Repeat("n", 201))).ThenRefused("value_too_long")
	nothing.When(opening(study.Study{}, "D", "Central")).ThenRefused("study_not_found")
	nothing.When(opening(theStudy(nil), "B", "Central")).ThenRefused("location_is_site")
}

func TestReleaseAndRecall(t *testing.T) {
	given := withDepot(t)
	released := given.When(releasing("L1", "QP-7")).Then(supply.BatchReleased{Study: pain, Lot: "L1", Certificate: "QP-7", Together: true})
	released.When(releasing("L1", "QP-7")).ThenRefused("batch_released")
	given.When(releasing("", "QP-7")).ThenRefused("value_missing")
	given.When(releasing("L1", "")).ThenRefused("value_missing")
	given.When(releasing(strings.Repeat("L", 51), "QP-7")).ThenRefused("value_too_long")
	given.When(releasing("L1", strings.Repeat("Q", 201))).ThenRefused("value_too_long")

	// A recall is for every location: the depots and the sites, including sites that are not active.
	recall := supply.LotRecalled{Study: pain, Lot: "L1", Reason: "impurity", Locations: []supply.LocationID{"A", "B", "D"}}
	given.When(recalling("L1", "impurity")).ThenRefused("lot_not_found")
	registered := given.Given(supply.KitsRegistered{Study: pain, Depot: "D", Delivery: 1, Kits: kits("K1"), Contents: contentsOf("K1")})
	for _, g := range []scenario.Given[supply.Supply, supply.Event]{registered, released} {
		recalled := g.When(recalling("L1", "impurity")).Then(recall)
		recalled.When(recalling("L1", "impurity")).ThenRefused("lot_recalled")
		recalled.When(releasing("L1", "QP-8")).ThenRefused("lot_recalled")
		if lot := recalled.State().Lots["L1"]; !lot.Recalled || lot.Reason != "impurity" {
			t.Errorf("the lot is %+v", lot)
		}
	}
	given.When(recalling("", "impurity")).ThenRefused("value_missing")
	given.When(recalling(strings.Repeat("L", 51), "impurity")).ThenRefused("value_too_long")
	given.When(recalling("L1", "")).ThenRefused("reason_required")
	given.When(recalling("L1", strings.Repeat("r", 501))).ThenRefused("value_too_long")
}

func TestResupplyRules(t *testing.T) {
	given, good := withDepot(t), supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 2, Target: 4, OverdueDays: 365}
	second := good
	second.Target = 5
	if s := given.When(settingRule(good)).Then(supply.ResupplyRuleSet{Study: pain, Rule: good}).
		When(settingRule(second)).Then(supply.ResupplyRuleSet{Study: pain, Rule: second, Was: &good}).State(); s.Rules["A"] != second {
		t.Errorf("the rule in force is %+v", s.Rules["A"])
	}
	for _, c := range []struct {
		code, field string
		change      func(*supply.ResupplyRule)
	}{
		{"depot_not_found", "rule.depot", func(r *supply.ResupplyRule) { r.Depot = "A" }},
		{"site_not_found", "rule.site", func(r *supply.ResupplyRule) { r.Site = "D" }},
		{"value_out_of_range", "rule.trigger", func(r *supply.ResupplyRule) { r.Trigger = 0 }},
		{"value_out_of_range", "rule.trigger", func(r *supply.ResupplyRule) { r.Trigger = 1001 }},
		{"value_out_of_range", "rule.target", func(r *supply.ResupplyRule) { r.Target = 0 }},
		{"value_out_of_range", "rule.target", func(r *supply.ResupplyRule) { r.Target = 1001 }},
		{"value_out_of_range", "rule.overdueDays", func(r *supply.ResupplyRule) { r.OverdueDays = 0 }},
		{"value_out_of_range", "rule.overdueDays", func(r *supply.ResupplyRule) { r.OverdueDays = 366 }},
		{"invalid_resupply_rule", "rule.target", func(r *supply.ResupplyRule) { r.Target = 1 }},
		{"resupply_rule_reveals_arms", "rule.target", func(r *supply.ResupplyRule) { r.Target = 2 }},
		{"resupply_rule_reveals_arms", "rule.target", func(r *supply.ResupplyRule) { r.Target = 3 }},
	} {
		r := good
		c.change(&r)
		if got := given.When(settingRule(r)).ThenRefused(c.code); got.Field != c.field {
			t.Errorf("%s: the field is %s, not %s", c.code, got.Field, c.field)
		}
	}
}

func TestRegister(t *testing.T) {
	given := withDepot(t)
	file := "Lot, KIT ,arm,units,expiry\nL1,20,XQ-7,3,2027-01-01\nL2,10,XQ-7,1,2027-02-01\n"
	first := supply.KitsRegistered{Study: pain, Depot: "D", Delivery: 1, Kits: kits("10", "20"),
		SHA256: blind.Of("49d2ee86c4a36d3b8b8e1a3f0d5c1a0a"), Contents: blind.Of(supply.KitContents{
			"10": {Arm: x, Lot: "L2", Expiry: "2027-02-01", Units: 1}, "20": {Arm: x, Lot: "L1", Expiry: "2027-01-01", Units: 3}}),
		Together: true}
	events, err := registering(theStudy(nil), "D", file)(given.State())
	if err != nil || len(events) != 1 {
		t.Fatalf("got %v, %v", events, err)
	}
	first.SHA256 = events[0].(supply.KitsRegistered).SHA256
	if sum, open := first.SHA256.Open(); !open || len(sum) != 64 {
		t.Errorf("the file's hash is %q", sum)
	}
	registered := given.When(registering(theStudy(nil), "D", file)).Then(first)
	// Deliveries are numbered, a byte order mark is skipped, and a kit has one dose if the file has no column of units.
	next := registered.When(registering(theStudy(nil), "D", "\ufeffkit,arm,lot,expiry\n30,XQ-7,L1,2027-01-01\n"))
	if n, known := registered.State().Registered("20"); !known || n != 1 {
		t.Errorf("kit 20 came in delivery %d, %v", n, known)
	}
	events, err = registering(theStudy(nil), "D", "\ufeffkit,arm,lot,expiry\n30,XQ-7,L1,2027-01-01\n")(registered.State())
	if err != nil {
		t.Fatal(err)
	}
	second := supply.KitsRegistered{Study: pain, Depot: "D", Delivery: 2, Kits: kits("30"),
		SHA256:   events[0].(supply.KitsRegistered).SHA256,
		Contents: blind.Of(supply.KitContents{"30": {Arm: x, Lot: "L1", Expiry: "2027-01-01", Units: 1}}), Together: true}
	next.Then(second)

	withKnownKit := "kit,arm,lot,expiry\n30,XQ-7,L1,2027-01-01\n20,XQ-7,L1,2027-01-01\n"
	registered.When(registering(theStudy(nil), "D", withKnownKit)).ThenRefused("kit_exists")
	given.When(registering(study.Study{}, "D", file)).ThenRefused("study_not_found")
	given.When(registering(theStudy(nil), "A", file)).ThenRefused("depot_not_found")
	given.When(registering(study.Decider.Fold(study.Created{Study: pain}), "D", file)).ThenRefused("unknown_arm")
}

// Every faulty file is refused with its code, and the refusal does not quote the file: if columns are mixed up, any
// value can be an arm.
func TestRefusalsDoNotQuoteTheFile(t *testing.T) {
	for name, c := range map[string]struct{ code, file string }{
		"nothing":               {"malformed_csv", ""},
		"no kits":               {"malformed_csv", "kit,arm,lot,expiry\n"},
		"no column of arms":     {"malformed_csv", "kit,SECRET,lot,expiry\n1,SECRET,L1,2027-01-01\n"},
		"two columns of arms":   {"malformed_csv", "kit,arm,lot,expiry,arm\n1,SECRET,L1,2027-01-01,XQ-7\n"},
		"a quote in a kit":      {"malformed_csv", "kit,arm,lot,expiry\n1\"SECRET,XQ-7,L1,2027-01-01\n"},
		"an unclosed quote":     {"malformed_csv", "kit,arm,lot,expiry\n1,XQ-7,\"SECRET,2027-01-01\n"},
		"a quote in the header": {"malformed_csv", "kit,arm,lot,expiry\"SECRET\n"},
		"a row too short":       {"malformed_csv", "kit,arm,lot,expiry\n1,SECRET\n"},
		"a row too long":        {"malformed_csv", "kit,arm,lot,expiry\n1,XQ-7,L1,2027-01-01,SECRET\n"},
		"units in words":        {"malformed_csv", "kit,arm,lot,expiry,units\n1,XQ-7,L1,2027-01-01,SECRET\n"},
		"no units":              {"value_out_of_range", "kit,arm,lot,expiry,units\n1,XQ-7,L1,2027-01-01,0\n"},
		"too many units":        {"value_out_of_range", "kit,arm,lot,expiry,units\n1,XQ-7,L1,2027-01-01,10001\n"},
		"a kit twice":           {"malformed_csv", "kit,arm,lot,expiry\nSECRET,XQ-7,L1,2027-01-01\nSECRET,XQ-7,L1,2027-01-01\n"},
		"no number":             {"malformed_id", "kit,arm,lot,expiry\n,XQ-7,L1,2027-01-01\n"},
		"an odd number":         {"malformed_id", "kit,arm,lot,expiry\nSECRET 1,XQ-7,L1,2027-01-01\n"},
		"no lot":                {"value_missing", "kit,arm,lot,expiry\n1,XQ-7,,2027-01-01\n"},
		"a long lot":            {"value_too_long", "kit,arm,lot,expiry\n1,XQ-7," + strings.Repeat("SECRET", 10) + ",2027-01-01\n"},
		"an odd expiry":         {"malformed_date", "kit,arm,lot,expiry\n1,XQ-7,L1,SECRET\n"},
		"an unknown arm":        {"unknown_arm", "kit,arm,lot,expiry\n1,SECRET,L1,2027-01-01\n"},
		"too many kits": {"too_many_kits", "kit,arm,lot,expiry\n" + strings.Join(slices.Collect(func(yield func(string) bool) {
			for i := range 3001 {
				if !yield(fmt.Sprintf("%d,XQ-7,SECRET,2027-01-01\n", i)) {
					return
				}
			}
		}), "")},
	} {
		t.Run(name, func(t *testing.T) {
			r := withDepot(t).When(registering(theStudy(nil), "D", c.file)).ThenRefused(c.code)
			if r.Field != "csv" {
				t.Errorf("the field is %s, not csv", r.Field)
			}
			if text := r.Error(); strings.Contains(text, "SECRET") || strings.Contains(text, "is 0") || strings.Contains(text, "10001") {
				t.Errorf("the refusal quotes the file: %s", text)
			}
		})
	}
}

// For every file, the answer is an event or a refusal.
func TestFilesNeverPanic(t *testing.T) {
	s := theSupply()
	rapid.Check(t, func(t *rapid.T) {
		text := "kit,arm,lot,expiry\n" + rapid.StringOfN(rapid.RuneFrom([]rune("1a,\"\n\r ;X-Q7é")), 0, 60, -1).Draw(t, "rows")
		if events, err := registering(theStudy(nil), "D", text)(s); err != nil {
			if _, refused := refuse.As(err); !refused || len(events) > 0 {
				t.Fatalf("got %v, %v", events, err)
			}
		}
	})
}

// registerArms registers kits of these arms, in this order, under the numbers that number returns. It returns the
// refusal.
func registerArms(t testing.TB, number func(i int) string, arms []int) error {
	t.Helper()
	all := []study.Arm{{ID: "T-1"}, {ID: "T-2"}, {ID: "T-3"}, {ID: "T-4"}, {ID: "T-5"}}
	protocol := study.Protocol{Version: 1, Arms: all}
	in := study.Decider.Fold(study.Created{Study: pain}, study.ProtocolVersionPublished{Study: pain, Protocol: protocol})
	var text strings.Builder
	w := csv.NewWriter(&text)
	_ = w.Write([]string{"kit", "arm", "lot", "expiry"})
	for i, arm := range arms {
		_ = w.Write([]string{number(i), all[arm].ID, "L1", "2027-01-01"})
	}
	w.Flush()
	_, err := registering(in, "D", text.String())(theSupply())
	if err == nil {
		return nil
	}
	r, refused := refuse.As(err)
	if !refused || r.Code != "kit_numbers_reveal_arm" || r.Remedy == "" || r.Field != "csv" {
		t.Fatalf("got %v", err)
	}
	for _, a := range all {
		if strings.Contains(err.Error(), a.ID) {
			t.Fatalf("the refusal names an arm: %v", err)
		}
	}
	return err
}

func fromHundredThousand(i int) string { return fmt.Sprint(100_000 + i) }

// deliveries has, for each delivery, the number of kits of each arm.
var deliveries = [][]int{
	{1, 1}, {3, 3}, {10, 10}, {50, 50}, {1, 99}, {2, 98}, {400, 200},
	{5, 5, 5}, {30, 30, 30}, {1, 1, 98}, {60, 20, 20, 20}, {20, 20, 20, 20, 20},
}

func inOrder(counts []int) (arms []int) {
	for arm, n := range counts {
		for range n {
			arms = append(arms, arm)
		}
	}
	return arms
}

// Random numbers are accepted for every delivery. At most one in a thousand is refused.
func TestRandomNumbersAreAccepted(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 7))
	for _, counts := range deliveries {
		refused, runs := 0, 1000
		for range runs {
			arms := inOrder(counts)
			random.Shuffle(len(arms), func(i, j int) { arms[i], arms[j] = arms[j], arms[i] })
			if registerArms(t, fromHundredThousand, arms) != nil {
				refused++
			}
		}
		if refused*1000 > runs {
			t.Errorf("of %v kits, %d of %d random numberings were refused", counts, refused, runs)
		}
	}
	// Numbers with gaps are accepted too, and so are permuted blocks, in which the arms change more often than by chance.
	for range 100 {
		var blocks []int
		for range 100 {
			blocks = append(blocks, random.Perm(2)...)
		}
		gaps := random.Perm(900_000)[:200]
		if err := registerArms(t, func(i int) string { return fmt.Sprint(100_000 + gaps[i]) }, blocks); err != nil {
			t.Errorf("random numbers with gaps: %v", err)
		}
		slices.Sort(gaps)
		if err := registerArms(t, func(i int) string { return fmt.Sprint(100_000 + gaps[i]) }, blocks); err != nil {
			t.Errorf("permuted blocks: %v", err)
		}
	}
	if err := registerArms(t, fromHundredThousand, inOrder([]int{20})); err != nil {
		t.Errorf("kits of one arm: %v", err)
	}
}

func TestNumbersThatRevealTheArmsAreRefused(t *testing.T) {
	repeated := func(pattern []int, n int) (arms []int) {
		for i := range n {
			arms = append(arms, pattern[i%len(pattern)])
		}
		return arms
	}
	shuffled := func(counts ...int) []int {
		arms := inOrder(counts)
		rand.New(rand.NewPCG(5, 5)).Shuffle(len(arms), func(i, j int) { arms[i], arms[j] = arms[j], arms[i] })
		return arms
	}
	forty := shuffled(20, 20)
	seen := [5]int{}
	lastDigits := make([]int, 40) // even for one arm, odd for the other
	for i, arm := range forty {
		lastDigits[i] = 2*seen[arm] + arm
		seen[arm]++
	}
	for name, c := range map[string]struct {
		number func(int) string
		arms   []int
	}{
		"blocks":                    {fromHundredThousand, inOrder([]int{10, 10})},
		"large blocks":              {fromHundredThousand, inOrder([]int{1000, 500})},
		"three blocks":              {fromHundredThousand, inOrder([]int{10, 10, 10})},
		"a block in the middle":     {fromHundredThousand, slices.Concat(repeated([]int{0}, 15), repeated([]int{1}, 20), repeated([]int{0}, 15))},
		"pallets":                   {fromHundredThousand, repeated(inOrder([]int{50, 50}), 1000)},
		"alternating":               {fromHundredThousand, repeated([]int{0, 1}, 20)},
		"alternating to the end":    {fromHundredThousand, repeated([]int{0, 1}, 31)},
		"in threes":                 {fromHundredThousand, repeated([]int{0, 1, 2}, 30)},
		"a pattern of eight":        {fromHundredThousand, repeated([]int{0, 1, 1, 0, 1, 0, 0, 1}, 64)},
		"one kit apart":             {fromHundredThousand, append(inOrder([]int{20, 20}), 0)},
		"an odd last digit":         {func(i int) string { return fmt.Sprintf("%04d", lastDigits[i]) }, forty},
		"a digit in the middle":     {func(i int) string { return fmt.Sprintf("%02d%d%02d", i%7, forty[i], i) }, forty},
		"a letter behind":           {func(i int) string { return fmt.Sprintf("%04d%c", i, 'A'+rune(forty[i])) }, forty},
		"letters of different case": {func(i int) string { return fmt.Sprintf("%c%04d", [2]rune{'K', 'k'}[forty[i]], i) }, forty},
		"another length":            {func(i int) string { return strings.Repeat("1", forty[i]) + fmt.Sprintf("%04d", i) }, forty},
		"a hyphen": {func(i int) string {
			return "7" + strings.Repeat("-", forty[i]) + strings.Repeat("1", 1-forty[i]) + fmt.Sprintf("%04d", i)
		}, forty},
		"different forms of both arms": {func(i int) string { return fmt.Sprint(i) }, forty},
	} {
		t.Run(name, func(t *testing.T) {
			if registerArms(t, c.number, c.arms) == nil {
				t.Error("the numbers were accepted")
			}
		})
	}
	// Very few kits can be in any order by chance, so they are accepted.
	if err := registerArms(t, fromHundredThousand, []int{0, 0, 1, 1}); err != nil {
		t.Error(err)
	}
}
