package randomisation

import (
	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Counting says how a new scheme counts the patients who were drawn by the schemes before it.
type Counting string

const (
	// CountEarlier has minimisation balance all patients of the stage.
	CountEarlier Counting = "counted"
	// CountFresh has the new scheme begin as if nobody had been drawn. A list always begins at its first entry.
	CountFresh Counting = "fresh"
)

// Schema implements domain.HasSchema.
func (Counting) Schema() domain.Schema { return domain.OneOf(CountEarlier, CountFresh) }

// SupersedeScheme replaces a scheme that is in use, such as after an amendment that adds an arm or a level.
type SupersedeScheme struct {
	domain.InStudy
	Stage           string   `json:"stage,omitempty" maxLength:"50" doc:"The stage of the protocol; the first draw where it is left out"`
	Scheme          string   `json:"scheme" minLength:"1" doc:"The new scheme"`
	SHA256          string   `json:"sha256" minLength:"1" doc:"What the SHA-256 of the new list, or for minimisation the commitment to its seed, is believed to be, in hex"`
	Counting        Counting `json:"counting" doc:"Whether the patients who were drawn before count for the balance of the new scheme; a list begins fresh"`
	domain.Reasoned `doc:"Why the scheme is replaced"`
}

// SchemeSuperseded replaces the active scheme of a stage. The draws of the former scheme stay.
type SchemeSuperseded struct {
	Study domain.StudyID `json:"study"`
	// Stage is the stage of the protocol; "" is the first draw.
	Stage    string        `json:"stage,omitempty"`
	Scheme   string        `json:"scheme"`
	Former   string        `json:"former"`
	Counting Counting      `json:"counting"`
	Reason   personal.Text `json:"reason"`
}

// Supersede replaces the scheme of a stage, also after patients were drawn by it. Their assignments stay, and caps count them
// in any case. It refuses reason_required, value_too_long, unknown_code, no_active_scheme, counting_not_possible, and what
// Activate refuses, except scheme_in_use. It fails with ErrKeysMissing.
func Supersede(r Randomisation, s study.Study, cmd SupersedeScheme, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	if cmd.Counting != CountEarlier && cmd.Counting != CountFresh {
		return nil, refuse.Malformed("unknown_code", "%.40q does not say how earlier draws count", string(cmd.Counting)).At("counting").
			Do("use counted or fresh")
	}
	former := r.Active(cmd.Stage)
	if former == "" {
		return nil, refuse.WrongState("no_active_scheme", "no scheme is active that could be replaced").At("stage").
			Do("activate the scheme with ActivateRandomisation")
	}
	next, err := r.mayBecomeActive(s, cmd.Study, cmd.Stage, cmd.Scheme, cmd.SHA256)
	if err != nil {
		return nil, err
	}
	if cmd.Counting == CountEarlier && next.method == MethodList {
		return nil, refuse.Because("counting_not_possible", "a list has entries, and counts no patients").At("counting").
			Do("use fresh, or a scheme of minimisation")
	}
	// Nobody needs the former list any more.
	events := r.lowStrata(cmd.Study, cmd.Stage, func(left int) ListRanLow { return ListRanLow{Remaining: left} })
	return append(events, SchemeSuperseded{Study: cmd.Study, Stage: cmd.Stage, Scheme: cmd.Scheme, Former: former, Counting: cmd.Counting,
		Reason: cmd.Reason}), nil
}

// withSuperseded counts the patients of the stage again, in the arms and levels of the new scheme. A patient who was drawn
// before a factor existed counts at none of its levels.
func (r Randomisation) withSuperseded(e SchemeSuperseded) Randomisation {
	st := stage{active: e.Scheme, since: r.LastNumber, fresh: e.Counting == CountFresh}
	s := r.schemes[e.Scheme]
	if s == nil {
		r.sealed = true
		return r
	}
	for _, last := range r.drawn.All() {
		d := last.in(e.Stage)
		if d == nil {
			continue
		}
		arm, open := d.event.Arm.Open()
		r.sealed = r.sealed || !open
		st = st.withPatient(s, arm, d.event.Number, d.factors, 1).withAll(s, arm)
	}
	return r.withStage(e.Stage, st)
}
