package randomisation_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/randomisation"
	"casebook/domain/refuse"
	"casebook/domain/study"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestUpload(t *testing.T) {
	file := "sex,arm\nm,verum\nf,placebo\nm,placebo\n"
	want := randomisation.ListUploaded{Study: pain, Scheme: "one", Part: 1, Parts: 1, Rows: 3,
		Factors: []randomisation.Factor{{ID: "sex", Levels: []string{"f", "m"}}},
		List: blind.Of(randomisation.ListPart{SHA256: hashOf(file), Arms: two,
			Rows: []randomisation.Row{{1, 0}, {0, 1}, {1, 1}}})}
	s := studyWith(two, bySex)
	start(t).When(uploading(s, "one", "sex,arm", "m,verum", "f,placebo", "m,placebo")).Then(want)
	// Spreadsheets write the same list in other ways; the list and its hash do not change.
	start(t).When(uploading(s, "one", "\ufeff arm , sex\r", "verum,m\r", "", `"placebo",f`+"\r", " placebo , m\r")).Then(want)
}

func TestUploadRefusesInvalidLists(t *testing.T) {
	s := studyWith(two, bySex)
	for what, lines := range map[string][]string{
		"nothing":             {""},
		"only a header":       {"sex,arm"},
		"no header":           {"m,verum", "f,placebo"},
		"a factor too many":   {"sex,age,arm", "m,1,verum", "f,2,placebo"},
		"a factor twice":      {"sex,sex,arm", "m,m,verum", "f,f,placebo"},
		"no factor":           {"arm", "verum", "placebo"},
		"no arm":              {"sex,treatment", "m,verum", "f,placebo"},
		"an unknown arm":      {"sex,arm", "m,verum", "f,placebo", "f,other"},
		"an arm left out":     {"sex,arm", "m,verum", "f,verum"},
		"an unknown level":    {"sex,arm", "m,verum", "x,placebo"},
		"another case":        {"sex,arm", "m,verum", "F,placebo"},
		"a short row":         {"sex,arm", "m,verum", "placebo"},
		"a quote in between":  {"sex,arm", "m,verum", `f,pla"cebo`},
		"a quote without end": {"sex,arm", "m,verum", `f,"placebo`},
	} {
		t.Run(what, func(t *testing.T) {
			r := start(t).When(uploading(s, "one", lines...)).ThenRefused("invalid_list")
			if strings.Contains(r.Error(), string(verum)) || strings.Contains(r.Error(), "cebo") {
				t.Errorf("the refusal shows an arm: %v", r)
			}
		})
	}
	start(t).When(uploading(s, "one", append([]string{"sex,arm"}, tooManyLines()...)...)).ThenRefused("list_too_long")
	start(t).When(uploading(s, "one", "sex,arm", strings.Repeat(" ", 4<<20))).ThenRefused("list_too_long")
}

// tooManyLines returns one line more than a list may have.
func tooManyLines() []string {
	lines := make([]string, 40_001)
	for i := range lines {
		lines[i] = "m," + string(two[i%2])
	}
	return lines
}

func TestSchemesNeedAProtocolThatRandomises(t *testing.T) {
	created := study.Created{Study: pain, Title: "Pain", Sponsor: "Nobody"}
	treated := studyTreating([]domain.ArmID{verum}, study.Treatment{Kits: true})
	for code, s := range map[string]study.Study{
		"study_not_found": {}, "no_protocol": study.Decider.Fold(created), "study_not_randomised": treated,
	} {
		start(t).When(uploading(s, "one", "arm", "verum")).ThenRefused(code)
		start(t).When(generating(s, randomisation.GenerateRandomisationList{Scheme: "one"})).ThenRefused(code)
		start(t).When(minimising(s, randomisation.DefineMinimisation{Scheme: "one"})).ThenRefused(code)
		start(t).When(activating(s, "one", "")).ThenRefused(code)
		start(t).When(capping(s)).ThenRefused(code)
	}
	s := studyWith(two)
	start(t).When(uploading(s, " ", "arm", "verum")).ThenRefused("value_missing")
	start(t).When(uploading(s, strings.Repeat("x", 51), "arm", "verum")).ThenRefused("value_too_long")
	one := start(t).Given(must(t, randomisation.Randomisation{}, uploading(s, "one", "arm", "verum", "placebo"))...)
	one.When(uploading(s, "one", "arm", "placebo", "verum")).ThenRefused("scheme_exists")
	one.When(generating(s, randomisation.GenerateRandomisationList{Scheme: "one"})).ThenRefused("scheme_exists")
	one.When(minimising(s, randomisation.DefineMinimisation{Scheme: "one"})).ThenRefused("scheme_exists")
}

