package randomisation

import (
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// maxCap bounds the cap of a cohort; domain/enrollment has the same bound for the study's cap.
const maxCap = 1_000_000

// caps are the caps of cohorts that are in force.
type caps struct {
	levels []CohortCap
	arms   *armCaps
	sealed bool
}

type armCaps struct{ all []CohortCap }

// SetCaps bounds how many patients of a cohort may be drawn. A cap below the number of patients who were already drawn
// only stops further draws. When an arm reaches its cap, draws continue among the other arms. When a level reaches its
// cap, patients with this level are not drawn any more. SetCaps refuses reason_required, value_too_long,
// study_not_found, no_protocol, study_not_randomised and invalid_caps.
func SetCaps(_ Randomisation, s study.Study, cmd SetCohortCaps, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	factors, arms, err := factorsAndArms(s, cmd.Study, "")
	if err != nil {
		return nil, err
	}
	e := CohortCapsSet{Study: cmd.Study, Reason: cmd.Reason}
	ofArms, seen := ArmCaps{}, map[CohortCap]bool{}
	for _, c := range cmd.Caps {
		if err := c.validate(factors, arms); err != nil {
			return nil, err
		}
		cohort := c
		cohort.Most = 0
		if seen[cohort] {
			return nil, invalidCaps("a cohort has two caps")
		}
		seen[cohort] = true
		if c.Arm != "" {
			ofArms = append(ofArms, c)
		} else {
			e.Levels = append(e.Levels, c)
		}
	}
	e.Arms = blind.Of(ofArms)
	return []Event{e}, nil
}

func (c CohortCap) validate(factors []Factor, arms []domain.ArmID) error {
	switch isLevel := c.Factor != "" || c.Level != ""; {
	case c.Most < 0 || c.Most > maxCap:
		return invalidCaps("a cap is %d", c.Most)
	case isLevel == (c.Arm != ""):
		return invalidCaps("a cap is not of one arm, or of one level of one factor")
	case c.Arm != "" && !slices.Contains(arms, c.Arm):
		return invalidCaps("a cap is of an arm that the protocol does not have")
	case isLevel && !slices.ContainsFunc(factors, func(f Factor) bool { return f.ID == c.Factor && slices.Contains(f.Levels, c.Level) }):
		return invalidCaps("a cap is of a level that the protocol does not have")
	}
	return nil
}

func invalidCaps(format string, args ...any) error {
	return refuse.Because("invalid_caps", format, args...).At("caps").
		Do("name an arm, or a factor and a level, of the protocol, each once, with a cap from 0 to 1000000")
}

// levelIsFull says whether one of a patient's levels has reached its cap.
func (r Randomisation) levelIsFull(st stage, s *scheme, factors map[string]string) bool {
	if r.caps == nil {
		return false
	}
	return slices.ContainsFunc(r.caps.levels, func(c CohortCap) bool {
		return factors[c.Factor] == c.Level && tallyOf(st.tallies, s, level{c.Factor, c.Level}).all >= c.Most
	})
}

// drawable says for each arm of the scheme whether another patient may be drawn into it: it is not closed, and is below its
// cap. Caps bound how many patients enter the study, so they hold for the first draw only.
func (r Randomisation) drawable(id string, s *scheme) []bool {
	all := tallyOf(r.stages[id].tallies, s, level{}).byArm
	may := make([]bool, len(s.arms))
	for i, arm := range s.arms {
		may[i] = !r.closed.has(arm) && (id != "" || r.caps == nil ||
			!slices.ContainsFunc(r.caps.arms.all, func(c CohortCap) bool { return c.Arm == arm && all[i] >= c.Most }))
	}
	return may
}
