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

// model is the simplest data that a study's draws must agree with.
type model struct {
	rows    []randomisation.Row // of the active list
	arms    []domain.ArmID
	usedRow map[int]bool
	arm     map[domain.PatientID]domain.ArmID
	levels  map[domain.PatientID]map[string]string
	caps    []randomisation.CohortCap
	closed  []domain.ArmID
	cohorts []randomisation.LevelCap
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
	for _, of := range m.levels {
		if of[factor] == level {
			n++
		}
	}
	return n
}

// mayTake says whether another patient may be drawn into the arm.
func (m *model) mayTake(arm domain.ArmID) bool {
	return !slices.Contains(m.closed, arm) &&
		!slices.ContainsFunc(m.caps, func(c randomisation.CohortCap) bool { return c.Arm == arm && m.inArm(arm) >= c.Most })
}

// nextRow is the first unused entry of the stratum whose arm is among the given ones.
func (m *model) nextRow(stratum int, among []domain.ArmID) int {
	for i, row := range m.rows {
		if row.Stratum() == stratum && !m.usedRow[i+1] && slices.Contains(among, m.arms[row.Arm()]) {
			return i + 1
		}
	}
	return 0
}

// simulation is a study with random events.
type simulation struct {
	study  study.Study
	forced bool
	events []randomisation.Event
	state  randomisation.Randomisation
	model  model
}

// add appends the events to the study.
func (sim *simulation) add(t *rapid.T, events ...randomisation.Event) {
	for _, e := range events {
		sim.state = scenario.Evolve(t, randomisation.Decider, sim.state, e)
	}
	sim.events = append(sim.events, events...)
}

var schemes = []string{"uploaded", "generated", "minimised"}

// newSimulation returns a study with a random scheme.
func newSimulation(t *rapid.T) *simulation {
	sim := &simulation{forced: rapid.Bool().Draw(t, "forced allocation"),
		model: model{usedRow: map[int]bool{}, arm: map[domain.PatientID]domain.ArmID{}, levels: map[domain.PatientID]map[string]string{}}}
	arms := rapid.SampledFrom([][]domain.ArmID{two, three}).Draw(t, "arms")
	factors := []study.Factor{bySex, byGrade}
	if sim.study = studyWith(arms, factors...); sim.forced {
		sim.study = studyThatForces(arms, factors...)
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
		decide = uploading(sim.study, "one", lines...)
	case "generated":
		decide = generating(sim.study, randomisation.GenerateRandomisationList{Scheme: "one", Ratio: ratio,
			BlockSizes: []int{sum, 2 * sum}, PerStratum: 6, Seed: seed})
	default:
		decide = minimising(sim.study, randomisation.DefineMinimisation{Scheme: "one", Ratio: ratio, P: 0.8, Seed: seed,
			Weights: map[string]float64{"sex": 0.3}, Metric: rapid.SampledFrom(metrics).Draw(t, "metric")})
	}
	sim.add(t, activated(t, sim.study, decide)...)
	sim.model.arms = arms
	switch e := sim.events[0].(type) {
	case randomisation.ListUploaded:
		sim.model.rows = opened(t, e.List).Rows
	case randomisation.ListGenerated:
		sim.model.rows = opened(t, e.List).Rows
	}
	return sim
}

func levelsDrawn(t *rapid.T) []string {
	return []string{"sex", rapid.SampledFrom(bySex.Levels).Draw(t, "sex"), "grade", rapid.SampledFrom(byGrade.Levels).Draw(t, "grade")}
}

