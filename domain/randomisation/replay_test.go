package randomisation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/enrollment"
	"casebook/domain/randomisation"
	"casebook/domain/scenario"
	"casebook/domain/study"

	"pgregory.net/rapid"
)

// model is what should be true of a study's draws, kept in the plainest way.
type model struct {
	rows    []randomisation.Row // of the active list
	arms    []domain.ArmID
	usedRow map[int]bool
	arm     map[domain.PatientID]domain.ArmID
	truth   map[domain.PatientID]map[string]string
	caps    []randomisation.CohortCap
}

func (m *model) inArm(arm domain.ArmID) (n int) {
	for _, a := range m.arm {
		if a == arm {
			n++
		}
	}
	return n
}

func (m *model) atLevel(factor, level string) (n int) {
	for _, of := range m.truth {
		if of[factor] == level {
			n++
		}
	}
	return n
}

// mayTake says whether another patient may be drawn into the arm.
func (m *model) mayTake(arm domain.ArmID) bool {
	return !slices.ContainsFunc(m.caps, func(c randomisation.CohortCap) bool { return c.Arm == arm && m.inArm(arm) >= c.Most })
}

// nextRow is the first place of the stratum that nobody has and whose arm is among those.
func (m *model) nextRow(stratum int, among []domain.ArmID) int {
	for i, row := range m.rows {
		if row.Stratum() == stratum && !m.usedRow[i+1] && slices.Contains(among, m.arms[row.Arm()]) {
			return i + 1
		}
	}
	return 0
}

// life is a study whose draws go on as rapid likes it.
type life struct {
	study  study.Study
	forced bool
	events []randomisation.Event
	state  randomisation.Randomisation
	model  model
}

func (l *life) add(t *rapid.T, events ...randomisation.Event) {
	for _, e := range events {
		l.state = scenario.Evolve(t, randomisation.Decider, l.state, e)
	}
	l.events = append(l.events, events...)
}

var schemes = []string{"uploaded", "generated", "minimised"}

func born(t *rapid.T) *life {
	l := &life{forced: rapid.Bool().Draw(t, "forced allocation"),
		model: model{usedRow: map[int]bool{}, arm: map[domain.PatientID]domain.ArmID{}, truth: map[domain.PatientID]map[string]string{}}}
	arms := rapid.SampledFrom([][]domain.ArmID{two, three}).Draw(t, "arms")
	factors := []study.Factor{bySex, byGrade}
	if l.study = studyWith(arms, factors...); l.forced {
		l.study = forcing(arms, factors...)
	}
	ratio := map[domain.ArmID]int{}
	sum := 0
	for i, arm := range arms {
		ratio[arm] = 1 + i
		sum += 1 + i
	}
	seed := fmt.Sprintf("%064x", rapid.Uint64().Draw(t, "seed"))
	var decide decision
	switch rapid.SampledFrom(schemes).Draw(t, "scheme") {
	case "uploaded":
		lines := []string{"grade,sex,arm"}
		for _, arm := range arms {
			lines = append(lines, "mild,m,"+string(arm))
		}
		for range rapid.IntRange(0, 40).Draw(t, "rows") {
			lines = append(lines, rapid.SampledFrom(byGrade.Levels).Draw(t, "grade")+","+rapid.SampledFrom(bySex.Levels).Draw(t, "sex")+
				","+string(rapid.SampledFrom(arms).Draw(t, "arm")))
		}
		decide = uploading(l.study, "one", lines...)
	case "generated":
		decide = generating(l.study, randomisation.GenerateRandomisationList{Scheme: "one", Ratio: ratio, BlockSizes: []int{sum, 2 * sum}, PerStratum: 6, Seed: seed})
	default:
		decide = minimising(l.study, randomisation.DefineMinimisation{Scheme: "one", Ratio: ratio, P: 0.8, Seed: seed,
			Weights: map[string]float64{"sex": 0.3}, Metric: rapid.SampledFrom([]randomisation.Metric{
				randomisation.MetricRange, randomisation.MetricVariance, randomisation.MetricMarginalSum}).Draw(t, "metric")})
	}
	l.add(t, begun(t, l.study, decide)...)
	l.model.arms = arms
	switch e := l.events[0].(type) {
	case randomisation.ListUploaded:
		l.model.rows = opened(t, e.List).Rows
	case randomisation.ListGenerated:
		l.model.rows = opened(t, e.List).Rows
	}
	return l
}

