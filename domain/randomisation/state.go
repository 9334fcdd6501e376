package randomisation

import (
	"iter"
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/persistent"
)

// Randomisation is the state of a study's draws. Its blinded values are behind two pointers: after a bad verb, fmt
// follows one pointer and does not call the Format method of a blind.Value in an unexported field.
type Randomisation struct {
	// LastNumber is the number of the last draw, which is also the number of draws.
	LastNumber int

	schemes map[string]*scheme
	caps    *caps
	closed  *closedArms
	// cohorts are the cohorts that are capped, with the number of their patients.
	cohorts []cohort
	// alertBelow is how many unused entries of a stratum are few; 0 if nobody wants to be told.
	alertBelow int
	// low are the strata whose list is known to end soon, with what was told last.
	low persistent.Map[string, *ListRanLow]
	// drawn has the last draw of every patient.
	drawn persistent.Map[domain.PatientID, *drawn]
	// stages are the draws that the study has, by id; "" is the first one.
	stages map[string]stage
	// refused is the number of each patient's last refused request.
	refused persistent.Map[domain.PatientID, int]
	// sealed says that this program cannot read everything that a draw depends on.
	sealed bool
}

// stage is the state of the draws of one stage.
type stage struct {
	// active is the scheme by which patients are drawn; "" means none.
	active string
	// tallies count the patients who were drawn into each arm of the active scheme: for every level, and for all patients
	// under the zero level.
	tallies persistent.Map[level, *tally]
	// fresh says that the active scheme counts only the draws after the number since. balance has their tallies.
	fresh   bool
	since   int
	balance persistent.Map[level, *tally]
	// used says which entries of the active list are used, for each stratum.
	used persistent.Map[int, *usage]
}

// level names one level of one factor.
type level struct{ factor, name string }

// tally counts patients in each of the scheme's arms, and all patients, also those in arms that the scheme does not have.
type tally struct {
	byArm []int
	all   int
}

// drawn is a patient who was drawn, with the levels that count for the patient now.
type drawn struct {
	event   PatientRandomised
	factors map[string]string
	// earlier is the draw of the stage before; nil for a patient who was drawn once.
	earlier *drawn
}

// in returns the draw of a stage; nil if there is none.
func (d *drawn) in(stage string) *drawn {
	for d != nil && d.event.Stage != stage {
		d = d.earlier
	}
	return d
}

// usage says which entries of a stratum are used: all before next, except the waiting ones, which a draw skipped. As in
// scheme.strata, next is an index into the entries of the stratum, and waiting holds indexes into the rows of the list.
type usage struct {
	next    int
	waiting []int
}

// Decider is the decider of a study's randomisation.
var Decider = domain.Decider[Randomisation, Event]{Category: "randomisation", Key: domain.ByStudy, Events: events, Evolve: evolve}

// Streams are the kinds of streams in this context.
var Streams = []domain.StreamType{Decider.Streams().WithTellingGaps()}

// Active returns the scheme by which patients are drawn in a stage; "" is the first stage. It is "" if there is none.
func (r Randomisation) Active(stage string) string { return r.stages[stage].active }

// DrawnInto returns the arms of the active scheme of a stage; nil if there is none. It fails with ErrKeysMissing.
func (r Randomisation) DrawnInto(stage string) ([]domain.ArmID, error) {
	s := r.schemes[r.Active(stage)]
	switch {
	case s == nil:
		return nil, nil
	case s.sealed:
		return nil, ErrKeysMissing
	}
	return slices.Clone(s.arms), nil
}

// DrawnIn says whether a patient was drawn in a stage.
func (r Randomisation) DrawnIn(stage string, p domain.PatientID) bool {
	d, _ := r.drawn.Get(p)
	return d.in(stage) != nil
}

// LastStageOf returns the stage that a patient was drawn for last; false for one who was not drawn.
func (r Randomisation) LastStageOf(p domain.PatientID) (stage string, found bool) {
	d, found := r.drawn.Get(p)
	if !found {
		return "", false
	}
	return d.event.Stage, true
}

// Patients are the patients who were drawn.
func (r Randomisation) Patients() iter.Seq[domain.PatientID] {
	return func(yield func(domain.PatientID) bool) {
		for id := range r.drawn.All() {
			if !yield(id) {
				return
			}
		}
	}
}

// ArmOf returns the arm that a patient was drawn into last.
func (r Randomisation) ArmOf(p domain.PatientID) (blind.Value[domain.ArmID], bool) {
	d, ok := r.drawn.Get(p)
	if !ok {
		return blind.Value[domain.ArmID]{}, false
	}
	return d.event.Arm, true
}