// The hash of a short list would reveal the list: a reader of the log could try all lists of this length.
func TestHashOfAShortListIsNotShown(t *testing.T) {
	for rows, shown := range map[int]bool{2: false, 255: false, 256: true, 300: true} {
		lines := []string{"arm"}
		for i := range rows {
			lines = append(lines, string(two[i%2]))
		}
		events := must(t, randomisation.Randomisation{}, uploading(studyWith(two), "one", lines...))
		e := events[0].(randomisation.ListUploaded)
		if want := hashOf(strings.Join(lines, "\n") + "\n"); shown && e.SHA256 != want || !shown && e.SHA256 != "" {
			t.Errorf("a list of %d rows with the hash %s shows the hash %q", rows, want, e.SHA256)
		}
	}
}

// The expected list was made by another program, in another language, from the description in seed.go and generate.go.
func TestGenerate(t *testing.T) {
	events := must(t, randomisation.Randomisation{}, generating(studyWith(two, bySex), randomisation.GenerateRandomisationList{
		Scheme: "one", Ratio: equally, BlockSizes: []int{6, 2, 4}, PerStratum: 8, Seed: theSeed}))
	var rows []randomisation.Row
	for _, arm := range []int{1, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0} {
		rows = append(rows, randomisation.Row{0, arm})
	}
	for _, arm := range []int{1, 0, 0, 0, 0, 1, 1, 1} {
		rows = append(rows, randomisation.Row{1, arm})
	}
	hash := "112445affd1d17a370561e359195c93261b8feb32a8fe880a361274f73d5b678"
	want := []randomisation.Event{randomisation.ListGenerated{Study: pain, Scheme: "one", Part: 1, Parts: 1, Rows: 20,
		Factors: []randomisation.Factor{{ID: "sex", Levels: []string{"f", "m"}}}, SHA256: hash,
		SeedCommitment: "72cd6e8422c407fb6d098690f1130b7ded7ec2f7f5e1d30bd9d521f015363793", Seed: blind.Of(theSeed),
		Plan: blind.Of(randomisation.Plan{Shares: []randomisation.Share{{Arm: verum, Ratio: 1}, {Arm: placebo, Ratio: 1}},
			BlockSizes: []int{2, 4, 6}, PerStratum: 8}),
		List: blind.Of(randomisation.ListPart{SHA256: hash, Arms: two, Rows: rows})}}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("the list differs (-want +got):\n%s", diff)
	}
}

