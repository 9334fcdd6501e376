package randomisation

import (
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/persistent"
)

// Randomisation is the state of a study's draws. Its blinded values are behind two pointers: after a bad verb, fmt
// follows one pointer and does not call the Format method of a blind.Value in an unexported field.
type Randomisation struct {
	// Active is the scheme by which patients are drawn; "" means none.
	Active string
	// LastNumber is the number of the last draw, which is also the number of draws.
	LastNumber int

	schemes map[string]*scheme
	caps    *caps
	drawn   persistent.Map[domain.PatientID, *drawn]
	// tallies count the patients who were drawn into each arm of the active scheme: for every level, and for all patients
	// under the zero level.
	tallies persistent.Map[level, *tally]
	// used says which entries of the active list are used, for each stratum.
	used persistent.Map[int, *usage]
	// refused is the number of each patient's last refused request.
	refused persistent.Map[domain.PatientID, int]
	// sealed says that this program cannot read everything that a draw depends on.
	sealed bool
}

// level names one level of one factor.
type level struct{ factor, name string }

// tally counts patients in each of the scheme's arms.
type tally struct{ byArm []int }

// drawn is a patient who was drawn, with the levels that count for the patient now.
type drawn struct {
	event   PatientRandomised
	factors map[string]string
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

// ArmOf returns the arm of a patient who was drawn.
func (r Randomisation) ArmOf(p domain.PatientID) (blind.Value[domain.ArmID], bool) {
	d, ok := r.drawn.Get(p)
	if !ok {
		return blind.Value[domain.ArmID]{}, false
	}
	return d.event.Arm, true
}

// Drawn returns the event of a patient's draw, without its Draw. The state leaves the Draw out to stay small; the
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
		r.Active = event.Scheme
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
	case BlindBroken, BlindShownAgain, CodeBreaksExported: // showing an arm does not change it
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

func (r Randomisation) withSkipped(e EntrySkipped) Randomisation {
	s := r.schemes[r.Active]
	entry, open := e.Skipped.Open()
	if s == nil || !open || entry.Row < 1 || entry.Row > len(s.rows) {
		r.sealed = true
		return r
	}
	row := entry.Row - 1
	stratum := s.rows[row].Stratum()
	u := r.usage(stratum)
	r.used = r.used.Set(stratum, &usage{next: u.next + 1, waiting: append(slices.Clip(u.waiting), row)})
	return r
}

func (r Randomisation) withDraw(e PatientRandomised) Randomisation {
	r.LastNumber = e.Number
	record, open := e.Draw.Open()
	// The Draw is not kept: it would be most of a large study's state, and the stream has it.
	e.Draw = blind.Value[Draw]{}
	r.drawn = r.drawn.Set(e.Patient, &drawn{event: e, factors: e.Factors})
	s := r.schemes[e.Scheme]
	arm, armOpen := e.Arm.Open()
	if s == nil || !open || !armOpen {
		r.sealed = true
		return r
	}
	r = r.withTallies(s, arm, e.Factors, 1).withTally(s, arm, level{}, 1)
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

// withCorrection counts the patient under the true levels from now on: the method of Pocock and Simon balances the true
// properties of the patients, not what was recorded first. The used entries of a list do not change.
func (r Randomisation) withCorrection(e StratumCorrected) Randomisation {
	d, ok := r.drawn.Get(e.Patient)
	if !ok {
		return r
	}
	if arm, open := d.event.Arm.Open(); open && r.schemes[d.event.Scheme] != nil {
		s := r.schemes[d.event.Scheme]
		r = r.withTallies(s, arm, d.factors, -1).withTallies(s, arm, e.Factors, 1)
	}
	r.drawn = r.drawn.Set(e.Patient, &drawn{event: d.event, factors: e.Factors})
	return r
}

// withTallies changes the number of the arm's patients at each of the levels.
func (r Randomisation) withTallies(s *scheme, arm domain.ArmID, factors map[string]string, by int) Randomisation {
	for _, f := range s.factors {
		r = r.withTally(s, arm, level{f.ID, factors[f.ID]}, by)
	}
	return r
}

// withTally changes the number of the arm's patients at a level.
func (r Randomisation) withTally(s *scheme, arm domain.ArmID, at level, by int) Randomisation {
	i := slices.Index(s.arms, arm)
	if i < 0 {
		return r
	}
	counts := slices.Clone(r.tally(s, at))
	counts[i] += by
	r.tallies = r.tallies.Set(at, &tally{counts})
	return r
}

// tally returns, for each of the scheme's arms, how many patients at a level were drawn into it.
func (r Randomisation) tally(s *scheme, at level) []int {
	if counts, ok := r.tallies.Get(at); ok && len(counts.byArm) == len(s.arms) {
		return counts.byArm
	}
	return make([]int, len(s.arms))
}

// usage returns which entries of a stratum are used.
func (r Randomisation) usage(stratum int) usage {
	if u, ok := r.used.Get(stratum); ok {
		return *u
	}
	return usage{}
}
