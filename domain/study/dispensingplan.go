package study

import (
	"cmp"
	"fmt"
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
)

// AtEnrollment names the enrolment in a dispensing plan. No visit of a protocol with a plan has this id.
const AtEnrollment = "enrollment"

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

// DispensingPlan says which kits patients get, and how many. Without one, a patient gets one kit of the own arm at the enrolment
// and at each visit that dispenses.
type DispensingPlan struct {
	Types []KitType     `json:"types" minItems:"1" doc:"The types of kits"`
	Kits  []PlannedKits `json:"kits" minItems:"1" doc:"What patients get; exactly one entry without rescue fits each visit, arm, step, weight and level"`
	// Factor is the factor of the randomisation by whose level the numbers of kits differ.
	Factor string `json:"factor,omitempty" doc:"The factor of the draw by whose level patients get different kits"`
}

// KitType is what kits have in common that can replace one another.
type KitType struct {
	ID string `json:"id" minLength:"1" maxLength:"50"`
	// Arm is the only arm whose patients may get it; "" for kits that anybody may get, such as those of a run-in or a rescue.
	Arm        string `json:"arm,omitempty" doc:"The arm whose patients get it; left out for kits that patients of every arm may get"`
	Strength   string `json:"strength,omitempty" maxLength:"50" doc:"Strength of a dose, such as 54 mg"`
	Form       string `json:"form,omitempty" maxLength:"50" doc:"Dosage form, such as patch"`
	LabelGroup string `json:"labelGroup,omitempty" maxLength:"50" doc:"Kits of one group look the same"`
	Open       bool   `json:"open,omitempty" doc:"Whether its label says what it holds"`
}

// PlannedKits are what a patient gets in one case. A field that is left out fits every patient.
type PlannedKits struct {
	Visits      []string `json:"visits,omitempty" doc:"The visits, and enrollment for the enrolment; left out for the enrolment and all visits after it that dispense"`
	Arm         string   `json:"arm,omitempty" doc:"The arm"`
	Step        int      `json:"step,omitempty" minimum:"0" doc:"The step of the titration, from 1"`
	FromKg      float64  `json:"fromKg,omitempty" minimum:"0" doc:"Body weight from which it is given"`
	BelowKg     float64  `json:"belowKg,omitempty" minimum:"0" doc:"Body weight below which it is given"`
	Level       string   `json:"level,omitempty" doc:"The level of the plan's factor"`
	Rescue      bool     `json:"rescue,omitempty" doc:"Whether it is given in addition to patients on rescue medication"`
	DosesPerDay float64  `json:"dosesPerDay,omitempty" minimum:"0" doc:"Doses to be taken each day, for the dosing compliance"`
	Kits        []KitsOf `json:"kits" minItems:"1" doc:"The kits"`
	// Alternatives are given instead if the site does not have the kits, the first that it has.
	Alternatives []KitSet `json:"alternatives,omitempty" doc:"What is given instead if the site does not have them, in the order of preference"`
}

// KitSet are kits that are given together.
type KitSet struct {
	Kits []KitsOf `json:"kits" minItems:"1"`
}

// KitsOf are a number of kits of a type.
type KitsOf struct {
	Type  string `json:"type" minLength:"1" doc:"The type"`
	Count int    `json:"count" minimum:"1" doc:"How many kits"`
}

// Titration says how the dose is changed. All arms have the same steps, so that a step does not tell the arm.
type Titration struct {
	Steps int `json:"steps" minimum:"1" maximum:"20" doc:"Number of steps, from the lowest dose to the highest"`
	Start int `json:"start,omitempty" minimum:"0" maximum:"20" doc:"The step of the first dose; the lowest if left out"`
	// Rescue says that there is a rescue medication.
	Rescue bool `json:"rescue,omitempty" doc:"Whether there is a rescue medication"`
}

// First returns the step of the first dose.
func (t Titration) First() int { return max(1, t.Start) }

// DoNotDispenseRule is a number of days before its expiry in which a kit is not given out any more.
type DoNotDispenseRule struct {
	Type    string `json:"type,omitempty" doc:"Only kits of this type"`
	Visit   string `json:"visit,omitempty" doc:"Only at this visit; enrollment for the enrolment"`
	Country string `json:"country,omitempty" maxLength:"3" doc:"Only at sites in this country"`
	Days    int    `json:"days" minimum:"0" doc:"A kit that expires within so many days is not given out"`
}