func TestGenerateRefuses(t *testing.T) {
	good := func() randomisation.GenerateRandomisationList {
		return randomisation.GenerateRandomisationList{Scheme: "one", Ratio: map[domain.ArmID]int{verum: 2, placebo: 1},
			BlockSizes: []int{3, 6}, PerStratum: 10, Seed: theSeed}
	}
	s := studyWith(two, bySex)
	if len(must(t, randomisation.Randomisation{}, generating(s, good()))) != 1 {
		t.Fatal("the unchanged command is refused")
	}
	for _, x := range []struct {
		code   string
		change func(*randomisation.GenerateRandomisationList)
	}{
		{"invalid_ratio", func(c *randomisation.GenerateRandomisationList) { c.Ratio = nil }},
		{"invalid_ratio", func(c *randomisation.GenerateRandomisationList) { c.Ratio = map[domain.ArmID]int{verum: 3} }},
		{"invalid_ratio", func(c *randomisation.GenerateRandomisationList) { c.Ratio[comparator] = 1 }},
		{"invalid_ratio", func(c *randomisation.GenerateRandomisationList) { c.Ratio[verum] = 0 }},
		{"invalid_ratio", func(c *randomisation.GenerateRandomisationList) { c.Ratio[verum] = -1 }},
		{"invalid_ratio", func(c *randomisation.GenerateRandomisationList) { c.Ratio[verum] = 101 }},
		{"invalid_blocks", func(c *randomisation.GenerateRandomisationList) { c.BlockSizes = nil }},
		{"invalid_blocks", func(c *randomisation.GenerateRandomisationList) { c.BlockSizes = []int{3, 4} }},
		{"invalid_blocks", func(c *randomisation.GenerateRandomisationList) { c.BlockSizes = []int{0} }},
		{"invalid_blocks", func(c *randomisation.GenerateRandomisationList) { c.BlockSizes = []int{-3} }},
		{"invalid_blocks", func(c *randomisation.GenerateRandomisationList) { c.BlockSizes = []int{3, 6, 3} }},
		{"invalid_blocks", func(c *randomisation.GenerateRandomisationList) { c.BlockSizes = []int{1_002} }},
		{"value_out_of_range", func(c *randomisation.GenerateRandomisationList) { c.PerStratum = 0 }},
		{"value_out_of_range", func(c *randomisation.GenerateRandomisationList) { c.PerStratum = 40_001 }},
		{"list_too_long", func(c *randomisation.GenerateRandomisationList) { c.PerStratum = 20_001 }},
		{"list_too_long", func(c *randomisation.GenerateRandomisationList) { c.PerStratum, c.BlockSizes = 20_000, []int{999} }},
	} {
		cmd := good()
		x.change(&cmd)
		start(t).When(generating(s, cmd)).ThenRefused(x.code)
	}
	var many []study.Factor
	for i := range 10 {
		many = append(many, study.Factor{ID: fmt.Sprint("f", i), Levels: strings.Split(strings.Repeat("x", 50), "")})
	}
	start(t).When(generating(studyWith(two, many...), good())).ThenRefused("too_many_strata")
	start(t).When(uploading(studyWith(two, many...), "one", "arm")).ThenRefused("too_many_strata")
	// Callers cannot send a seed, so a missing or malformed seed is a failure and not a refusal.
	for _, seed := range []string{"", "01", strings.Repeat("xy", 32), strings.Repeat("01", 33)} {
		cmd := good()
		cmd.Seed = seed
		_, err := generating(s, cmd)(randomisation.Randomisation{})
		if _, refused := refuse.As(err); err == nil || refused {
			t.Errorf("the seed %q: %v", seed, err)
		}
	}
}

// Every block holds the arms in the ratio, and every stratum has enough entries but no superfluous block.
func TestGeneratedBlocksAreBalanced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ratio, sum := map[domain.ArmID]int{}, 0
		for _, arm := range three {
			ratio[arm] = rapid.IntRange(1, 3).Draw(t, string(arm))
			sum += ratio[arm]
		}
		var sizes []int
		for _, k := range rapid.SliceOfNDistinct(rapid.IntRange(1, 4), 1, 3, rapid.ID).Draw(t, "sizes") {
			sizes = append(sizes, k*sum)
		}
		seed := fmt.Sprintf("%064x", rapid.Uint64().Draw(t, "seed"))
		perStratum := rapid.IntRange(1, 40).Draw(t, "per stratum")
		events := must(t, randomisation.Randomisation{}, generating(studyWith(three, bySex, byGrade), randomisation.GenerateRandomisationList{
			Scheme: "one", Ratio: ratio, BlockSizes: sizes, PerStratum: perStratum, Seed: seed}))
		strata := map[int][]int{}
		for _, e := range events {
			for _, row := range opened(t, e.(randomisation.ListGenerated).List).Rows {
				strata[row.Stratum()] = append(strata[row.Stratum()], row.Arm())
			}
		}
		if len(strata) != 6 {
			t.Fatalf("there are %d strata, not all combinations of 2 and 3 levels", len(strata))
		}
		for stratum, arms := range strata {
			if !splitsIntoBlocks(arms, sizes, ratio, sum, perStratum) {
				t.Fatalf("stratum %d, %v, is not made of blocks of %v", stratum, arms, sizes)
			}
		}
		if err := randomisation.Replay(events); err != nil {
			t.Fatal(err)
		}
	})
}

// splitsIntoBlocks says whether the arms can be split into balanced blocks of the sizes, without a block after there
// are enough entries.
func splitsIntoBlocks(arms, sizes []int, ratio map[domain.ArmID]int, sum, missing int) bool {
	if missing <= 0 {
		return len(arms) == 0
	}
	for _, size := range sizes {
		if size > len(arms) {
			continue
		}
		count := map[int]int{}
		for _, arm := range arms[:size] {
			count[arm]++
		}
		balanced := true
		for i, arm := range three {
			balanced = balanced && count[i] == ratio[arm]*size/sum
		}
		if balanced && splitsIntoBlocks(arms[size:], sizes, ratio, sum, missing-size) {
			return true
		}
	}
	return false
}