// Drawn returns the event of a patient's last draw, without its Draw. The state leaves the Draw out to stay small; the
// stream has it.
func (r Randomisation) Drawn(p domain.PatientID) (PatientRandomised, bool) {
	d, ok := r.drawn.Get(p)
	if !ok {
		return PatientRandomised{}, false
	}
	return d.event, true
}

// FactorsOf returns the levels that count for the patient: those of the last correction, or else of the draw.
func (r Randomisation) FactorsOf(p domain.PatientID) (map[string]string, bool) {
	d, ok := r.drawn.Get(p)
	if !ok {
		return nil, false
	}
	return d.factors, true
}

func evolve(r Randomisation, event Event) Randomisation {
	switch event := event.(type) {
	case ListUploaded:
		s := scheme{id: event.Scheme, method: MethodList, factors: event.Factors, total: event.Rows, content: &content{}}
		r = r.withPart(s, event.Part, event.Parts, event.List)
	case ListGenerated:
		s := scheme{id: event.Scheme, method: MethodList, factors: event.Factors, total: event.Rows, commitment: event.SeedCommitment,
			sealed: event.Seed.Sealed(), content: &content{seed: event.Seed, plan: event.Plan}}
		r = r.withPart(s, event.Part, event.Parts, event.List)
	case MinimisationDefined:
		m, open := event.Minimisation.Open()
		r = r.withScheme(scheme{id: event.Scheme, method: MethodMinimisation, factors: event.Factors, commitment: event.SeedCommitment,
			complete: true, sealed: !open || event.Seed.Sealed(),
			content: &content{hash: event.SeedCommitment, seed: event.Seed, minimisation: event.Minimisation, arms: armsOf(m.Shares)}})
	case SchemeActivated:
		r = r.withStage(event.Stage, stage{active: event.Scheme})
	case SchemeSuperseded:
		r = r.withSuperseded(event)
	case ListExtended:
		r = r.withExtension(event)
	case ListAlertSet:
		r.alertBelow = event.Remaining
	case ListRanLow:
		r = r.withLow(event)
	case ArmClosed:
		arm, open := event.Arm.Open()
		r.closed = r.closed.with(arm, open)
	case LevelCapsSet:
		r = r.withCohorts(event.Caps)
	case CohortCapsSet:
		arms, open := event.Arms.Open()
		r.caps = &caps{levels: event.Levels, arms: &armCaps{arms}, sealed: !open}
	case EntrySkipped:
		r = r.withSkipped(event)
	case PatientRandomised:
		r = r.withDraw(event)
	case StratumCorrected:
		r = r.withCorrection(event)
	case SeedRevealed:
		if s := r.schemes[event.Scheme]; s != nil {
			next := *s
			next.revealed = true
			r = r.withScheme(next)
		}
	case RandomisationRefused:
		r.refused = r.refused.Set(event.Patient, event.Request)
	case BlindBroken, BlindShownAgain, CodeBreaksExported, AllocationForced: // showing an arm does not change it
	}
	return r
}

func (r Randomisation) withScheme(s scheme) Randomisation {
	r.schemes = maps.Clone(r.schemes)
	if r.schemes == nil {
		r.schemes = map[string]*scheme{}
	}
	r.schemes[s.id] = &s
	return r
}

// withPart returns the state with a part of a list added. s is the scheme that the first part defines.
func (r Randomisation) withPart(s scheme, part, parts int, content blind.Value[ListPart]) Randomisation {
	if begun := r.schemes[s.id]; begun != nil {
		s = *begun
	}
	p, open := content.Open()
	s.sealed, s.parts, s.complete = s.sealed || !open, part, part == parts
	c := *s.content
	c.hash, c.arms, c.rows = p.SHA256, p.Arms, slices.Concat(c.rows, p.Rows)
	if s.complete {
		c.strata = map[int][]int{}
		for i, row := range c.rows {
			c.strata[row.Stratum()] = append(c.strata[row.Stratum()], i)
		}
	}
	s.content = &c
	return r.withScheme(s)
}

func (r Randomisation) withStage(id string, st stage) Randomisation {
	r.stages = maps.Clone(r.stages)
	if r.stages == nil {
		r.stages = map[string]stage{}
	}
	r.stages[id] = st
	return r
}

func (r Randomisation) withSkipped(e EntrySkipped) Randomisation {
	st := r.stages[e.Stage]
	s := r.schemes[st.active]
	entry, open := e.Skipped.Open()
	if s == nil || !open || entry.Row < 1 || entry.Row > len(s.rows) {
		r.sealed = true
		return r
	}
	row := entry.Row - 1
	stratum := s.rows[row].Stratum()
	u := st.usage(stratum)
	st.used = st.used.Set(stratum, &usage{next: u.next + 1, waiting: append(slices.Clip(u.waiting), row)})
	return r.withStage(e.Stage, st)
}

