package randomisation

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/chance"
)

// Replay repeats all draws of a stream from its lists and seeds, and compares the results with the recorded events. The
// error names the first event that differs, by its number in the stream from 0 and by its type, and never an arm. The
// error is ErrKeysMissing if a value is sealed. Replay cannot check what the stream does not hold: which arms were in
// stock, whether the protocol allowed a forced allocation, and why a draw was refused.
//
// A stream may end within a list, or between skipped entries and their draw; its events are then checked up to there.
func Replay(events []Event) error {
	var p replay
	for i, e := range events {
		if err := p.check(e); err != nil {
			return fmt.Errorf("event %d, %T: %w", i, e, err)
		}
	}
	return nil
}

// replay is the progress of Replay in a stream.
type replay struct {
	state Randomisation
	// skipped are the skipped entries whose draw comes later, before is the state before the first of them.
	skipped []Event
	before  Randomisation
	// forced is the number of the last draw if it was limited to the arms in stock, and nobody has been told.
	forced int
}

var (
	errOtherDraw   = errors.New("the draw comes out differently")
	errOtherHash   = errors.New("the list does not have the hash that is recorded")
	errOtherList   = errors.New("seed and plan make another list than the one recorded")
	errOtherParts  = errors.New("the parts of the list do not follow one another")
	errOtherSeed   = errors.New("the seed does not match its commitment")
	errUnusable    = errors.New("the scheme is not valid")
	errDrawnBefore = errors.New("the patient was drawn before")
	errNotDrawn    = errors.New("the patient was not drawn")
	errOrder       = errors.New("the event is not allowed in this state of the scheme")
)

// check checks one more event.
func (p *replay) check(e Event) error {
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
		p.skipped, p.forced = nil, 0
		if record, _ := e.Draw.Open(); record.Forced {
			p.forced = e.Number
		}
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

// checkOther checks an event that is no part of a draw.
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
		if s == nil || !s.complete || s.revealed || before.Active(e.Stage) == e.Scheme || before.isUsedIn(e.Stage) {
			return errOrder
		}
	case SchemeSuperseded:
		s := before.schemes[e.Scheme]
		if s == nil || !s.complete || s.revealed || before.Active(e.Stage) != e.Former || e.Former == e.Scheme {
			return errOrder
		}
	case ListExtended:
		return checkExtension(before, p.state, e)
	case AllocationForced:
		told := p.forced == e.Number
		if p.forced = 0; !told {
			return errOrder
		}
	case ArmClosed:
		if e.Arm.Sealed() {
			return ErrKeysMissing
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
			return errors.New("the patient had other levels before the correction")
		}
	case BlindBroken:
		if _, ok := before.drawn.Get(e.Patient); !ok {
			return errNotDrawn
		}
	case BlindShownAgain:
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
	entry, open := e.Skipped.Open()
	if !open {
		return ErrKeysMissing
	}
	st := p.state.stages[e.Stage]
	s := p.state.schemes[st.active]
	if s == nil || s.id != entry.Scheme || entry.Row < 1 || entry.Row > len(s.rows) || e.Number != p.state.LastNumber+1 {
		return errOtherDraw
	}
	row := s.rows[entry.Row-1]
	u := st.usage(row.Stratum())
	if rows := s.strata[row.Stratum()]; u.next >= len(rows) || rows[u.next] != entry.Row-1 || s.arms[row.Arm()] != entry.Arm {
		return errOtherDraw
	}
	return nil
}

// checkDraw repeats the decision on the state before the draw and before its skipped entries.
func (p *replay) checkDraw(e PatientRandomised) error {
	record, open := e.Draw.Open()
	if !open || e.Arm.Sealed() {
		return ErrKeysMissing
	}
	if p.before.DrawnIn(e.Stage, e.Patient) {
		return errDrawnBefore
	}
	cmd := RandomisePatient{InStudy: domain.ForStudy(e.Study), Site: e.Site, OfPatient: domain.ForPatient(e.Patient), Stage: e.Stage,
		Factors: e.Factors}
	decide := func() ([]Event, error) { return p.before.decide(cmd, record.InStock, true) }
	if e.Scheme == "" {
		decide = func() ([]Event, error) { return p.before.assign(cmd, record.Arms, record.InStock) }
	}
	again, err := decide()
	if err != nil {
		return err
	}
	again = slices.DeleteFunc(again, func(e Event) bool { // older logs do not have what is told after a draw
		switch e.(type) {
		case AllocationForced, ListRanLow:
			return true
		}
		return false
	})
	if !slices.EqualFunc(again, append(p.skipped, e), sameEvent) {
		return errOtherDraw
	}
	return nil
}

// sameEvent compares two events of draws, with their blinded values.
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

// checkPart checks that a part of a list continues the parts before it. shownHash is the hash that the event shows.
func (p *replay) checkPart(before Randomisation, scheme string, part, parts, rows int, shownHash string,
	content blind.Value[ListPart]) error {
	opened, open := content.Open()
	if !open {
		return ErrKeysMissing
	}
	partsBefore := 0
	if s := before.schemes[scheme]; s != nil {
		if s.hash != opened.SHA256 || !slices.Equal(s.arms, opened.Arms) {
			return errOtherParts
		}
		partsBefore = s.parts
	}
	s := p.state.schemes[scheme]
	if part != partsBefore+1 || part > parts || rows != s.total || s.complete && len(s.rows) != rows {
		return errOtherParts
	}
	if shownHash != opened.SHA256 && !(shownHash == "" && rows < minRowsToShowHash) {
		return errOtherHash
	}
	return nil
}

func checkUploaded(s *scheme) error {
	if !s.complete {
		return nil
	}
	l := list{factors: s.factors, arms: s.arms, rows: s.rows}
	if !l.valid() {
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
	if !l.valid() || checkShares(plan.Shares) != nil || checkBlocks(plan) != nil || plan.PerStratum > maxRows/strata {
		return errUnusable
	}
	if again := generateList(plan, s.factors, strata, from); !slices.Equal(again.rows, l.rows) || !slices.Equal(again.arms, l.arms) {
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

// checkSeed opens the seed and compares it with its commitment.
func checkSeed(blinded blind.Value[string], commitment string) (chance.Seed, error) {
	text, open := blinded.Open()
	if !open {
		return chance.Seed{}, ErrKeysMissing
	}
	from, err := chance.Parse(text)
	if err != nil || from.Commitment() != commitment {
		return chance.Seed{}, errOtherSeed
	}
	return from, nil
}