// Dosing is what of a patient decides about the kits. It tells no arm.
type Dosing struct {
	// Step is the step of the titration; 0 for the first.
	Step   int
	Rescue bool
	// WeightKg is the last recorded weight; 0 if none was recorded.
	WeightKg float64
	// Levels are the patient's levels of the factors of the draw.
	Levels map[string]string
}

// Kind is what kits have in common that can replace one another: their type, or their arm where the protocol has no types.
type Kind = domain.ArmID

// Due are the kits that a patient gets at a visit.
type Due struct {
	// Sets are what can be given, in the order of preference, each as the kinds of its kits.
	Sets        [][]Kind
	DosesPerDay float64
}

// Due returns what a patient of an arm gets at a visit, "" for the enrolment. arm is "" before the draw. It returns no sets if
// nothing is planned, or if that depends on an arm or a weight that is not known.
func (s Study) Due(visit string, arm domain.ArmID, d Dosing) Due {
	t := s.Treatment()
	if t.Plan == nil {
		if arm == "" {
			return Due{}
		}
		return Due{Sets: [][]Kind{{arm}}}
	}
	if d.Step == 0 {
		d.Step = t.titration().First()
	}
	c := planCase{visit: cmp.Or(visit, AtEnrollment), arm: string(arm), step: d.Step, kg: d.WeightKg, level: d.Levels[t.Plan.Factor]}
	var due Due
	var rescue []Kind
	for _, k := range t.Plan.Kits {
		if !s.Protocol.fits(k, c) {
			continue
		}
		if k.Rescue {
			rescue = append(rescue, kindsOf(k.Kits)...)
			continue
		}
		due.DosesPerDay = k.DosesPerDay
		due.Sets = append(due.Sets, kindsOf(k.Kits))
		for _, set := range k.Alternatives {
			due.Sets = append(due.Sets, kindsOf(set.Kits))
		}
	}
	if d.Rescue {
		for i := range due.Sets {
			due.Sets[i] = append(due.Sets[i], rescue...)
		}
	}
	return due
}

// Gives says whether patients get kits at a visit, "" for the enrolment.
func (s Study) Gives(visit string) bool {
	t := s.Treatment()
	if !t.Kits {
		return false
	}
	if t.Plan == nil {
		return visit == "" || slices.Contains(t.DispensingVisits, visit)
	}
	return slices.ContainsFunc(t.Plan.Kits, func(k PlannedKits) bool { return !k.Rescue && s.Protocol.atVisit(k, cmp.Or(visit, AtEnrollment)) })
}

// GivesBeforeDraw says whether patients get kits at a visit of the screening, such as those of a run-in.
func (s Study) GivesBeforeDraw(visit string) bool {
	return s.Treatment().Plan != nil && s.Protocol.beforeDraw(visit) && s.Gives(visit)
}

// NeedsWeight says whether the kits of a visit, "" for the enrolment, depend on the patient's weight.
func (s Study) NeedsWeight(visit string) bool {
	t := s.Treatment()
	return t.Plan != nil && slices.ContainsFunc(t.Plan.Kits, func(k PlannedKits) bool {
		return (k.FromKg > 0 || k.BelowKg > 0) && s.Protocol.atVisit(k, cmp.Or(visit, AtEnrollment))
	})
}

func (t Treatment) titration() Titration {
	if t.Titration == nil {
		return Titration{Steps: 1}
	}
	return *t.Titration
}

// TypeOf returns a type of kits.
func (t Treatment) TypeOf(id string) (KitType, bool) {
	if t.Plan == nil {
		return KitType{}, false
	}
	i := slices.IndexFunc(t.Plan.Types, func(k KitType) bool { return k.ID == id })
	if i < 0 {
		return KitType{}, false
	}
	return t.Plan.Types[i], true
}

// Kinds lists what a site has to have in stock, each kind under the id of an arm: the types of kits, or the arms where there are
// no types.
func (p Protocol) Kinds() []Arm {
	if p.Treatment == nil || p.Treatment.Plan == nil {
		return p.Arms
	}
	kinds := make([]Arm, len(p.Treatment.Plan.Types))
	for i, k := range p.Treatment.Plan.Types {
		kinds[i] = Arm{ID: k.ID, Title: k.ID}
	}
	return kinds
}

// planCase is a case that a plan has to have an answer for.
type planCase struct {
	visit, arm string
	step       int
	kg         float64
	level      string
}

// fits says whether an entry of the plan is for a case.
func (p *Protocol) fits(k PlannedKits, c planCase) bool {
	return p.atVisit(k, c.visit) && (k.Arm == "" || k.Arm == c.arm) && (k.Step == 0 || k.Step == c.step) &&
		(k.Level == "" || k.Level == c.level) && (k.FromKg == 0 && k.BelowKg == 0 || c.kg > 0) && c.kg >= k.FromKg &&
		(k.BelowKg == 0 || c.kg < k.BelowKg)
}