func levelsDrawn(t *rapid.T) []string {
	return []string{"sex", rapid.SampledFrom(bySex.Levels).Draw(t, "sex"), "grade", rapid.SampledFrom(byGrade.Levels).Draw(t, "grade")}
}

// step lets one thing happen.
func (l *life) step(t *rapid.T) {
	who := rapid.IntRange(1, 40).Draw(t, "patient")
	switch step := rapid.IntRange(0, 19).Draw(t, "step"); {
	case step < 14:
		l.ask(t, who)
	case step < 16:
		events, err := correcting(who, levelsDrawn(t)...)(l.state)
		if err == nil {
			l.add(t, events...)
			l.model.truth[patient(who)] = events[0].(randomisation.StratumCorrected).Factors
		}
	case step < 18:
		var caps []randomisation.CohortCap
		for _, arm := range rapid.SliceOfNDistinct(rapid.SampledFrom(l.model.arms), 0, 2, rapid.ID).Draw(t, "capped") {
			caps = append(caps, randomisation.CohortCap{Arm: arm, Most: rapid.IntRange(0, 12).Draw(t, "cap")})
		}
		if rapid.Bool().Draw(t, "level capped") {
			caps = append(caps, randomisation.CohortCap{Factor: "sex", Level: "m", Most: rapid.IntRange(0, 12).Draw(t, "cap of m")})
		}
		l.add(t, must(t, l.state, capping(l.study, caps...))...)
		l.model.caps = caps
	case step == 18:
		if events, err := breaking(who, "overdose")(l.state); err == nil {
			l.add(t, events...)
		}
	default: // a scheme that is never active
		id := fmt.Sprint("s", len(l.events))
		l.add(t, must(t, l.state, uploading(l.study, id, "sex,grade,arm", "m,mild,verum", "m,mild,placebo", "f,worst,"+string(l.model.arms[len(l.model.arms)-1])))...)
	}
}

// ask asks for a draw and holds the answer to the model.
func (l *life) ask(t *rapid.T, who int) {
	m, id, levels := &l.model, patient(who), levelsDrawn(t)
	factors := factorsOf(levels...)
	inStock := l.model.arms
	if rapid.IntRange(0, 3).Draw(t, "scarce") == 0 {
		inStock = rapid.SliceOfNDistinct(rapid.SampledFrom(three), 0, 3, rapid.ID).Draw(t, "in stock")
	}
	before := m.arm[id]
	events := must(t, l.state, drawing(l.study, inStock, who, levels...))
	l.add(t, events...)
	if arm, drawn := l.state.ArmOf(id); before != "" && (len(events) > 0 || !drawn || opened(t, arm) != before) {
		t.Fatalf("%s was in %s, and is drawn again: %v", id, before, events)
	}
	if before != "" {
		return
	}
	var below, available []domain.ArmID
	for _, arm := range m.arms {
		if m.mayTake(arm) {
			below = append(below, arm)
			if slices.Contains(inStock, arm) {
				available = append(available, arm)
			}
		}
	}
	full := len(below) == 0 || slices.ContainsFunc(m.caps, func(c randomisation.CohortCap) bool {
		return c.Factor != "" && factors[c.Factor] == c.Level && m.atLevel(c.Factor, c.Level) >= c.Most
	})
	short := len(available) < len(below) && (!l.forced || len(available) == 0)
	stratum := slices.Index(bySex.Levels, factors["sex"])*3 + slices.Index(byGrade.Levels, factors["grade"])
	next := m.nextRow(stratum, available)
	code := refusal(events)
	switch {
	case full != (code == "cap_reached"), !full && short != (code == "no_stock"), !full && !short && m.rows != nil && next == 0 != (code == "list_exhausted"):
		t.Fatalf("full %v, short %v, next place %d: answered with %+v", full, short, next, events)
	case code != "":
		return
	}
	e, draw := theDraw(t, events)
	if !slices.Contains(available, draw.Arm) || opened(t, e.Arm) != draw.Arm || e.Number != len(m.arm)+1 || draw.Row != next || m.usedRow[draw.Row] && draw.Row > 0 {
		t.Fatalf("available %v, next place %d, and drawn %+v", available, next, draw)
	}
	for _, e := range events[:len(events)-1] {
		place := opened(t, e.(randomisation.EntrySkipped).Skipped)
		if m.usedRow[place.Row] || slices.Contains(available, place.Arm) || m.rows[place.Row-1].Stratum() != stratum || place.Row > draw.Row {
			t.Fatalf("available %v, and passed over %+v", available, place)
		}
	}
	m.arm[id], m.truth[id], m.usedRow[draw.Row] = draw.Arm, factors, draw.Row > 0
	if now, _ := l.state.FactorsOf(id); !reflect.DeepEqual(now, factors) || l.state.LastNumber != len(m.arm) {
		t.Fatalf("the state knows %v and is at %d", now, l.state.LastNumber)
	}
}