// step makes one random decision.
func (sim *simulation) step(t *rapid.T) {
	who := rapid.IntRange(1, 40).Draw(t, "patient")
	switch step := rapid.IntRange(0, 23).Draw(t, "step"); {
	case step > 19:
		sim.change(t, step)
	case step < 14:
		sim.draw(t, who)
	case step < 16:
		events, err := correcting(who, levelsDrawn(t)...)(sim.state)
		if err == nil {
			sim.add(t, events...)
			sim.model.levels[patient(who)] = events[0].(randomisation.StratumCorrected).Factors
		}
	case step < 18:
		var caps []randomisation.CohortCap
		for _, arm := range rapid.SliceOfNDistinct(rapid.SampledFrom(sim.model.arms), 0, 2, rapid.ID).Draw(t, "capped") {
			caps = append(caps, randomisation.CohortCap{Arm: arm, Most: rapid.IntRange(0, 12).Draw(t, "cap")})
		}
		if rapid.Bool().Draw(t, "level capped") {
			caps = append(caps, randomisation.CohortCap{Factor: "sex", Level: "m", Most: rapid.IntRange(0, 12).Draw(t, "cap of m")})
		}
		sim.add(t, must(t, sim.state, capping(sim.study, caps...))...)
		sim.model.caps = caps
	case step == 18:
		if events, err := breaking(who, "overdose")(sim.state); err == nil {
			sim.add(t, events...)
		}
	default: // a scheme that never becomes active
		id, lastArm := fmt.Sprint("s", len(sim.events)), string(sim.model.arms[len(sim.model.arms)-1])
		sim.add(t, must(t, sim.state, uploading(sim.study, id, "sex,grade,arm", "m,mild,verum", "m,mild,placebo", "f,worst,"+lastArm))...)
	}
}

// change closes an arm, extends the list, replaces the scheme, or caps a cohort.
func (sim *simulation) change(t *rapid.T, step int) {
	m := &sim.model
	switch step {
	case 20:
		arm := rapid.SampledFrom(m.arms).Draw(t, "closed")
		if events, err := closing(sim.study, arm)(sim.state); err == nil {
			sim.add(t, events...)
			m.closed = append(m.closed, arm)
		}
	case 21:
		extend := randomisation.ExtendRandomisationList{Scheme: sim.state.Active("")}
		if _, generated := sim.events[0].(randomisation.ListGenerated); generated {
			extend.PerStratum = rapid.IntRange(1, 4).Draw(t, "more")
		} else {
			extend.CSV = "sex,grade,arm\nm,mild,verum\nf,worst,placebo\n"
		}
		events, err := extending(extend)(sim.state)
		if err != nil {
			return
		}
		sim.add(t, events...)
		for _, e := range events {
			if e, part := e.(randomisation.ListExtended); part {
				m.rows = append(slices.Clone(m.rows), opened(t, e.List).Rows...)
			}
		}
	case 22:
		id := fmt.Sprint("m", len(sim.events))
		ratio := map[domain.ArmID]int{}
		for _, arm := range m.arms {
			ratio[arm] = 1
		}
		defined := must(t, sim.state, minimising(sim.study, randomisation.DefineMinimisation{Scheme: id, Ratio: ratio,
			Metric: randomisation.MetricRange, P: 0.8, Seed: theSeed}))
		sim.add(t, defined...)
		sim.add(t, must(t, sim.state, superseding(sim.study, id, defined[0].(randomisation.MinimisationDefined).SeedCommitment,
			rapid.SampledFrom([]randomisation.Counting{randomisation.CountEarlier, randomisation.CountFresh}).Draw(t, "counting")))...)
		m.rows, m.usedRow = nil, map[int]bool{}
	default:
		m.cohorts = []randomisation.LevelCap{{Levels: map[string]string{"sex": "f", "grade": "mild"}, Most: rapid.IntRange(0,
			5).Draw(t, "cohort")}}
		sim.add(t, must(t, sim.state, bounding(sim.study, m.cohorts...))...)
	}
}

// cohortIsFull says whether a cohort of a patient with these levels is full.
func (m *model) cohortIsFull(factors map[string]string) bool {
	return slices.ContainsFunc(m.cohorts, func(c randomisation.LevelCap) bool {
		has := func(of map[string]string) bool {
			return of["sex"] == c.Levels["sex"] && of["grade"] == c.Levels["grade"]
		}
		n := 0
		for _, of := range m.levels {
			if has(of) {
				n++
			}
		}
		return has(factors) && n >= c.Most
	})
}

