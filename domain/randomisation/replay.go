package randomisation

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
)

// Replay draws all of a stream again, from its lists and seeds alone, and compares with what is recorded. The error names
// the first event that differs, by its number in the stream from 0 and by its type, and never an arm. Where something is
// sealed it is ErrKeysMissing. What cannot be known from the stream is not judged: which arms were in stock, whether the
// protocol allowed a forced allocation, and why a draw was refused.
//
// A stream that ends within a list, or between skipped places and their draw, is as good as its beginning is.
func Replay(events []Event) error {
	var p replay
	for i, e := range events {
		if err := p.follow(e); err != nil {
			return fmt.Errorf("event %d, %T: %w", i, e, err)
		}
	}
	return nil
}

// replay is how far a stream has been drawn again.
type replay struct {
	state Randomisation
	// skipped are the places passed over for a draw that is still to come, before is the state in front of them.
	skipped []Event
	before  Randomisation
}

var (
	errOtherDraw   = errors.New("the draw comes out differently")
	errOtherHash   = errors.New("the list does not have the hash that is recorded")
	errOtherList   = errors.New("seed and plan make another list than the one recorded")
	errOtherParts  = errors.New("the parts of the list do not follow one another")
	errOtherSeed   = errors.New("the seed is not the one committed to")
	errUnusable    = errors.New("the scheme cannot be drawn by")
	errDrawnBefore = errors.New("the patient was drawn before")
	errNotDrawn    = errors.New("the patient was not drawn")
	errOrder       = errors.New("the scheme does not allow this here")
)

func (p *replay) follow(e Event) error {
	switch e := e.(type) {
	case EntrySkipped:
		if len(p.skipped) == 0 {
			p.before = p.state
		}
		if err := p.checkSkipped(e); err != nil {
			return err
		}
		p.skipped = append(p.skipped, e)
		p.state = evolve(p.state, e)
		return nil
	case PatientRandomised:
		if len(p.skipped) == 0 {
			p.before = p.state
		}
		if err := p.checkDraw(e); err != nil {
			return err
		}
		p.skipped = nil
		p.state = evolve(p.state, e)
		return nil
	}
	if len(p.skipped) > 0 {
		return errOtherDraw
	}
	before := p.state
	p.state = evolve(p.state, e)
	return p.checkOther(before, e)
}

func (p *replay) checkOther(before Randomisation, e Event) error {
	switch e := e.(type) {
	case ListUploaded:
		if err := p.checkPart(before, e.Scheme, e.Part, e.Parts, e.Rows, e.SHA256, e.List); err != nil {
			return err
		}
		return checkUploaded(p.state.schemes[e.Scheme])
	case ListGenerated:
		if err := p.checkPart(before, e.Scheme, e.Part, e.Parts, e.Rows, e.SHA256, e.List); err != nil {
			return err
		}
		return checkGenerated(p.state.schemes[e.Scheme], e)
	case MinimisationDefined:
		if before.schemes[e.Scheme] != nil {
			return errOrder
		}
		return checkMinimisation(e)
	case SchemeActivated:
		s := before.schemes[e.Scheme]
		if s == nil || !s.complete || s.revealed || before.Active == e.Scheme || before.LastNumber > 0 {
			return errOrder
		}
	case CohortCapsSet:
		if e.Arms.Sealed() {
			return ErrKeysMissing
		}
	case StratumCorrected:
		d, ok := before.drawn.Get(e.Patient)
		if !ok {
			return errNotDrawn
		}
		if !maps.Equal(d.factors, e.Was) {
			return errors.New("the levels before the correction are others")
		}
	case BlindBroken:
		if _, ok := before.drawn.Get(e.Patient); !ok {
			return errNotDrawn
		}
	case SeedRevealed:
		s := before.schemes[e.Scheme]
		if s == nil || s.revealed {
			return errOrder
		}
		_, err := checkSeed(blind.Of(e.Seed), s.commitment)
		return err
	}
	return nil
}

func (p *replay) checkSkipped(e EntrySkipped) error {
	place, open := e.Skipped.Open()
	if !open {
		return ErrKeysMissing
	}
	s := p.state.schemes[p.state.Active]
	if s == nil || s.id != place.Scheme || place.Row < 1 || place.Row > len(s.rows) || e.Number != p.state.LastNumber+1 {
		return errOtherDraw
	}
	row := s.rows[place.Row-1]
	u := p.state.usage(row.Stratum())
	if rows := s.strata[row.Stratum()]; u.next >= len(rows) || rows[u.next] != place.Row-1 || s.arms[row.Arm()] != place.Arm {
		return errOtherDraw
	}
	return nil
}