// Whatever happens: nobody is drawn twice, no place is used twice, the first place that can be had is used, no draw passes
// a cap, nobody is drawn for whom there is no kit, every ask is answered, no event changes an old state, and every
// beginning of the stream can be drawn again.
func TestDrawsAgreeWithAPlainModel(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		l := born(t)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			l.step(t)
		}
		for i := range l.events {
			if err := randomisation.Replay(l.events[:i+1]); err != nil {
				t.Fatalf("of %d events, the first %d: %v", len(l.events), i+1, err)
			}
			seen[reflect.TypeOf(l.events[i]).Name()]++
			if r, refused := l.events[i].(randomisation.RandomisationRefused); refused {
				seen[r.Code]++
			}
		}
	})
	for _, what := range []string{"EntrySkipped", "PatientRandomised", "StratumCorrected", "cap_reached", "no_stock", "list_exhausted"} {
		if seen[what] == 0 {
			t.Errorf("in no run was there %s: the test has not tried it", what)
		}
	}
}

// The log writes events as JSON, and reads them back: they replay as before.
func TestReplayReadsWhatTheLogHolds(t *testing.T) {
	for _, events := range full(t) {
		back := make([]randomisation.Event, len(events))
		for i, e := range events {
			back[i] = throughJSON(t, e, withKeys(t))
		}
		if err := randomisation.Replay(back); err != nil {
			t.Error(err)
		}
	}
}

// One thing that is sealed is enough: what is not known is not called proven.
func TestReplayNeedsAllKeys(t *testing.T) {
	for name, events := range full(t) {
		for i, e := range events {
			for field := range reflect.TypeOf(e).NumField() {
				sealed := reflect.New(reflect.TypeOf(e)).Elem()
				sealed.Set(reflect.ValueOf(e))
				if _, blinded := sealed.Field(field).Interface().(blind.Sealer); !blinded {
					continue
				}
				sealed.Field(field).SetZero()
				mixed := slices.Clone(events)
				mixed[i] = sealed.Interface().(randomisation.Event)
				if err := randomisation.Replay(mixed); !errors.Is(err, randomisation.ErrKeysMissing) {
					t.Errorf("%s: with %s of event %d, %T, sealed: %v", name, reflect.TypeOf(e).Field(field).Name, i, e, err)
				}
			}
		}
	}
}