// draw requests a draw and compares the answer with the model.
func (sim *simulation) draw(t *rapid.T, who int) {
	m, id, levels := &sim.model, patient(who), levelsDrawn(t)
	factors := factorsOf(levels...)
	inStock := sim.model.arms
	if rapid.IntRange(0, 3).Draw(t, "scarce") == 0 {
		inStock = rapid.SliceOfNDistinct(rapid.SampledFrom(three), 0, 3, rapid.ID).Draw(t, "in stock")
	}
	before := m.arm[id]
	events := must(t, sim.state, drawing(sim.study, inStock, who, levels...))
	sim.add(t, events...)
	if arm, drawn := sim.state.ArmOf(id); before != "" && (len(events) > 0 || !drawn || opened(t, arm) != before) {
		t.Fatalf("%s was in %s and is drawn again: %v", id, before, events)
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
	}) || m.cohortIsFull(factors)
	short := len(available) < len(below) && (!sim.forced || len(available) == 0)
	stratum := slices.Index(bySex.Levels, factors["sex"])*3 + slices.Index(byGrade.Levels, factors["grade"])
	next := m.nextRow(stratum, available)
	code := refusal(events)
	switch {
	case full != (code == "cap_reached"), !full && short != (code == "no_stock"),
		!full && !short && m.rows != nil && next == 0 != (code == "list_exhausted"):
		t.Fatalf("full %v, short %v, next entry %d: answered with %+v", full, short, next, events)
	case code != "":
		return
	}
	e, draw := theDraw(t, events)
	if !slices.Contains(available, draw.Arm) || opened(t, e.Arm) != draw.Arm || e.Number != len(m.arm)+1 ||
		draw.Row != next || m.usedRow[draw.Row] && draw.Row > 0 {
		t.Fatalf("available %v, next entry %d, drawn %+v", available, next, draw)
	}
	drawn := withoutNotices(events)
	for _, e := range drawn[:len(drawn)-1] {
		entry := opened(t, e.(randomisation.EntrySkipped).Skipped)
		if m.usedRow[entry.Row] || slices.Contains(available, entry.Arm) || m.rows[entry.Row-1].Stratum() != stratum || entry.Row > draw.Row {
			t.Fatalf("available %v, skipped %+v", available, entry)
		}
	}
	m.arm[id], m.levels[id], m.usedRow[draw.Row] = draw.Arm, factors, draw.Row > 0
	if now, _ := sim.state.FactorsOf(id); !reflect.DeepEqual(now, factors) || sim.state.LastNumber != len(m.arm) {
		t.Fatalf("the state has the levels %v and the last number %d", now, sim.state.LastNumber)
	}
}

// In any sequence of events: nobody is drawn twice, no entry is used twice, the first available entry is used, no draw
// exceeds a cap, nobody is drawn without a kit, every request is answered, no event changes an old state, and Replay
// accepts every beginning of the stream.
func TestDrawsAgreeWithAPlainModel(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		sim := newSimulation(t)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			sim.step(t)
		}
		for i := range sim.events {
			if err := randomisation.Replay(sim.events[:i+1]); err != nil {
				t.Fatalf("the first %d of %d events: %v", i+1, len(sim.events), err)
			}
			seen[reflect.TypeOf(sim.events[i]).Name()]++
			if r, refused := sim.events[i].(randomisation.RandomisationRefused); refused {
				seen[r.Code]++
			}
		}
	})
	for _, what := range []string{"EntrySkipped", "PatientRandomised", "StratumCorrected", "cap_reached", "no_stock", "list_exhausted",
		"ArmClosed", "ListExtended", "SchemeSuperseded", "LevelCapsSet", "AllocationForced"} {
		if seen[what] == 0 {
			t.Errorf("%s did not occur in any run", what)
		}
	}
}

// The log stores events as JSON. Replay accepts the events that are read back.
func TestReplayAcceptsStoredEvents(t *testing.T) {
	for _, events := range fullStreams(t) {
		back := make([]randomisation.Event, len(events))
		for i, e := range events {
			back[i] = throughJSON(t, e, withKeys(t))
		}
		if err := randomisation.Replay(back); err != nil {
			t.Error(err)
		}
	}
}