func (r Randomisation) withDraw(e PatientRandomised) Randomisation {
	r.LastNumber = e.Number
	record, open := e.Draw.Open()
	// The Draw is not kept: it would be most of a large study's state, and the stream has it.
	e.Draw = blind.Value[Draw]{}
	before, _ := r.drawn.Get(e.Patient)
	r.drawn = r.drawn.Set(e.Patient, &drawn{event: e, factors: e.Factors, earlier: before})
	if e.Stage == "" {
		r.cohorts = counted(r.cohorts, e.Factors, 1)
	}
	arm, armOpen := e.Arm.Open()
	if e.Scheme == "" && open && armOpen { // the only arm of its stage
		return r
	}
	s := r.schemes[e.Scheme]
	if s == nil || !open || !armOpen {
		r.sealed = true
		return r
	}
	st := r.stages[e.Stage].withPatient(s, arm, e.Number, e.Factors, 1).withAll(s, arm)
	if record.Row >= 1 && record.Row <= len(s.rows) {
		row := record.Row - 1
		stratum := s.rows[row].Stratum()
		u := st.usage(stratum)
		if i := slices.Index(u.waiting, row); i >= 0 {
			u.waiting = slices.Concat(u.waiting[:i], u.waiting[i+1:])
		} else {
			u.next++
		}
		st.used = st.used.Set(stratum, &u)
	}
	return r.withStage(e.Stage, st)
}

// withCorrection counts the patient under the true levels from now on: the method of Pocock and Simon balances the true
// properties of the patients, not what was recorded first. The used entries of a list do not change.
func (r Randomisation) withCorrection(e StratumCorrected) Randomisation {
	last, ok := r.drawn.Get(e.Patient)
	if !ok {
		return r
	}
	if first := last.in(""); first != nil {
		r.cohorts = counted(counted(r.cohorts, first.factors, -1), e.Factors, 1)
	}
	var all []*drawn // the patient's draws, the last one first
	for d := last; d != nil; d = d.earlier {
		all = append(all, d)
		st := r.stages[d.event.Stage]
		s := r.schemes[st.active]
		if arm, open := d.event.Arm.Open(); open && s != nil {
			n := d.event.Number
			r = r.withStage(d.event.Stage, st.withPatient(s, arm, n, d.factors, -1).withPatient(s, arm, n, e.Factors, 1))
		}
	}
	var next *drawn
	for _, d := range slices.Backward(all) {
		next = &drawn{event: d.event, factors: e.Factors, earlier: next}
	}
	r.drawn = r.drawn.Set(e.Patient, next)
	return r
}

// withPatient changes the number of the arm's patients at each of a patient's levels.
func (st stage) withPatient(s *scheme, arm domain.ArmID, number int, factors map[string]string, by int) stage {
	for _, f := range s.factors {
		at := level{f.ID, factors[f.ID]}
		st.tallies = withTally(st.tallies, s, arm, at, by)
		if st.fresh && number > st.since {
			st.balance = withTally(st.balance, s, arm, at, by)
		}
	}
	return st
}

// withAll counts another patient of the arm.
func (st stage) withAll(s *scheme, arm domain.ArmID) stage {
	st.tallies = withTally(st.tallies, s, arm, level{}, 1)
	return st
}

// withTally changes the number of the arm's patients at a level.
func withTally(of persistent.Map[level, *tally], s *scheme, arm domain.ArmID, at level, by int) persistent.Map[level, *tally] {
	t := tallyOf(of, s, at)
	next := tally{byArm: slices.Clone(t.byArm), all: t.all + by}
	if i := slices.Index(s.arms, arm); i >= 0 {
		next.byArm[i] += by
	}
	return of.Set(at, &next)
}

// tallyOf returns how many patients at a level were drawn, in all and into each of the scheme's arms.
func tallyOf(of persistent.Map[level, *tally], s *scheme, at level) tally {
	if t, ok := of.Get(at); ok && len(t.byArm) == len(s.arms) {
		return *t
	}
	return tally{byArm: make([]int, len(s.arms))}
}

// counts returns, for each of the scheme's arms, how many patients at a level count for the balance.
func (st stage) counts(s *scheme, at level) []int {
	if st.fresh {
		return tallyOf(st.balance, s, at).byArm
	}
	return tallyOf(st.tallies, s, at).byArm
}

// usage returns which entries of a stratum are used.
func (st stage) usage(stratum int) usage {
	if u, ok := st.used.Get(stratum); ok {
		return *u
	}
	return usage{}
}

// unused returns how many entries of a stratum are left, whatever their arms are. Because it does not depend on the arms, it
// tells none: it is the length of the stratum's list less the number of its draws.
func (st stage) unused(s *scheme, stratum int) int {
	u := st.usage(stratum)
	return len(s.strata[stratum]) - u.next + len(u.waiting)
}
