package study

import (
	"fmt"
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
)

// Limits of a dispensing plan.
const (
	maxKitTypes = 100
	maxPlanned  = 500
	maxSteps    = 20
	// maxKitsAtOnce bounds the kits that a patient gets at one visit, for the treatment and for a rescue together.
	maxKitsAtOnce = 24
	// maxCases bounds the combinations of visit, arm, step, weight and level that a plan is checked for.
	maxCases       = 50_000
	maxDosesPerDay = 100
	maxKg          = 1000
	maxRules       = 200
)

// validatePlan refuses a dispensing plan that does not say for each case what a patient gets, and one that tells the arm (codes
// invalid_protocol, plan_reveals_arms, value_missing, value_too_long and value_out_of_range).
func (p Protocol) validatePlan() error {
	t := p.Treatment
	if t.Titration != nil {
		if err := domain.First(domain.Between("protocol.treatment.titration.steps", t.Titration.Steps, 1, maxSteps),
			domain.Between("protocol.treatment.titration.start", t.Titration.First(), 1, t.Titration.Steps)); err != nil {
			return err
		}
	}
	if err := domain.First(p.validateDoNotDispense(), p.validateDosingLimits()); err != nil {
		return err
	}
	if t.Plan == nil {
		return nil
	}
	if !t.Kits {
		return invalidProtocol("treatment.plan", "there is a plan for kits, and there are none").Do("set kits, or leave the plan out")
	}
	if _, taken := (Study{Protocol: &p}).Visit(AtEnrollment); taken {
		return invalidProtocol("visits", "a visit is called %s, which is what the plan calls the enrolment", AtEnrollment).Do("rename it")
	}
	if err := domain.First(p.validateKitTypes(), p.doNotDispenseMustNotRevealArms()); err != nil {
		return err
	}
	if len(t.Plan.Kits) == 0 || len(t.Plan.Kits) > maxPlanned {
		return invalidProtocol("treatment.plan.kits", "the plan has %d entries", len(t.Plan.Kits)).Do(fmt.Sprintf("use 1 to %d", maxPlanned))
	}
	for _, k := range t.Plan.Kits {
		if err := p.validatePlanned(k); err != nil {
			return err
		}
	}
	return p.validateCases()
}

func (p Protocol) validateDosingLimits() error {
	l := p.Treatment.DosingLimits
	if l == nil {
		return nil
	}
	if err := domain.First(domain.Between("protocol.treatment.dosingLimits.minPercent", l.MinPercent, 0, 100),
		domain.Between("protocol.treatment.dosingLimits.maxPercent", l.MaxPercent, 0, 1000)); err != nil {
		return err
	}
	plan := p.Treatment.Plan
	switch {
	case l.MinPercent == 0 && l.MaxPercent == 0, l.MaxPercent > 0 && l.MaxPercent < l.MinPercent:
		return invalidProtocol("treatment.dosingLimits", "doses between %d and %d percent are allowed", l.MinPercent, l.MaxPercent).
			Do("set a lower limit, an upper limit, or both in ascending order")
	case plan == nil || !slices.ContainsFunc(plan.Kits, func(k PlannedKits) bool { return k.DosesPerDay > 0 }):
		return invalidProtocol("treatment.dosingLimits", "there are limits for doses, and none are planned").
			Do("set dosesPerDay in the plan, or leave the limits out")
	}
	return nil
}

func (p Protocol) validateDoNotDispense() error {
	if err := atMost("treatment.doNotDispense", len(p.Treatment.DoNotDispense), maxRules); err != nil {
		return err
	}
	for _, r := range p.Treatment.DoNotDispense {
		if err := domain.Between("protocol.treatment.doNotDispense.days", r.Days, 0, maxVisitDays); err != nil {
			return err
		}
		_, typed := p.Treatment.TypeOf(r.Type)
		_, visit := (Study{Protocol: &p}).Visit(r.Visit)
		if r.Type != "" && !typed || r.Visit != "" && r.Visit != AtEnrollment && !visit {
			return invalidProtocol("treatment.doNotDispense", "a rule is about the type %.60q and the visit %.60q", r.Type, r.Visit).
				Do("use types and visits of the protocol")
		}
	}
	return nil
}

// doNotDispenseMustNotRevealArms refuses a rule for the types of some arms only, among types that look alike: a patient who gets no kit,
// beside others who get theirs, would be of these arms (code plan_reveals_arms).
func (p Protocol) doNotDispenseMustNotRevealArms() error {
	t := p.Treatment
	if t.Plan == nil || !t.Randomised || !t.blinded() {
		return nil
	}
	arms, ruled := map[string]map[string]bool{}, map[DoNotDispenseRule]map[string]bool{}
	note := func(of map[string]bool, arm string) map[string]bool {
		if of == nil {
			of = map[string]bool{}
		}
		of[arm] = true
		return of
	}
	for _, k := range t.Plan.Types {
		if k.Arm != "" && !k.Open {
			arms[k.LabelGroup] = note(arms[k.LabelGroup], k.Arm)
		}
	}
	for _, r := range t.DoNotDispense {
		if k, typed := t.TypeOf(r.Type); typed && k.Arm != "" && !k.Open {
			as := r
			as.Type = k.LabelGroup
			ruled[as] = note(ruled[as], k.Arm)
		}
	}
	for as, some := range ruled {
		if len(some) < len(arms[as.Type]) {
			return refuse.Because("plan_reveals_arms", "a rule on kits that expire soon is for some arms only").
				At("protocol.treatment.doNotDispense").Do("give the types of every arm in a label group the same rule")
		}
	}
	return nil
}