// atVisit says whether an entry is for a visit. One that names none is not for visits of the screening, where nobody has an arm.
func (p *Protocol) atVisit(k PlannedKits, visit string) bool {
	if len(k.Visits) > 0 {
		return slices.Contains(k.Visits, visit)
	}
	return visit == AtEnrollment || slices.Contains(p.Treatment.DispensingVisits, visit) && !p.beforeDraw(visit)
}

// beforeDraw says whether a visit is one of the screening, where nobody has an arm.
func (p *Protocol) beforeDraw(visit string) bool {
	return slices.ContainsFunc(p.Visits, func(v Visit) bool { return v.ID == visit && v.Day < 0 })
}

func kindsOf(kits []KitsOf) (kinds []Kind) {
	for _, k := range kits {
		for range k.Count {
			kinds = append(kinds, Kind(k.Type))
		}
	}
	return kinds
}

// KeepDays returns how many days before its expiry a kit of a type, "" without types, is not given out any more at a visit. on is
// the day on which it would be given out, and enrolledOn day 0 of the patient's visits, "" before it. Where the protocol demands
// it, the kit has to last until the last day of the window of the next visit: the next one that dispenses, or, after the last of
// these, the next one of all.
func (s Study) KeepDays(kind Kind, visit, country string, on, enrolledOn domain.Date) int {
	t := s.Treatment()
	days := t.DoNotDispenseDays
	for _, r := range t.DoNotDispense {
		if (r.Type == "" || r.Type == string(kind)) && (r.Visit == "" || r.Visit == cmp.Or(visit, AtEnrollment)) &&
			(r.Country == "" || r.Country == country) {
			days = max(days, r.Days)
		}
	}
	if t.UntilNextVisit {
		if v, known := s.Visit(visit); enrolledOn == "" && known {
			enrolledOn = on.AddDays(-v.Day)
		} else if enrolledOn == "" {
			enrolledOn = on
		}
		if next, some := s.nextVisit(visit, on.DaysSince(enrolledOn)); some {
			days = max(days, enrolledOn.AddDays(next.Day+next.DaysAfter).DaysSince(on))
		}
	}
	return days
}

// nextVisit returns the visit until which what is given at a visit has to last. day is that of the dispensing.
func (s Study) nextVisit(visit string, day int) (next Visit, some bool) {
	if s.Protocol == nil {
		return Visit{}, false
	}
	planned := 0
	switch v, known := s.Visit(visit); {
	case known:
		planned = v.Day
	case visit != "":
		planned = day // between the visits of the protocol
	}
	for _, dispensing := range []bool{true, false} {
		for _, v := range s.Protocol.Visits {
			if v.Day > planned && (!dispensing || s.Gives(v.ID)) && (!some || v.Day < next.Day) {
				next, some = v, true
			}
		}
		if some {
			break
		}
	}
	return next, some
}

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
	if err := p.validateDoNotDispense(); err != nil {
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
	if err := p.validateKitTypes(); err != nil {
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
		if k.Arm != "" && !p.hasArm(k.Arm) {
			return invalidProtocol("treatment.plan.types", "type %s is of the arm %.60q, which the protocol does not have", k.ID, k.Arm).
				Do("use the id of an arm")
		}
	}
	return nil
}

func (p Protocol) hasArm(id string) bool {
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
	switch levels := p.levelsOf(t.Plan.Factor); {
	case k.Arm != "" && !p.hasArm(k.Arm):
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
func (p Protocol) levelsOf(factor string) []string {
	for _, f := range p.Treatment.Factors {
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
	levels := p.levelsOf(t.Plan.Factor)
	if t.Plan.Factor != "" && len(levels) == 0 {
		return invalidProtocol("treatment.plan.factor", "the protocol has no factor %.60q", t.Plan.Factor).Do("use the id of a factor")
	}
	if len(levels) == 0 {
		levels = []string{""}
	}
	weights := []float64{1}
	for _, k := range t.Plan.Kits {
		weights = append(weights, k.FromKg, k.BelowKg)
	}
	slices.Sort(weights)
	weights = slices.DeleteFunc(slices.Compact(weights), func(kg float64) bool { return kg == 0 })
	visits := append([]string{AtEnrollment}, t.DispensingVisits...)
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
				At("protocol.treatment.plan.kits").Do("give each arm, and in each alternative, as many kits of each label group and as many doses a day")
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