// full returns a stream of each kind with all that can happen in it.
func full(t *testing.T) map[string][]randomisation.Event {
	t.Helper()
	s := forcing(two, bySex)
	streams := map[string][]randomisation.Event{}
	for name, decide := range map[string]decision{
		"uploaded":  uploading(s, "one", "sex,arm", "m,verum", "m,verum", "m,placebo", "f,placebo", "m,placebo", "f,verum", "m,verum", "f,verum", "f,placebo", "m,placebo"),
		"generated": generating(s, randomisation.GenerateRandomisationList{Scheme: "one", Ratio: equally, BlockSizes: []int{2, 4}, PerStratum: 8, Seed: theSeed}),
		"minimised": minimising(s, randomisation.DefineMinimisation{Scheme: "one", Ratio: equally, Metric: randomisation.MetricVariance, P: 0.8, Seed: theSeed}),
	} {
		events := begun(t, s, decide)
		for _, next := range []decision{
			drawing(s, two, 1, "sex", "m"),
			drawing(s, []domain.ArmID{placebo}, 2, "sex", "m"),
			drawing(s, []domain.ArmID{verum}, 3, "sex", "f"),
			correcting(1, "sex", "f"),
			drawing(s, []domain.ArmID{}, 4, "sex", "m"),
			capping(s, randomisation.CohortCap{Arm: verum, Most: 9}, randomisation.CohortCap{Factor: "sex", Level: "f", Most: 9}),
			drawing(s, two, 4, "sex", "m"),
			breaking(4, "overdose"),
			drawing(s, two, 5, "sex", "f"),
			correcting(3, "sex", "m"),
			drawing(s, two, 6, "sex", "m"),
			drawing(s, two, 7, "sex", "f"),
			drawing(s, two, 8, "sex", "m"),
			revealing(enrollment.Decider.Fold(enrollment.Opened{}, enrollment.Closed{}), "one", "end"),
		} {
			more, err := next(randomisation.Decider.Fold(events...))
			if err != nil && !(name == "uploaded" && strings.HasPrefix(err.Error(), "no_seed")) {
				t.Fatal(err)
			}
			events = append(events, more...)
		}
		if err := randomisation.Replay(events); err != nil {
			t.Fatal(err)
		}
		streams[name] = events
	}
	return streams
}

// ways are ways to change an event; each returns false where it has nothing to change.
type ways map[string]func(randomisation.Event) (randomisation.Event, bool)

func change[E randomisation.Event](w ways, what string, by func(*E) bool) {
	w[what] = func(e randomisation.Event) (randomisation.Event, bool) {
		one, is := e.(E)
		if !is || !by(&one) {
			return e, false
		}
		return one, true
	}
}

// inside changes what a blinded value holds; the copy through JSON keeps the original's slices.
func inside[T any](v *blind.Value[T], by func(*T) bool) bool {
	plain, _ := v.Open()
	text, err := json.Marshal(plain)
	var other T
	if err != nil || json.Unmarshal(text, &other) != nil || !by(&other) {
		return false
	}
	*v = blind.Of(other)
	return true
}

func swapped(arm domain.ArmID) domain.ArmID {
	if arm == verum {
		return placebo
	}
	return verum
}

