package randomisation

import (
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// SetLevelCaps bounds how many patients of a level, or of a cohort, may be drawn. It replaces all earlier caps that were set
// this way. Caps of arms are set by SetCohortCaps, and stay: whoever manages the study need not know them.
type SetLevelCaps struct {
	domain.InStudy
	Caps            []LevelCap `json:"caps" doc:"All caps that hold from now on; none lifts them"`
	domain.Reasoned `doc:"Why the caps change"`
}

// LevelCapsSet replaces all caps of levels and cohorts that were set before by SetLevelCaps.
type LevelCapsSet struct {
	Study  domain.StudyID `json:"study"`
	Caps   []LevelCap     `json:"caps,omitempty"`
	Reason personal.Text  `json:"reason"`
}

// LevelCap bounds how many patients with all of some levels may be drawn: of one level of a factor, or of a cohort, which is
// a combination of levels of several factors.
type LevelCap struct {
	Levels map[string]string `json:"levels" doc:"The level of each factor, by the factor's id"`
	Most   int               `json:"most" minimum:"0" maximum:"1000000" doc:"How many patients may be drawn at most"`
}

// cohort is a cohort that is capped, with the number of its patients.
type cohort struct {
	LevelCap
	drawn int
}

// BoundLevels decides about SetLevelCaps. A cap below the number of patients who were already drawn only stops further draws.
// It refuses reason_required, value_too_long, study_not_found, no_protocol, study_not_randomised and invalid_caps.
func BoundLevels(_ Randomisation, s study.Study, cmd SetLevelCaps, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	factors, _, err := factorsAndArms(s, cmd.Study, "")
	if err != nil {
		return nil, err
	}
	const most = 100
	if len(cmd.Caps) > most {
		return nil, invalidLevelCaps("there are %d caps", len(cmd.Caps))
	}
	for i, c := range cmd.Caps {
		switch {
		case c.Most < 0 || c.Most > maxCap:
			return nil, invalidLevelCaps("a cap is %d", c.Most)
		case len(c.Levels) == 0:
			return nil, invalidLevelCaps("a cap is of no level")
		case slices.ContainsFunc(cmd.Caps[:i], func(other LevelCap) bool { return maps.Equal(other.Levels, c.Levels) }):
			return nil, invalidLevelCaps("a cohort has two caps")
		}
		for factor, level := range c.Levels {
			if !slices.ContainsFunc(factors, func(f Factor) bool { return f.ID == factor && slices.Contains(f.Levels, level) }) {
				return nil, invalidLevelCaps("a cap is of a level that the protocol does not have")
			}
		}
	}
	return []Event{LevelCapsSet{Study: cmd.Study, Caps: cmd.Caps, Reason: cmd.Reason}}, nil
}

func invalidLevelCaps(format string, args ...any) error {
	return refuse.Because("invalid_caps", format, args...).At("caps").
		Do("name levels of the protocol's factors, each combination once, with a cap from 0 to 1000000")
}

// withCohorts counts the patients of each cohort that is capped from now on. A patient is of a cohort by the levels of the first draw,
// as they were corrected.
func (r Randomisation) withCohorts(caps []LevelCap) Randomisation {
	r.cohorts = make([]cohort, len(caps))
	for i, c := range caps {
		r.cohorts[i].LevelCap = c
	}
	for _, d := range r.drawn.All() {
		if first := d.in(""); first != nil {
			r.cohorts = counted(r.cohorts, first.factors, 1)
		}
	}
	return r
}

// counted returns the cohorts with a patient counted, or with by -1 not counted any more.
func counted(cohorts []cohort, factors map[string]string, by int) []cohort {
	if len(cohorts) == 0 {
		return cohorts
	}
	next := slices.Clone(cohorts)
	for i := range next {
		if study.Cohort(next[i].Levels).Has(factors) {
			next[i].drawn += by
		}
	}
	return next
}

// cohortIsFull says whether a cohort that the patient is of has reached its cap.
func (r Randomisation) cohortIsFull(factors map[string]string) bool {
	return slices.ContainsFunc(r.cohorts, func(c cohort) bool { return study.Cohort(c.Levels).Has(factors) && c.drawn >= c.Most })
}