// All orders of a block are equally frequent: 6,000 blocks with each arm twice have six orders, each of which occurs
// 1,000 times, plus or minus five standard deviations of 29.
func TestOrdersOfABlockAreEquallyLikely(t *testing.T) {
	var rows []randomisation.Row
	for _, e := range must(t, randomisation.Randomisation{}, generating(studyWith(two), randomisation.GenerateRandomisationList{
		Scheme: "one", Ratio: equally, BlockSizes: []int{4}, PerStratum: 24_000, Seed: theSeed})) {
		rows = append(rows, opened(t, e.(randomisation.ListGenerated).List).Rows...)
	}
	orders := map[string]int{}
	for ; len(rows) > 0; rows = rows[4:] {
		orders[fmt.Sprint(rows[:4])]++
	}
	if len(orders) != 6 {
		t.Errorf("there are %d orders", len(orders))
	}
	for order, n := range orders {
		if n < 855 || n > 1145 {
			t.Errorf("the order %s occurs %d times", order, n)
		}
	}
}

// The longest allowed list fits into one append when it is sealed, which makes it a third longer.
func TestLongestListFitsIntoOneAppend(t *testing.T) {
	var arms []domain.ArmID
	for i := range 20 {
		arms = append(arms, domain.ArmID(fmt.Sprintf("%050d", i)))
	}
	levels := func(n int, prefix string) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = prefix + fmt.Sprint(i)
		}
		return out
	}
	factors := []study.Factor{{ID: "a", Levels: levels(50, "")}, {ID: "b", Levels: levels(50, "")}, {ID: "c", Levels: levels(4, "")}}
	lines := []string{"a,b,c,arm"}
	for i := range 40_000 {
		lines = append(lines, "49,49,3,"+string(arms[19-i%10])) // the strata and arms with the longest numbers
	}
	for i := range arms {
		lines[i+1] = "49,49,3," + string(arms[i])
	}
	sizeOf := func(events []randomisation.Event) (size int) {
		for _, e := range events {
			shown, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			size += len(shown) + 2_000 // with the metadata
			seal := func(plain []byte) (string, error) {
				size += len(plain)*4/3 + 100
				return "", nil
			}
			switch e := e.(type) {
			case randomisation.ListUploaded:
				_, err = e.List.SealWith(seal)
			case randomisation.ListGenerated:
				_, errSeed := e.Seed.SealWith(seal)
				_, errPlan := e.Plan.SealWith(seal)
				if _, err = e.List.SealWith(seal); errSeed != nil || errPlan != nil {
					t.Fatal(errSeed, errPlan)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return size
	}
	const most = 1<<20 - 16<<10
	events := must(t, randomisation.Randomisation{}, uploading(studyWith(arms, factors...), "one", lines...))
	if size := sizeOf(events); len(events) != 14 || size > most {
		t.Errorf("the upload has %d parts and %d bytes", len(events), size)
	}
	ratio := map[domain.ArmID]int{}
	for _, arm := range arms {
		ratio[arm] = 1
	}
	long := strings.Repeat("ä", 48)
	factors = []study.Factor{{ID: "a", Levels: levels(50, long)}, {ID: "b", Levels: levels(40, long)}}
	events = must(t, randomisation.Randomisation{}, generating(studyWith(arms, factors...),
		randomisation.GenerateRandomisationList{Scheme: "one", Ratio: ratio, BlockSizes: []int{20}, PerStratum: 20, Seed: theSeed}))
	if len(events) != 14 {
		t.Errorf("the list of 40,000 rows has %d parts", len(events))
	}
	if size := sizeOf(events); size > most {
		t.Errorf("the generated list has %d bytes", size)
	}
	if err := randomisation.Replay(events); err != nil {
		t.Error(err)
	}
}

func FuzzUpload(f *testing.F) {
	f.Add("sex,arm\nm,verum\nf,placebo\n")
	f.Add("\ufeffarm,sex\r\n\"verum\",m\r\nplacebo,f")
	f.Add("sex,arm\n\"m\n")
	f.Fuzz(func(t *testing.T, csv string) {
		events, err := randomisation.Upload(randomisation.Randomisation{}, studyWith(two, bySex),
			randomisation.UploadRandomisationList{InStudy: domain.ForStudy(pain), Scheme: "one", CSV: csv}, call)
		if err != nil {
			if _, refused := refuse.As(err); !refused || len(events) > 0 {
				t.Fatalf("%v with %d events", err, len(events))
			}
			return
		}
		if err := randomisation.Replay(events); err != nil {
			t.Fatal(err)
		}
	})
}