// tampering are all ways to change one thing that Replay has to notice.
func tampering() ways {
	w := ways{}
	draws := map[string]func(*randomisation.Draw) bool{
		"method":      func(d *randomisation.Draw) bool { d.Method += "x"; return true },
		"scheme":      func(d *randomisation.Draw) bool { d.Scheme += "x"; return true },
		"number":      func(d *randomisation.Draw) bool { d.Number++; return true },
		"stratum":     func(d *randomisation.Draw) bool { d.Stratum = 1 - d.Stratum; return true },
		"arms":        func(d *randomisation.Draw) bool { slices.Reverse(d.Arms); return len(d.Arms) > 1 },
		"stock":       func(d *randomisation.Draw) bool { d.InStock = append(d.InStock, "other"); return true },
		"forced":      func(d *randomisation.Draw) bool { d.Forced = !d.Forced; return true },
		"row":         func(d *randomisation.Draw) bool { d.Row++; return true },
		"count":       func(d *randomisation.Draw) bool { return len(d.Counts) > 0 && bump(&d.Counts[0][0]) },
		"score":       func(d *randomisation.Draw) bool { return len(d.Scores) > 0 && bump(&d.Scores[0]) },
		"preferred":   func(d *randomisation.Draw) bool { d.Preferred = append(d.Preferred, verum); return true },
		"probability": func(d *randomisation.Draw) bool { return len(d.Probabilities) > 0 && bump(&d.Probabilities[0]) },
		"u":           func(d *randomisation.Draw) bool { d.U += 1. / (1 << 53); return true },
		"arm":         func(d *randomisation.Draw) bool { d.Arm = swapped(d.Arm); return true },
	}
	for what, by := range draws {
		change(w, "the draw's "+what, func(e *randomisation.PatientRandomised) bool { return inside(&e.Draw, by) })
	}
	change(w, "the arm", func(e *randomisation.PatientRandomised) bool {
		return inside(&e.Arm, func(a *domain.ArmID) bool { *a = swapped(*a); return true })
	})
	change(w, "both arms", func(e *randomisation.PatientRandomised) bool {
		return inside(&e.Arm, func(a *domain.ArmID) bool { *a = swapped(*a); return true }) &&
			inside(&e.Draw, func(d *randomisation.Draw) bool { d.Arm = swapped(d.Arm); return true })
	})
	change(w, "the number", func(e *randomisation.PatientRandomised) bool { e.Number++; return true })
	change(w, "the scheme", func(e *randomisation.PatientRandomised) bool { e.Scheme = "two"; return true })
	change(w, "the levels", func(e *randomisation.PatientRandomised) bool {
		e.Factors = factorsOf("sex", map[string]string{"f": "m", "m": "f"}[e.Factors["sex"]])
		return true
	})
	change(w, "the patient of a skip", func(e *randomisation.EntrySkipped) bool { e.Patient = patient(99); return true })
	change(w, "the number of a skip", func(e *randomisation.EntrySkipped) bool { e.Number++; return true })
	change(w, "the place of a skip", func(e *randomisation.EntrySkipped) bool {
		return inside(&e.Skipped, func(s *randomisation.Skipped) bool { s.Row++; return true })
	})
	change(w, "the far place of a skip", func(e *randomisation.EntrySkipped) bool {
		return inside(&e.Skipped, func(s *randomisation.Skipped) bool { s.Row = 1 << 40; return true })
	})
	change(w, "the arm of a skip", func(e *randomisation.EntrySkipped) bool {
		return inside(&e.Skipped, func(s *randomisation.Skipped) bool { s.Arm = swapped(s.Arm); return true })
	})
	lists := map[string]func(*randomisation.ListPart) bool{
		"row's arm":     func(p *randomisation.ListPart) bool { p.Rows[6][1] = 1 - p.Rows[6][1]; return true },
		"row's stratum": func(p *randomisation.ListPart) bool { p.Rows[6][0] = 1 - p.Rows[6][0]; return true },
		"row's nothing": func(p *randomisation.ListPart) bool { p.Rows[6] = randomisation.Row{1 << 40, -1}; return true },
		"row's absence": func(p *randomisation.ListPart) bool { p.Rows = p.Rows[:6]; return true },
		"emptiness":     func(p *randomisation.ListPart) bool { p.Rows = nil; return true },
		"arms":          func(p *randomisation.ListPart) bool { slices.Reverse(p.Arms); return true },
		"armlessness":   func(p *randomisation.ListPart) bool { p.Arms = nil; return true },
		"hash":          func(p *randomisation.ListPart) bool { p.SHA256 = hashOf(p.SHA256); return true },
	}
	for what, by := range lists {
		change(w, "the uploaded list's "+what, func(e *randomisation.ListUploaded) bool { return inside(&e.List, by) })
		change(w, "the generated list's "+what, func(e *randomisation.ListGenerated) bool { return inside(&e.List, by) })
	}
	change(w, "the uploaded list's hash that is shown", func(e *randomisation.ListUploaded) bool { e.SHA256 = theSeed; return true })
	change(w, "the uploaded list's count", func(e *randomisation.ListUploaded) bool { e.Rows++; return true })
	change(w, "the uploaded list's part", func(e *randomisation.ListUploaded) bool { e.Part = 2; return true })
	change(w, "the uploaded list's factors", func(e *randomisation.ListUploaded) bool { e.Factors = nil; return true })
	change(w, "the generated list's hash that is shown", func(e *randomisation.ListGenerated) bool { e.SHA256 = theSeed; return true })
	change(w, "the generated list's hashes", func(e *randomisation.ListGenerated) bool {
		e.SHA256 = theSeed
		return inside(&e.List, func(p *randomisation.ListPart) bool { p.SHA256 = theSeed; return true })
	})
	change(w, "the generated list's parts", func(e *randomisation.ListGenerated) bool { e.Parts = 0; return true })
	change(w, "the generated list's levels", func(e *randomisation.ListGenerated) bool {
		e.Factors = []randomisation.Factor{{ID: "sex"}}
		return true
	})
	other := strings.Repeat("02", 32)
	change(w, "the list's seed", func(e *randomisation.ListGenerated) bool { e.Seed = blind.Of(other); return true })
	change(w, "the list's commitment", func(e *randomisation.ListGenerated) bool { e.SeedCommitment = other; return true })
	change(w, "the list's seed with its commitment", func(e *randomisation.ListGenerated) bool {
		e.Seed, e.SeedCommitment = blind.Of(other), hashOf(strings.Repeat("\x02", 32))
		return true
	})
	plans := map[string]func(*randomisation.Plan) bool{
		"shares":   func(p *randomisation.Plan) bool { p.Shares = nil; return true },
		"ratio":    func(p *randomisation.Plan) bool { p.Shares[0].Ratio = 0; return true },
		"blocks":   func(p *randomisation.Plan) bool { p.BlockSizes = []int{4, 6}; return true },
		"no block": func(p *randomisation.Plan) bool { p.BlockSizes = nil; return true },
		"length":   func(p *randomisation.Plan) bool { p.PerStratum = 1 << 40; return true },
		"a block":  func(p *randomisation.Plan) bool { p.PerStratum += 8; return true },
	}
	for what, by := range plans {
		change(w, "the plan's "+what, func(e *randomisation.ListGenerated) bool { return inside(&e.Plan, by) })
	}
	change(w, "the minimisation's seed", func(e *randomisation.MinimisationDefined) bool { e.Seed = blind.Of(other); return true })
	change(w, "the minimisation's seed with its commitment", func(e *randomisation.MinimisationDefined) bool {
		e.Seed, e.SeedCommitment = blind.Of(other), hashOf(strings.Repeat("\x02", 32))
		return true
	})
	change(w, "the minimisation's seed of nonsense", func(e *randomisation.MinimisationDefined) bool {
		e.Seed, e.SeedCommitment = blind.Of("xyz"), hashOf("xyz")
		return true
	})
	minimisations := map[string]func(*randomisation.Minimisation) bool{
		"p":       func(m *randomisation.Minimisation) bool { m.P = 0.7; return true },
		"metric":  func(m *randomisation.Minimisation) bool { m.Metric = randomisation.MetricMarginalSum; return true },
		"nothing": func(m *randomisation.Minimisation) bool { m.Metric = ""; return true },
		"weights": func(m *randomisation.Minimisation) bool { m.Weights[0] = 2; return true },
		"weight":  func(m *randomisation.Minimisation) bool { m.Weights = nil; return true },
		"ratio":   func(m *randomisation.Minimisation) bool { m.Shares[0].Ratio = 2; return true },
		"zero":    func(m *randomisation.Minimisation) bool { m.Shares[0].Ratio = 0; return true },
		"arms":    func(m *randomisation.Minimisation) bool { slices.Reverse(m.Shares); return true },
		"shares":  func(m *randomisation.Minimisation) bool { m.Shares = nil; return true },
	}
	for what, by := range minimisations {
		change(w, "the minimisation's "+what, func(e *randomisation.MinimisationDefined) bool { return inside(&e.Minimisation, by) })
	}
	change(w, "the minimisation's factors", func(e *randomisation.MinimisationDefined) bool { e.Factors = nil; return true })
	change(w, "the activation", func(e *randomisation.SchemeActivated) bool { e.Scheme = "two"; return true })
	change(w, "the caps of arms", func(e *randomisation.CohortCapsSet) bool {
		return inside(&e.Arms, func(c *[]randomisation.CohortCap) bool { (*c)[0].Most = 0; return true })
	})
	change(w, "the caps of levels", func(e *randomisation.CohortCapsSet) bool {
		e.Levels = []randomisation.CohortCap{{Factor: "sex", Level: "m"}}
		return true
	})
	change(w, "what a correction replaces", func(e *randomisation.StratumCorrected) bool { e.Was = nil; return true })
	change(w, "whom a correction is of", func(e *randomisation.StratumCorrected) bool { e.Patient = patient(99); return true })
	change(w, "whose blind was broken", func(e *randomisation.BlindBroken) bool { e.Patient = patient(99); return true })
	change(w, "the seed at the end", func(e *randomisation.SeedRevealed) bool { e.Seed = other; return true })
	change(w, "the seed at the end to nonsense", func(e *randomisation.SeedRevealed) bool { e.Seed = "xyz"; return true })
	change(w, "whose seed it is", func(e *randomisation.SeedRevealed) bool { e.Scheme = "two"; return true })
	return w
}

