package study

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"casebook/domain"
)

// AtEnrollment names the enrolment in a dispensing plan. No visit of a protocol with a plan has this id.
const AtEnrollment = "enrollment"

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
// nothing is planned, or if that depends on an arm or a weight that is not known. A patient whose arm the version has dropped gets what
// the last version before it that has the arm plans.
func (s Study) Due(visit string, arm domain.ArmID, d Dosing) Due {
	t, plan := s.Treatment(), s.planOf(arm)
	if plan == nil {
		if arm == "" {
			return Due{}
		}
		return Due{Sets: [][]Kind{{arm}}}
	}
	if d.Step == 0 {
		d.Step = t.titration().First()
	}
	c := planCase{visit: cmp.Or(visit, AtEnrollment), arm: string(arm), step: d.Step, kg: d.WeightKg, level: d.Levels[plan.Factor]}
	var due Due
	var rescue []Kind
	for _, k := range plan.Kits {
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

// PlanFor returns a mark of what is planned at a visit for a patient, "" for the enrolment. It differs where the plan differs for a patient
// of any arm, so that it tells no arm, and is "" in a protocol without a plan. A rescue changes nothing: it comes with the next kits.
func (s Study) PlanFor(visit string, d Dosing) string {
	if s.Treatment().Plan == nil {
		return ""
	}
	d.Rescue = false
	mark := sha256.New()
	for _, arm := range s.Protocol.Arms {
		due := s.Due(visit, domain.ArmID(arm.ID), d)
		_, _ = fmt.Fprintf(mark, "%q %q %v\n", arm.ID, due.Sets, due.DosesPerDay)
	}
	return hex.EncodeToString(mark.Sum(nil)[:8])
}

// planOf returns the dispensing plan that has an arm; nil if kits of the arm have no types. arm is "" before the draw.
func (s Study) planOf(arm domain.ArmID) *DispensingPlan {
	plan := s.Treatment().Plan
	if plan == nil || arm == "" || s.Protocol.HasArm(string(arm)) {
		return plan
	}
	for n := s.Protocol.Version - 1; n > 0; n-- {
		if before := s.Version(n); before != nil && before.HasArm(string(arm)) && before.Treatment != nil {
			return before.Treatment.Plan
		}
	}
	return plan
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
	return slices.ContainsFunc(t.Plan.Kits, func(k PlannedKits) bool {
		return !k.Rescue && s.Protocol.atVisit(k, cmp.Or(visit, AtEnrollment))
	})
}

// GivesBeforeDraw says whether patients who have no arm yet get kits at a visit, such as those of a run-in: at one of the screening,
// or, where patients are drawn later, at one for which the plan has something that fits every arm.
func (s Study) GivesBeforeDraw(visit string) bool {
	t := s.Treatment()
	if t.Plan == nil || !s.Gives(visit) {
		return false
	}
	return s.Protocol.beforeDraw(visit) || t.DrawnLater && visit != "" && slices.ContainsFunc(t.Plan.Kits, func(k PlannedKits) bool {
		return !k.Rescue && k.Arm == "" && s.Protocol.atVisit(k, visit)
	})
}

// InScreening says whether a visit belongs to the screening.
func (s Study) InScreening(visit string) bool {
	return s.Protocol != nil && s.Protocol.beforeDraw(visit)
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