// One sealed value is enough for Replay to fail: it must not accept what it cannot read.
func TestReplayNeedsAllKeys(t *testing.T) {
	for name, events := range fullStreams(t) {
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

// fullStreams returns a stream for each kind of scheme, with events of every type.
func fullStreams(t *testing.T) map[string][]randomisation.Event {
	t.Helper()
	s := studyThatForces(two, bySex)
	streams := map[string][]randomisation.Event{}
	for name, decide := range map[string]decision{
		"uploaded": uploading(s, "one", "sex,arm", "m,verum", "m,verum", "m,placebo", "f,placebo", "m,placebo", "f,verum", "m,verum",
			"f,verum", "f,placebo", "m,placebo"),
		"generated": generating(s, randomisation.GenerateRandomisationList{Scheme: "one", Ratio: equally,
			BlockSizes: []int{2, 4}, PerStratum: 8, Seed: theSeed}),
		"minimised": minimising(s, randomisation.DefineMinimisation{Scheme: "one", Ratio: equally,
			Metric: randomisation.MetricVariance, P: 0.8, Seed: theSeed}),
	} {
		events := activated(t, s, decide)
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

// changes are changes of an event, by a name; a change returns false for an event that it cannot change.
type changes map[string]func(randomisation.Event) (randomisation.Event, bool)

// add adds a change of events of one type.
func add[E randomisation.Event](w changes, what string, by func(*E) bool) {
	w[what] = func(e randomisation.Event) (randomisation.Event, bool) {
		one, is := e.(E)
		if !is || !by(&one) {
			return e, false
		}
		return one, true
	}
}

// inside changes the content of a blinded value. It copies the content through JSON, so that the original does not
// change.
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

// tampering returns changes of single events that Replay has to find.
func tampering() changes {
	w := changes{}
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
		add(w, "the draw's "+what, func(e *randomisation.PatientRandomised) bool { return inside(&e.Draw, by) })
	}
	add(w, "the arm", func(e *randomisation.PatientRandomised) bool {
		return inside(&e.Arm, func(a *domain.ArmID) bool { *a = swapped(*a); return true })
	})
	add(w, "both arms", func(e *randomisation.PatientRandomised) bool {
		return inside(&e.Arm, func(a *domain.ArmID) bool { *a = swapped(*a); return true }) &&
			inside(&e.Draw, func(d *randomisation.Draw) bool { d.Arm = swapped(d.Arm); return true })
	})
	add(w, "the number", func(e *randomisation.PatientRandomised) bool { e.Number++; return true })
	add(w, "the scheme", func(e *randomisation.PatientRandomised) bool { e.Scheme = "two"; return true })
	add(w, "the levels", func(e *randomisation.PatientRandomised) bool {
		e.Factors = factorsOf("sex", map[string]string{"f": "m", "m": "f"}[e.Factors["sex"]])
		return true
	})
	add(w, "the patient of a skip", func(e *randomisation.EntrySkipped) bool { e.Patient = patient(99); return true })
	add(w, "the number of a skip", func(e *randomisation.EntrySkipped) bool { e.Number++; return true })
	add(w, "the row of a skip", func(e *randomisation.EntrySkipped) bool {
		return inside(&e.Skipped, func(s *randomisation.Skipped) bool { s.Row++; return true })
	})
	add(w, "the row of a skip, beyond the list", func(e *randomisation.EntrySkipped) bool {
		return inside(&e.Skipped, func(s *randomisation.Skipped) bool { s.Row = 1 << 40; return true })
	})
	add(w, "the arm of a skip", func(e *randomisation.EntrySkipped) bool {
		return inside(&e.Skipped, func(s *randomisation.Skipped) bool { s.Arm = swapped(s.Arm); return true })
	})
	lists := map[string]func(*randomisation.ListPart) bool{
		"row's arm":     func(p *randomisation.ListPart) bool { p.Rows[6][1] = 1 - p.Rows[6][1]; return true },
		"row's stratum": func(p *randomisation.ListPart) bool { p.Rows[6][0] = 1 - p.Rows[6][0]; return true },
		"row's range":   func(p *randomisation.ListPart) bool { p.Rows[6] = randomisation.Row{1 << 40, -1}; return true },
		"missing rows":  func(p *randomisation.ListPart) bool { p.Rows = p.Rows[:6]; return true },
		"rows":          func(p *randomisation.ListPart) bool { p.Rows = nil; return true },
		"arms":          func(p *randomisation.ListPart) bool { slices.Reverse(p.Arms); return true },
		"missing arms":  func(p *randomisation.ListPart) bool { p.Arms = nil; return true },
		"hash":          func(p *randomisation.ListPart) bool { p.SHA256 = hashOf(p.SHA256); return true },
	}
	for what, by := range lists {
		add(w, "the uploaded list's "+what, func(e *randomisation.ListUploaded) bool { return inside(&e.List, by) })
		add(w, "the generated list's "+what, func(e *randomisation.ListGenerated) bool { return inside(&e.List, by) })
	}
	add(w, "the uploaded list's hash that is shown", func(e *randomisation.ListUploaded) bool { e.SHA256 = theSeed; return true })
	add(w, "the uploaded list's count", func(e *randomisation.ListUploaded) bool { e.Rows++; return true })
	add(w, "the uploaded list's part", func(e *randomisation.ListUploaded) bool { e.Part = 2; return true })
	add(w, "the uploaded list's factors", func(e *randomisation.ListUploaded) bool { e.Factors = nil; return true })
	add(w, "the generated list's hash that is shown", func(e *randomisation.ListGenerated) bool { e.SHA256 = theSeed; return true })
	add(w, "the generated list's hashes", func(e *randomisation.ListGenerated) bool {
		e.SHA256 = theSeed
		return inside(&e.List, func(p *randomisation.ListPart) bool { p.SHA256 = theSeed; return true })
	})
	add(w, "the generated list's parts", func(e *randomisation.ListGenerated) bool { e.Parts = 0; return true })
	add(w, "the generated list's levels", func(e *randomisation.ListGenerated) bool {
		e.Factors = []randomisation.Factor{{ID: "sex"}}
		return true
	})
	other := strings.Repeat("02", 32)
	add(w, "the list's seed", func(e *randomisation.ListGenerated) bool { e.Seed = blind.Of(other); return true })
	add(w, "the list's commitment", func(e *randomisation.ListGenerated) bool { e.SeedCommitment = other; return true })
	add(w, "the list's seed with its commitment", func(e *randomisation.ListGenerated) bool {
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
		add(w, "the plan's "+what, func(e *randomisation.ListGenerated) bool { return inside(&e.Plan, by) })
	}
	add(w, "the minimisation's seed", func(e *randomisation.MinimisationDefined) bool { e.Seed = blind.Of(other); return true })
	add(w, "the minimisation's seed with its commitment", func(e *randomisation.MinimisationDefined) bool {
		e.Seed, e.SeedCommitment = blind.Of(other), hashOf(strings.Repeat("\x02", 32))
		return true
	})
	add(w, "the minimisation's seed, malformed,", func(e *randomisation.MinimisationDefined) bool {
		e.Seed, e.SeedCommitment = blind.Of("xyz"), hashOf("xyz")
		return true
	})
	minimisations := map[string]func(*randomisation.Minimisation) bool{
		"p":               func(m *randomisation.Minimisation) bool { m.P = 0.7; return true },
		"metric":          func(m *randomisation.Minimisation) bool { m.Metric = randomisation.MetricMarginalSum; return true },
		"missing metric":  func(m *randomisation.Minimisation) bool { m.Metric = ""; return true },
		"weights":         func(m *randomisation.Minimisation) bool { m.Weights[0] = 2; return true },
		"missing weights": func(m *randomisation.Minimisation) bool { m.Weights = nil; return true },
		"ratio":           func(m *randomisation.Minimisation) bool { m.Shares[0].Ratio = 2; return true },
		"zero share":      func(m *randomisation.Minimisation) bool { m.Shares[0].Ratio = 0; return true },
		"arms":            func(m *randomisation.Minimisation) bool { slices.Reverse(m.Shares); return true },
		"shares":          func(m *randomisation.Minimisation) bool { m.Shares = nil; return true },
	}
	for what, by := range minimisations {
		add(w, "the minimisation's "+what, func(e *randomisation.MinimisationDefined) bool { return inside(&e.Minimisation, by) })
	}
	add(w, "the minimisation's factors", func(e *randomisation.MinimisationDefined) bool { e.Factors = nil; return true })
	add(w, "the activation", func(e *randomisation.SchemeActivated) bool { e.Scheme = "two"; return true })
	add(w, "the caps of arms", func(e *randomisation.CohortCapsSet) bool {
		return inside(&e.Arms, func(c *randomisation.ArmCaps) bool { (*c)[0].Most = 0; return true })
	})
	add(w, "the caps of levels", func(e *randomisation.CohortCapsSet) bool {
		e.Levels = []randomisation.CohortCap{{Factor: "sex", Level: "m"}}
		return true
	})
	add(w, "the old levels of a correction", func(e *randomisation.StratumCorrected) bool { e.Was = nil; return true })
	add(w, "the patient of a correction", func(e *randomisation.StratumCorrected) bool { e.Patient = patient(99); return true })
	add(w, "the patient of a broken blind", func(e *randomisation.BlindBroken) bool { e.Patient = patient(99); return true })
	add(w, "the revealed seed", func(e *randomisation.SeedRevealed) bool { e.Seed = other; return true })
	add(w, "the revealed seed, malformed,", func(e *randomisation.SeedRevealed) bool { e.Seed = "xyz"; return true })
	add(w, "the scheme of the revealed seed", func(e *randomisation.SeedRevealed) bool { e.Scheme = "two"; return true })
	return w
}

func bump[N int | float64](n *N) bool {
	*n++
	return true
}

// Replay finds every change of an event. Its error names an event and shows no arm.
func TestReplayFindsChangedEvents(t *testing.T) {
	tried, tampering := map[string]bool{}, tampering()
	for name, events := range fullStreams(t) {
		for i := range events {
			for what, change := range tampering {
				changed, ok := change(events[i])
				if !ok {
					continue
				}
				tried[what] = true
				tampered := slices.Clone(events)
				tampered[i] = changed
				err := randomisation.Replay(tampered)
				if err == nil {
					t.Errorf("%s: Replay accepts event %d with %s changed", name, i, what)
					continue
				}
				text := err.Error()
				if !strings.HasPrefix(text, "event ") || strings.Contains(text, string(verum)) || strings.Contains(text, string(placebo)) {
					t.Errorf("%s: event %d with %s changed: %v", name, i, what, err)
				}
			}
		}
	}
	for what := range tampering {
		if !tried[what] {
			t.Errorf("no stream has an event with %s", what)
		}
	}
}

// A stream may end with skipped entries whose draw is not recorded yet. Replay checks that each is the next entry of
// its stratum.
func TestReplayChecksSkippedEntriesWithoutTheirDraw(t *testing.T) {
	s := studyThatForces(two)
	past := activated(t, s, uploading(s, "one", "arm", "verum", "verum", "placebo"))
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

// Replay also finds events that are missing or that occur twice, if a later draw depends on them.
func TestReplayFindsMissingAndRepeatedEvents(t *testing.T) {
	for name, events := range fullStreams(t) {
		lastDraw := 0
		for i, e := range events {
			if _, draw := e.(randomisation.PatientRandomised); draw {
				lastDraw = i
			}
		}
		for i, e := range events[:lastDraw] {
			switch e.(type) {
			case randomisation.RandomisationRefused, randomisation.BlindBroken, randomisation.CohortCapsSet:
				continue // no draw depends on them here
			case randomisation.StratumCorrected:
				if name != "minimised" {
					continue // draws from lists do not use the counts of levels
				}
			}
			_, told := e.(randomisation.AllocationForced) // older logs do not have it
			if !told && randomisation.Replay(slices.Delete(slices.Clone(events), i, i+1)) == nil {
				t.Errorf("%s: Replay accepts the stream without event %d, %T", name, i, e)
			}
			if randomisation.Replay(slices.Insert(slices.Clone(events), i, e)) == nil {
				t.Errorf("%s: Replay accepts the stream with event %d, %T, twice", name, i, e)
			}
		}
	}
}