func bump[N int | float64](n *N) bool {
	*n++
	return true
}

// Whatever is changed in a stream, Replay says so, names an event, and shows no arm.
func TestReplayFindsWhatWasTamperedWith(t *testing.T) {
	tried, tampering := map[string]bool{}, tampering()
	for name, events := range full(t) {
		for i := range events {
			for what, by := range tampering {
				changed, could := by(events[i])
				if !could {
					continue
				}
				tried[what] = true
				tampered := slices.Clone(events)
				tampered[i] = changed
				err := randomisation.Replay(tampered)
				if err == nil {
					t.Errorf("%s: with %s of event %d changed, the stream replays", name, what, i)
				}
				if err != nil && (!strings.HasPrefix(err.Error(), "event ") || strings.Contains(err.Error(), string(verum)) || strings.Contains(err.Error(), string(placebo))) {
					t.Errorf("%s: with %s of event %d changed: %v", name, what, i, err)
				}
			}
		}
	}
	for what := range tampering {
		if !tried[what] {
			t.Errorf("no stream has %s", what)
		}
	}
}

// Of places that are passed over at the end of the stream, in front of a draw that is not there yet, it is known at least
// that each is the next of its stratum.
func TestReplayFollowsSkippedPlacesOneByOne(t *testing.T) {
	s := forcing(two)
	past := begun(t, s, uploading(s, "one", "arm", "verum", "verum", "placebo"))
	first, second, third := skipped(1, 1, 1, verum), skipped(1, 1, 2, verum), skipped(1, 1, 3, placebo)
	for _, x := range []struct {
		skips []randomisation.Event
		good  bool
	}{
		{[]randomisation.Event{first}, true},
		{[]randomisation.Event{first, second, third}, true},
		{[]randomisation.Event{second}, false},
		{[]randomisation.Event{first, first}, false},
		{[]randomisation.Event{first, third}, false},
		{[]randomisation.Event{first, second, third, third}, false},
		{[]randomisation.Event{skipped(1, 1, 1, placebo)}, false},
		{[]randomisation.Event{skipped(1, 2, 1, verum)}, false},
		{[]randomisation.Event{first, randomisation.BlindBroken{Study: pain, Patient: patient(1)}}, false},
	} {
		if err := randomisation.Replay(slices.Concat(past, x.skips)); (err == nil) != x.good {
			t.Errorf("%v: %v", x.skips, err)
		}
	}
}

// Events that are left out, or there twice, are found too, as far as a later draw follows from them.
func TestReplayFindsMissingEvents(t *testing.T) {
	for name, events := range full(t) {
		lastDraw := 0
		for i, e := range events {
			if _, draw := e.(randomisation.PatientRandomised); draw {
				lastDraw = i
			}
		}
		for i, e := range events[:lastDraw] {
			switch e.(type) {
			case randomisation.RandomisationRefused, randomisation.BlindBroken, randomisation.CohortCapsSet:
				continue // nothing follows from them here
			case randomisation.StratumCorrected:
				if name != "minimised" {
					continue // lists do not count
				}
			}
			if randomisation.Replay(slices.Delete(slices.Clone(events), i, i+1)) == nil {
				t.Errorf("%s: without event %d, %T, the stream replays", name, i, e)
			}
			if randomisation.Replay(slices.Insert(slices.Clone(events), i, e)) == nil {
				t.Errorf("%s: with event %d, %T, twice, the stream replays", name, i, e)
			}
		}
	}
}
