package randomisation

import (
	"fmt"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/chance"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// ExtendRandomisationList appends entries to a list. No entry changes, and the draws go on where they are.
type ExtendRandomisationList struct {
	domain.InStudy
	Scheme string `json:"scheme" minLength:"1" maxLength:"50" doc:"The scheme"`
	// CSV extends a list that was made elsewhere, PerStratum one that was generated.
	CSV             string `json:"csv,omitempty" doc:"More rows for a list that was made elsewhere, with the same header"`
	PerStratum      int    `json:"perStratum,omitempty" minimum:"0" doc:"For a list that was generated: how many entries each stratum gets more at least, in whole blocks from the same seed"`
	domain.Reasoned `doc:"Why the list is extended"`
}

// ListExtended appends entries to a list, or a part of them. The rows count on from those before.
type ListExtended struct {
	Study  domain.StudyID `json:"study"`
	Scheme string         `json:"scheme"`
	// Extension counts the extensions of the list, from 1.
	Extension int `json:"extension"`
	Part      int `json:"part"`
	Parts     int `json:"parts"`
	// Rows is how many entries the whole extension has.
	Rows int `json:"rows"`
	// PerStratum is from what a generated extension was made, with the seed and the plan of the list; 0 for others.
	PerStratum int           `json:"perStratum,omitempty"`
	Reason     personal.Text `json:"reason"`
	// List holds the entries, with the hash of the whole extension in its canonical form.
	List blind.Value[ListPart] `json:"list"`
}

// Extend appends entries to a list, so that a list in use never blocks the study for ever. It refuses reason_required,
// value_too_long, scheme_not_found, seed_revealed, not_a_list, value_missing, value_out_of_range, list_too_long and
// invalid_list. It fails with ErrKeysMissing. No refusal names the arm of a row.
func Extend(r Randomisation, cmd ExtendRandomisationList, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	s, err := r.scheme(cmd.Study, cmd.Scheme)
	if err != nil {
		return nil, err
	}
	switch {
	case s.method != MethodList:
		return nil, refuse.WrongState("not_a_list", "the scheme %s draws by minimisation, which has no end", cmd.Scheme).At("scheme").
			Do("there is nothing to extend")
	case s.revealed:
		return nil, refuse.WrongState("seed_revealed", "the seed of scheme %s has been shown", cmd.Scheme).At("scheme").Do("make a new scheme")
	case s.sealed || r.closed.sealedFor():
		return nil, ErrKeysMissing
	}
	l := list{factors: s.factors, arms: s.arms}
	var from *chance.Seed
	if s.commitment != "" {
		if err := domain.Between("perStratum", cmd.PerStratum, 1, maxRows); err != nil {
			return nil, err
		}
		seed, rows, err := s.moreRows(s.extensions+1, cmd.PerStratum)
		if err != nil {
			return nil, err
		}
		from, l.rows = &seed, rows
	} else {
		if err := domain.Text("csv", cmd.CSV, maxCSVBytes); err != nil {
			return nil, err
		}
		if l.rows, err = readRows(cmd.CSV, s.factors, s.arms); err != nil {
			return nil, err
		}
	}
	if n := len(s.rows) + len(l.rows); n > maxRows {
		return nil, listTooLong("scheme", "rows", n)
	}
	parts := l.parts(l.hash(from))
	events := make([]Event, len(parts))
	after := r
	for i, part := range parts {
		e := ListExtended{Study: cmd.Study, Scheme: cmd.Scheme, Extension: s.extensions + 1, Part: i + 1, Parts: len(parts),
			Rows: len(l.rows), Reason: cmd.Reason, List: blind.Of(part)}
		if from != nil {
			e.PerStratum = cmd.PerStratum
		}
		events[i] = e
		after = after.withExtension(e)
	}
	return append(events, after.replenished(cmd.Study, cmd.Scheme)...), nil
}

// moreRows makes the entries of an extension from the seed and the plan of the list.
func (s *scheme) moreRows(extension, perStratum int) (chance.Seed, []Row, error) {
	text, open := s.seed.Open()
	plan, planOpen := s.plan.Open()
	if !open || !planOpen {
		return chance.Seed{}, nil, ErrKeysMissing
	}
	from, err := chance.Parse(text)
	if err != nil {
		return chance.Seed{}, nil, err
	}
	strata, _ := strataOf(s.factors)
	if n := strata * perStratum; n > maxRows {
		return chance.Seed{}, nil, listTooLong("perStratum", "rows or more", n)
	}
	plan.PerStratum = perStratum
	l := generateRows(plan, s.factors, strata, func(stratum int) string { return fmt.Sprintf("extension/%d/%d", extension, stratum) }, from)
	return from, l.rows, nil
}

// withExtension returns the state with a part of an extension added.
func (r Randomisation) withExtension(e ListExtended) Randomisation {
	begun := r.schemes[e.Scheme]
	if begun == nil {
		r.sealed = true
		return r
	}
	s := *begun
	p, open := e.List.Open()
	s.sealed = s.sealed || !open
	s.extensions = e.Extension
	s.total += len(p.Rows)
	c := *s.content
	c.rows = slices.Concat(c.rows, p.Rows)
	c.strata = map[int][]int{}
	for i, row := range c.rows {
		c.strata[row.Stratum()] = append(c.strata[row.Stratum()], i)
	}
	s.content = &c
	return r.withScheme(s)
}

// checkExtension repeats a generated extension, and compares the hash of an uploaded one when all of its parts are there.
func checkExtension(before, after Randomisation, e ListExtended) error {
	part, open := e.List.Open()
	s := before.schemes[e.Scheme]
	switch {
	case !open:
		return ErrKeysMissing
	case s == nil || !s.complete || s.revealed || s.method != MethodList:
		return errOrder
	case e.Part == 1 && e.Extension != s.extensions+1, e.Part > 1 && e.Extension != s.extensions, !slices.Equal(part.Arms, s.arms):
		return errOtherParts
	case e.Part < e.Parts:
		return nil
	}
	all := after.schemes[e.Scheme]
	if e.Rows < 1 || e.Rows > len(all.rows) {
		return errOtherParts
	}
	l := list{factors: s.factors, arms: s.arms, rows: all.rows[len(all.rows)-e.Rows:]}
	if s.commitment == "" {
		if l.hash(nil) != part.SHA256 {
			return errOtherHash
		}
		return nil
	}
	from, again, err := s.moreRows(e.Extension, e.PerStratum)
	if err != nil {
		return err
	}
	if !slices.Equal(again, l.rows) {
		return errOtherList
	}
	if l.hash(&from) != part.SHA256 {
		return errOtherHash
	}
	return nil
}