func (p Protocol) validateKitTypes() error {
	types := p.Treatment.Plan.Types
	if len(types) == 0 || len(types) > maxKitTypes {
		return invalidProtocol("treatment.plan.types", "the plan has %d types of kits", len(types)).Do(fmt.Sprintf("use 1 to %d", maxKitTypes))
	}
	if err := uniqueIDs("treatment.plan.types", types, func(k KitType) (string, string) { return k.ID, "" }); err != nil {
		return err
	}
	for _, k := range types {
		if err := domain.First(domain.SealedText("protocol.treatment.plan.types.id", k.ID, maxIDChars),
			domain.OptionalText("protocol.treatment.plan.types.strength", k.Strength, maxIDChars),
			domain.OptionalText("protocol.treatment.plan.types.form", k.Form, maxIDChars),
			domain.OptionalText("protocol.treatment.plan.types.labelGroup", k.LabelGroup, maxIDChars)); err != nil {
			return err
		}
		if k.Arm != "" && !p.HasArm(k.Arm) {
			return invalidProtocol("treatment.plan.types", "type %s is of the arm %.60q, which the protocol does not have", k.ID, k.Arm).
				Do("use the id of an arm")
		}
	}
	return nil
}

// HasArm says whether the version has an arm.
func (p Protocol) HasArm(id string) bool {
	return slices.ContainsFunc(p.Arms, func(a Arm) bool { return a.ID == id })
}

func (p Protocol) validatePlanned(k PlannedKits) error {
	t := p.Treatment
	const field = "treatment.plan.kits"
	for _, v := range k.Visits {
		if v != AtEnrollment && !slices.Contains(t.DispensingVisits, v) {
			return invalidProtocol(field, "an entry is for the visit %.60q, which does not dispense", v).Do("add it to dispensingVisits")
		}
		if k.Arm != "" && p.beforeDraw(v) {
			return invalidProtocol(field, "an entry is for the arm %.60q at visit %s, before the draw", k.Arm, v).
				Do("leave the arm out; before the draw nobody has one")
		}
	}
	switch levels := t.levelsOf(t.Plan.Factor); {
	case k.Arm != "" && !p.HasArm(k.Arm):
		return invalidProtocol(field, "an entry is for the arm %.60q, which the protocol does not have", k.Arm).Do("use the id of an arm")
	case k.Step < 0 || k.Step > t.titration().Steps:
		return invalidProtocol(field, "an entry is for step %d of %d", k.Step, t.titration().Steps).Do("use a step of the titration")
	case k.Level != "" && !slices.Contains(levels, k.Level):
		return invalidProtocol(field, "an entry is for the level %.60q", k.Level).Do("use a level of the plan's factor")
	case k.FromKg < 0 || k.FromKg > maxKg || k.BelowKg < 0 || k.BelowKg > maxKg || k.BelowKg > 0 && k.BelowKg <= k.FromKg:
		return invalidProtocol(field, "an entry is for weights from %g to below %g kg", k.FromKg, k.BelowKg).Do("use weights in ascending order")
	case k.DosesPerDay < 0 || k.DosesPerDay > maxDosesPerDay:
		return invalidProtocol(field, "an entry has %g doses each day", k.DosesPerDay).Do(fmt.Sprintf("use 0 to %d", maxDosesPerDay))
	case k.Rescue && (!t.titration().Rescue || len(k.Alternatives) > 0):
		return invalidProtocol(field, "an entry is for a rescue, and has alternatives or there is none").
			Do("set rescue in the titration, and leave the alternatives out")
	}
	for _, set := range append([]KitSet{{k.Kits}}, k.Alternatives...) {
		if err := p.validateSet(k, set); err != nil {
			return err
		}
	}
	return nil
}

func (p Protocol) validateSet(k PlannedKits, set KitSet) error {
	const field = "treatment.plan.kits"
	total := 0
	for _, of := range set.Kits {
		typed, known := p.Treatment.TypeOf(of.Type)
		if !known || typed.Arm != "" && typed.Arm != k.Arm {
			return invalidProtocol(field, "an entry for the arm %.60q has kits of the type %.60q", k.Arm, of.Type).
				Do("use a type of the same arm, or of none")
		}
		if of.Count < 1 {
			return invalidProtocol(field, "an entry has %d kits of a type", of.Count).Do("use 1 or more")
		}
		total += of.Count
		if total > maxKitsAtOnce/2 {
			break
		}
	}
	if total == 0 || total > maxKitsAtOnce/2 {
		return invalidProtocol(field, "an entry has %d kits or more", total).Do(fmt.Sprintf("use 1 to %d", maxKitsAtOnce/2))
	}
	return nil
}

