package randomisation

import (
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Facts are what a draw needs to know from other streams.
type Facts struct {
	Study study.Study
	// InStock are the arms of which a kit is held for the patient. It is nil if the study has no kits; then every arm may
	// be drawn.
	InStock []domain.ArmID
	// Ended says that the patient does not take part any more.
	Ended bool
}

// Randomise draws a patient. It records PatientRandomised, after one EntrySkipped for each entry of the list that it
// skips, or RandomisationRefused, so that the enrolment process always finds an answer in the log. It records nothing
// for a patient who has been drawn before, because the log has the first answer. It also records nothing for a request
// that arrives after a later request was refused, because the process has released the patient's holds and place by
// then.
//
// The codes of RandomisationRefused are patient_ended, activity_paused, no_active_scheme, arms_not_of_version, seed_revealed,
// invalid_factors, cap_reached, arm_closed, no_stock and list_exhausted. All except list_exhausted are decided before the next
// entry of the list, or the number from the seed, is known. A refusal that depended on the arm would reveal the arm, and a site
// could repeat its requests until it gets the arm that it wants.
//
// If the patient's site has kits for some arms only, the protocol decides. Without forced allocation the patient is not
// drawn. With forced allocation the draw is among the arms in stock. Skipped entries of the list wait: the oldest
// waiting entry whose arm is available is used before any new entry, so that the list is balanced again later.
// Minimisation needs no waiting entries, because its counts restore the balance. That a draw was forced is recorded after it.
//
// A stage with a single arm, such as an open extension, needs no scheme: the patient is assigned to the arm.
//
// Randomise refuses only malformed ids (code malformed_id). It fails with ErrKeysMissing.
func Randomise(r Randomisation, f Facts, cmd RandomisePatient, _ domain.Call) ([]Event, error) {
	if err := domain.First(cmd.Study.Validate(), cmd.Site.Validate(), cmd.Patient.Validate()); err != nil {
		return nil, err
	}
	if cmd.Patient.Study() != cmd.Study {
		return nil, refuse.Malformed("malformed_id", "patient %s is not of study %s", cmd.Patient, cmd.Study).At("patient").
			Do("use the id of a patient of the study")
	}
	if r.DrawnIn(cmd.Stage, cmd.Patient) {
		return nil, nil
	}
	if refused, before := r.refused.Get(cmd.Patient); before && cmd.Request > 0 && cmd.Request <= refused {
		return nil, nil
	}
	if f.Ended {
		return cmd.refused("patient_ended", "the patient does not take part any more")
	}
	// What was requested before a suspension does not go on after it.
	if f.Study.PausedFor(cmd.Site, cmd.Factors, study.ActivityRandomisation) {
		return cmd.refused("activity_paused", "randomisation is paused for the time being")
	}
	force := f.Study.Protocol != nil && f.Study.Protocol.Treatment != nil && f.Study.Protocol.Treatment.ForcedAllocation
	if arms, _ := f.Study.ArmsOf(cmd.Stage); len(arms) == 1 && cmd.Stage != "" {
		return r.assign(cmd, arms, f.InStock)
	}
	if st := r.stages[cmd.Stage]; st.active != "" {
		s := r.schemes[st.active]
		if s == nil || s.sealed || r.closed.sealedFor() {
			return nil, ErrKeysMissing
		}
		if !r.isOfVersion(s, f.Study, cmd.Stage) {
			return cmd.refused("arms_not_of_version", "patients are drawn into an arm that the patient's version of the protocol does not have")
		}
	}
	return r.decide(cmd, f.InStock, force)
}

// isOfVersion says whether the version of the protocol that a patient follows has every arm into which the scheme draws: nobody is
// drawn into an arm that the ethics committee of the site has not approved, or that the consent does not name. An arm that the version
// has dropped may still stand in the scheme once it is closed. That a new one is closed changes nothing, because it must not be known.
func (r Randomisation) isOfVersion(s *scheme, in study.Study, stage string) bool {
	arms, known := in.ArmsOf(stage)
	return !known || !slices.ContainsFunc(s.arms, func(a domain.ArmID) bool {
		return !slices.Contains(arms, a) && !(r.closed.has(a) && in.HasDropped(stage, a))
	})
}

// assign assigns a patient to the only arm of a stage.
func (r Randomisation) assign(cmd RandomisePatient, arms, inStock []domain.ArmID) ([]Event, error) {
	switch {
	case r.closed.sealedFor():
		return nil, ErrKeysMissing
	case r.closed.has(arms[0]):
		return cmd.refused("arm_closed", "the only arm of the stage is closed")
	case inStock != nil && !slices.Contains(inStock, arms[0]):
		return cmd.refused("no_stock", noStockForEveryArm)
	}
	record := Draw{Method: MethodOnlyArm, Number: r.LastNumber + 1, Arms: arms, InStock: inStock, Arm: arms[0]}
	return []Event{PatientRandomised{Study: cmd.Study, Site: cmd.Site, Patient: cmd.Patient, Stage: cmd.Stage, Number: record.Number,
		Factors: maps.Clone(cmd.Factors), Arm: blind.Of(arms[0]), Draw: blind.Of(record)}}, nil
}

const noStockForEveryArm = "kits are not in stock for every arm that the patient could be drawn into"

// choice is what the draw of a patient chooses from.
type choice struct {
	stage  stage
	scheme *scheme
	// stratum is the number of the patient's stratum, factors are the patient's levels.
	stratum int
	factors map[string]string
	// belowCap says for each arm of the scheme whether it is open and below its cap, available whether it is also in stock.
	belowCap, available []bool
}

func (c RandomisePatient) refused(code string, reason personal.Text) ([]Event, error) {
	return []Event{RandomisationRefused{Study: c.Study, Site: c.Site, Patient: c.Patient, Code: code, Reason: reason, Request: c.Request}}, nil
}

func (r Randomisation) decide(cmd RandomisePatient, inStock []domain.ArmID, force bool) ([]Event, error) {
	refused := cmd.refused
	st := r.stages[cmd.Stage]
	s := r.schemes[st.active]
	if s == nil {
		return refused("no_active_scheme", "no scheme of randomisation is active in the study")
	}
	if s.revealed {
		return refused("seed_revealed", "the seed of the scheme has been shown")
	}
	stratum, wrong := s.stratum(cmd.Factors)
	if wrong != "" {
		return refused("invalid_factors", personal.Text(wrong))
	}
	if s.sealed || r.sealed || r.caps != nil && r.caps.sealed || r.closed.sealedFor() {
		return nil, ErrKeysMissing
	}
	if cmd.Stage == "" && (r.levelIsFull(st, s, cmd.Factors) || r.cohortIsFull(cmd.Factors)) {
		return refused("cap_reached", "the cohort of one of the patient's levels is full")
	}
	c := choice{stage: st, scheme: s, stratum: stratum, factors: cmd.Factors, belowCap: r.drawable(cmd.Stage, s)}
	if !slices.Contains(c.belowCap, true) {
		return refused("cap_reached", "all cohorts that the patient could be drawn into are full")
	}
	c.available = slices.Clone(c.belowCap)
	record := Draw{Method: s.method, Scheme: s.id, Number: r.LastNumber + 1, Stratum: stratum, Arms: s.armsWhere(c.belowCap)}
	if inStock != nil {
		held := make([]bool, len(s.arms))
		for i, arm := range s.arms {
			held[i] = slices.Contains(inStock, arm)
			c.available[i] = c.available[i] && held[i]
		}
		record.InStock, record.Forced = s.armsWhere(held), !slices.Equal(c.available, c.belowCap)
	}
	if record.Forced && !(force && slices.Contains(c.available, true)) {
		return refused("no_stock", noStockForEveryArm)
	}
	var skipped []int
	if s.method == MethodList {
		if record.Row, skipped = c.nextEntry(); record.Row == 0 {
			events, err := refused("list_exhausted", "the list has no place left that the patient could be given")
			return append(events, r.exhausted(cmd, c)...), err
		}
		record.Arm = s.arms[s.rows[record.Row-1].Arm()]
	} else if err := c.minimise(&record); err != nil {
		return nil, err
	}
	var events []Event
	for _, row := range skipped {
		events = append(events, EntrySkipped{Study: cmd.Study, Patient: cmd.Patient, Stage: cmd.Stage, Number: record.Number,
			Skipped: blind.Of(Skipped{Scheme: s.id, Row: row + 1, Arm: s.arms[s.rows[row].Arm()]})})
	}
	events = append(events, PatientRandomised{Study: cmd.Study, Site: cmd.Site, Patient: cmd.Patient, Stage: cmd.Stage, Scheme: s.id,
		Number: record.Number, Factors: maps.Clone(cmd.Factors), Arm: blind.Of(record.Arm), Draw: blind.Of(record)})
	if record.Forced {
		events = append(events, AllocationForced{Study: cmd.Study, Site: cmd.Site, Patient: cmd.Patient, Number: record.Number})
	}
	return append(events, r.runsLow(cmd, c)...), nil
}

// nextEntry returns the entry of the list to use next, counted from 1, and the rows to skip before it. The entry is 0
// if no entry can be used.
func (c choice) nextEntry() (entry int, skipped []int) {
	u := c.stage.usage(c.stratum)
	for _, row := range u.waiting {
		if c.available[c.scheme.rows[row].Arm()] {
			return row + 1, nil
		}
	}
	rows := c.scheme.strata[c.stratum]
	for _, row := range rows[min(u.next, len(rows)):] {
		if c.available[c.scheme.rows[row].Arm()] {
			return row + 1, skipped
		}
		skipped = append(skipped, row)
	}
	return 0, nil
}

// armsWhere returns the arms that are marked.
func (s *scheme) armsWhere(marked []bool) []domain.ArmID {
	arms := []domain.ArmID{}
	for i, arm := range s.arms {
		if marked[i] {
			arms = append(arms, arm)
		}
	}
	return arms
}
