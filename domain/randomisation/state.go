package randomisation

import (
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/persistent"
)

// Randomisation is the state of a study's draws. Blinded things lie behind two pointers in it: fmt follows one where a verb
// does not suit, and could not ask a blind.Value in an unexported field how it wants to be printed.
type Randomisation struct {
	// Active is the scheme that patients are drawn by; "" is none.
	Active string
	// LastNumber is the number of the last draw, which is how many there were.
	LastNumber int

	schemes map[string]*scheme
	caps    *caps
	drawn   persistent.Map[domain.PatientID, *drawn]
	// tallies are how many patients were drawn into each arm of the active scheme: of every level, and of all under the
	// zero level.
	tallies persistent.Map[level, *tally]
	// used is what is gone of the strata of the active list.
	used persistent.Map[int, *usage]
	// refused is the last ask of a patient that was refused.
	refused persistent.Map[domain.PatientID, int]
	// sealed says that this program cannot know all that a draw depends on.
	sealed bool
}

// level names one level of one factor.
type level struct{ factor, name string }

// tally is how many patients of something were drawn into each of the scheme's arms.
type tally struct{ byArm []int }

// drawn is a patient who was drawn, and what is true of him or her by now.
type drawn struct {
	event   PatientRandomised
	factors map[string]string
}

// usage is what is gone of a stratum of a list: the places before next, less those that wait because a draw passed over
// them. Both are as in scheme.strata: next counts places of the stratum, waiting are rows of the list.
type usage struct {
	next    int
	waiting []int
}

// Decider is how the stream of a study's draws works.
var Decider = domain.Decider[Randomisation, Event]{Category: "randomisation", Key: domain.ByStudy, Events: events, Evolve: evolve}

// Streams are the kinds of streams of this context.
var Streams = []domain.StreamType{Decider.Streams().WithTellingGaps()}

// ArmOf returns the arm of a patient who was drawn.
func (r Randomisation) ArmOf(p domain.PatientID) (blind.Value[domain.ArmID], bool) {
	d, ok := r.drawn.Get(p)
	if !ok {
		return blind.Value[domain.ArmID]{}, false
	}
	return d.event.Arm, true
}

// Drawn returns how a patient was drawn. The Draw in it is left out: a state holds many patients, and the stream has it.
func (r Randomisation) Drawn(p domain.PatientID) (PatientRandomised, bool) {
	d, ok := r.drawn.Get(p)
	if !ok {
		return PatientRandomised{}, false
	}
	return d.event, true
}

// FactorsOf returns the patient's true levels as far as they are known: those of the draw, or of the last correction.
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
		r.Active = event.Scheme
	case CohortCapsSet:
		arms, open := event.Arms.Open()
		r.caps = &caps{levels: event.Levels, arms: &armCaps{arms}, sealed: !open}
	case EntrySkipped:
		r = r.skip(event)
	case PatientRandomised:
		r = r.draw(event)
	case StratumCorrected:
		r = r.correct(event)
	case SeedRevealed:
		if s := r.schemes[event.Scheme]; s != nil {
			next := *s
			next.revealed = true
			r = r.withScheme(next)
		}
	case RandomisationRefused:
		r.refused = r.refused.Set(event.Patient, event.Ask)
	case BlindBroken: // an arm that was shown stays what it is
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

// withPart adds a part of a list. The first part brings the scheme.
func (r Randomisation) withPart(s scheme, part, parts int, this blind.Value[ListPart]) Randomisation {
	if begun := r.schemes[s.id]; begun != nil {
		s = *begun
	}
	p, open := this.Open()
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

func (r Randomisation) skip(e EntrySkipped) Randomisation {
	s := r.schemes[r.Active]
	place, open := e.Skipped.Open()
	if s == nil || !open || place.Row < 1 || place.Row > len(s.rows) {
		r.sealed = true
		return r
	}
	row := place.Row - 1
	stratum := s.rows[row].Stratum()
	u := r.usage(stratum)
	r.used = r.used.Set(stratum, &usage{next: u.next + 1, waiting: append(slices.Clip(u.waiting), row)})
	return r
}

func (r Randomisation) draw(e PatientRandomised) Randomisation {
	r.LastNumber = e.Number
	record, open := e.Draw.Open()
	// What is not kept here is in the stream, and would be most of a large study's state.
	e.Draw = blind.Value[Draw]{}
	r.drawn = r.drawn.Set(e.Patient, &drawn{event: e, factors: e.Factors})
	s := r.schemes[e.Scheme]
	arm, armOpen := e.Arm.Open()
	if s == nil || !open || !armOpen {
		r.sealed = true
		return r
	}
	r = r.tallied(s, arm, e.Factors, 1).talliedAt(s, arm, level{}, 1)
	if record.Row >= 1 && record.Row <= len(s.rows) {
		row := record.Row - 1
		stratum := s.rows[row].Stratum()
		u := r.usage(stratum)
		if i := slices.Index(u.waiting, row); i >= 0 {
			u.waiting = slices.Concat(u.waiting[:i], u.waiting[i+1:])
		} else {
			u.next++
		}
		r.used = r.used.Set(stratum, &u)
	}
	return r
}

// correct counts the patient under the true levels from now on. Pocock and Simon balance what patients are, not what was
// first written down of them. The places of a list stay used where they were.
func (r Randomisation) correct(e StratumCorrected) Randomisation {
	d, ok := r.drawn.Get(e.Patient)
	if !ok {
		return r
	}
	if arm, open := d.event.Arm.Open(); open && r.schemes[d.event.Scheme] != nil {
		s := r.schemes[d.event.Scheme]
		r = r.tallied(s, arm, d.factors, -1).tallied(s, arm, e.Factors, 1)
	}
	r.drawn = r.drawn.Set(e.Patient, &drawn{event: d.event, factors: e.Factors})
	return r
}

// tallied counts a patient of the arm under each of the levels.
func (r Randomisation) tallied(s *scheme, arm domain.ArmID, factors map[string]string, by int) Randomisation {
	for _, f := range s.factors {
		r = r.talliedAt(s, arm, level{f.ID, factors[f.ID]}, by)
	}
	return r
}

func (r Randomisation) talliedAt(s *scheme, arm domain.ArmID, at level, by int) Randomisation {
	i := slices.Index(s.arms, arm)
	if i < 0 {
		return r
	}
	counts := slices.Clone(r.tally(s, at))
	counts[i] += by
	r.tallies = r.tallies.Set(at, &tally{counts})
	return r
}

// tally returns how many patients of each of the scheme's arms were drawn at a level.
func (r Randomisation) tally(s *scheme, at level) []int {
	if counts, ok := r.tallies.Get(at); ok && len(counts.byArm) == len(s.arms) {
		return counts.byArm
	}
	return make([]int, len(s.arms))
}

// usage returns what is gone of a stratum.
func (r Randomisation) usage(stratum int) usage {
	if u, ok := r.used.Get(stratum); ok {
		return *u
	}
	return usage{}
}