// levelsOf returns the levels of a factor.
func (t Treatment) levelsOf(factor string) []string {
	for _, f := range t.Factors {
		if f.ID == factor {
			return f.Levels
		}
	}
	return nil
}

// validateCases checks what patients get in each case.
func (p Protocol) validateCases() error {
	t := p.Treatment
	const field = "treatment.plan.kits"
	if t.Plan.Factor != "" && len(t.levelsOf(t.Plan.Factor)) == 0 {
		return invalidProtocol("treatment.plan.factor", "the protocol has no factor %.60q", t.Plan.Factor).Do("use the id of a factor")
	}
	visits, weights, levels := t.caseValues()
	if cases := len(visits) * max(1, len(p.Arms)) * t.titration().Steps * len(weights) * len(levels); cases > maxCases {
		return invalidProtocol("treatment.plan", "the plan is for %d combinations of visit, arm, step, weight and level", cases).
			Do(fmt.Sprintf("use at most %d", maxCases))
	}
	for _, visit := range visits {
		given := 0
		for step := range t.titration().Steps {
			for _, kg := range weights {
				for _, level := range levels {
					n, err := p.validateCase(planCase{visit: visit, step: step + 1, kg: kg, level: level})
					if err != nil {
						return err
					}
					if given += n; n == 0 && (given > 0 || visit != AtEnrollment) {
						return invalidProtocol(field, "the plan does not say what is given at %s at step %d, %g kg and level %q", visit, step+1, kg,
							level).Do("add an entry")
					}
				}
			}
		}
	}
	return nil
}

// caseValues returns the visits, weights and levels whose combinations, with the arms and steps, are the cases of a plan.
func (t Treatment) caseValues() (visits []string, weights []float64, levels []string) {
	if levels = t.levelsOf(t.Plan.Factor); len(levels) == 0 {
		levels = []string{""}
	}
	weights = []float64{1}
	for _, k := range t.Plan.Kits {
		weights = append(weights, k.FromKg, k.BelowKg)
	}
	slices.Sort(weights)
	weights = slices.DeleteFunc(slices.Compact(weights), func(kg float64) bool { return kg == 0 })
	return append([]string{AtEnrollment}, t.DispensingVisits...), weights, levels
}

// validateCase checks what the patients of all arms get in one case, whose arm is left out. It returns how many kits that is.
func (p Protocol) validateCase(c planCase) (int, error) {
	t := p.Treatment
	arms := p.Arms
	if p.beforeDraw(c.visit) || len(arms) == 0 {
		arms = []Arm{{}}
	}
	var first, firstRescue string
	perDay, count := 0.0, 0
	for i, arm := range arms {
		c.arm = arm.ID
		var sets []string
		rescue, doses := "", 0.0
		for _, k := range t.Plan.Kits {
			switch {
			case !p.fits(k, c):
			case k.Rescue:
				rescue += t.looks(k.Kits)
			case len(sets) > 0:
				return 0, invalidProtocol("treatment.plan.kits", "two entries are for %s, arm %q, step %d, %g kg and level %q", c.visit, c.arm, c.step,
					c.kg, c.level).Do("leave one of them out")
			default:
				sets, doses = []string{t.looks(k.Kits)}, k.DosesPerDay
				for _, set := range k.Alternatives {
					sets = append(sets, t.looks(set.Kits))
				}
			}
		}
		looks := ""
		if len(sets) > 0 {
			looks = sets[0]
		}
		if i == 0 {
			first, firstRescue, perDay = looks, rescue, doses
		}
		differ := looks != first || rescue != firstRescue || doses != perDay ||
			slices.ContainsFunc(sets, func(s string) bool { return s != looks })
		if differ && t.Randomised && t.blinded() {
			return 0, refuse.Because("plan_reveals_arms", "at %s, step %d, what patients get would tell their arms", c.visit, c.step).
				At("protocol.treatment.plan.kits").
				Do("give each arm, and in each alternative, as many kits of each label group and as many doses a day")
		}
		count += len(looks)
	}
	return count, nil
}

// blinded says whether the arm of a type of kits is a secret.
func (t Treatment) blinded() bool {
	return slices.ContainsFunc(t.Plan.Types, func(k KitType) bool { return k.Arm != "" && !k.Open })
}

// looks describes kits as somebody sees them who does not know what they hold.
func (t Treatment) looks(kits []KitsOf) string {
	var all []string
	for _, kind := range kindsOf(kits) {
		k, _ := t.TypeOf(string(kind))
		all = append(all, fmt.Sprintf("%q %t;", k.LabelGroup, k.Open))
	}
	slices.Sort(all)
	return fmt.Sprint(all)
}