// checkDraw decides again, on the state in front of the draw and of the places that it passed over.
func (p *replay) checkDraw(e PatientRandomised) error {
	record, open := e.Draw.Open()
	if !open || e.Arm.Sealed() {
		return ErrKeysMissing
	}
	if _, drawn := p.before.drawn.Get(e.Patient); drawn {
		return errDrawnBefore
	}
	again, err := p.before.decide(RandomisePatient{InStudy: domain.ForStudy(e.Study), Site: e.Site, OfPatient: domain.ForPatient(e.Patient), Factors: e.Factors}, record.InStock, true)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(again, append(p.skipped, e), sameEvent) {
		return errOtherDraw
	}
	return nil
}

// sameEvent compares what is shown and what is blinded of a draw and the places it passed over.
func sameEvent(a, b Event) bool {
	shownA, errA := json.Marshal(a)
	shownB, errB := json.Marshal(b)
	if errA != nil || errB != nil || string(shownA) != string(shownB) {
		return false
	}
	switch a := a.(type) {
	case PatientRandomised:
		b, same := b.(PatientRandomised)
		return same && a.Arm.Equal(b.Arm) && a.Draw.Equal(b.Draw)
	case EntrySkipped:
		b, same := b.(EntrySkipped)
		return same && a.Skipped.Equal(b.Skipped)
	}
	return false
}

// checkPart holds a part of a list to the parts in front of it.
func (p *replay) checkPart(before Randomisation, scheme string, part, parts, rows int, shown string, content blind.Value[ListPart]) error {
	this, open := content.Open()
	if !open {
		return ErrKeysMissing
	}
	had := 0
	if s := before.schemes[scheme]; s != nil {
		if s.hash != this.SHA256 || !slices.Equal(s.arms, this.Arms) {
			return errOtherParts
		}
		had = s.parts
	}
	s := p.state.schemes[scheme]
	if part != had+1 || part > parts || rows != s.total || s.complete && len(s.rows) != rows {
		return errOtherParts
	}
	if shown != this.SHA256 && !(shown == "" && rows < rowsThatHide) {
		return errOtherHash
	}
	return nil
}

func checkUploaded(s *scheme) error {
	if !s.complete {
		return nil
	}
	l := list{factors: s.factors, arms: s.arms, rows: s.rows}
	if !l.whole() {
		return errUnusable
	}
	if l.hash(nil) != s.hash {
		return errOtherHash
	}
	return nil
}

func checkGenerated(s *scheme, e ListGenerated) error {
	plan, open := e.Plan.Open()
	if !open {
		return ErrKeysMissing
	}
	from, err := checkSeed(e.Seed, e.SeedCommitment)
	if err != nil {
		return err
	}
	if e.SeedCommitment != s.commitment || !s.plan.Equal(e.Plan) {
		return errOtherParts
	}
	if !s.complete {
		return nil
	}
	l := list{factors: s.factors, arms: s.arms, rows: s.rows}
	strata, _ := strataOf(s.factors)
	if !l.whole() || checkShares(plan.Shares) != nil || checkBlocks(plan) != nil || plan.PerStratum > maxRows/strata {
		return errUnusable
	}
	if again := generated(plan, s.factors, strata, from); !slices.Equal(again.rows, l.rows) || !slices.Equal(again.arms, l.arms) {
		return errOtherList
	}
	if l.hash(&from) != s.hash {
		return errOtherHash
	}
	return nil
}

func checkMinimisation(e MinimisationDefined) error {
	m, open := e.Minimisation.Open()
	if !open {
		return ErrKeysMissing
	}
	if _, err := checkSeed(e.Seed, e.SeedCommitment); err != nil {
		return err
	}
	if checkShares(m.Shares) != nil || m.validate() != nil || len(m.Weights) != len(e.Factors) {
		return errUnusable
	}
	return nil
}

func checkSeed(sealed blind.Value[string], commitment string) (seed, error) {
	shown, open := sealed.Open()
	if !open {
		return seed{}, ErrKeysMissing
	}
	from, err := parseSeed(shown)
	if err != nil || from.commitment() != commitment {
		return seed{}, errOtherSeed
	}
	return from, nil
}
