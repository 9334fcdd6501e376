package supply

import (
	"cmp"
	"math"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/study"
)

// Scheduled is what the prediction of a site's need knows of a patient who is treated there.
type Scheduled struct {
	Patient domain.PatientID
	// Study is the study with the version of the protocol that the patient follows.
	Study      study.Study
	Dosing     study.Dosing
	EnrolledOn domain.Date
	// Arm is the patient's; "" before the draw.
	Arm domain.ArmID
	// Given are visits whose kits a former site has given out.
	Given map[string]bool
	// Visits are those that took place, Skipped those that will not.
	Visits  map[string]bool
	Skipped []string
}

// Due counts, by arm, the kits that patients will need.
type Due map[domain.ArmID]int

// PaddedTo implements blind.Padded.
func (Due) PaddedTo() int { return sealedArms }

// all counts the kits of all arms.
func (d Due) all() int {
	n := 0
	for _, of := range d {
		n += of
	}
	return n
}

// ResupplyPredicted says which need a resupply was planned for, by a rule that looks ahead. It comes with the shipment, or with why
// there is none.
type ResupplyPredicted struct {
	OfStock
	To LocationID `json:"to"`
	// Through is the last day of the look-ahead, and Kits how many visits until then need a kit; enrolments that are expected count too.
	Through domain.Date `json:"through"`
	Kits    int         `json:"kits"`
	// Due counts the visits by arm. Target is how many kits of each arm the site is to have.
	Due    blind.Value[Due] `json:"due"`
	Target int              `json:"target"`
}

func (ResupplyPredicted) stockEvent() {}

// dueAt counts the kits that the visits of patients at a site need from a day on, in as many days as the look-ahead has: visits that
// come and may still take place, and those that took place without a kit. A kit that is allocated for a visit serves it, and so does one
// that a former site has given out. Where the arm of a patient is not known, it follows from the kit that the patient got last.
func (s Stock) dueAt(patients []Scheduled, on domain.Date, days int) (Due, error) {
	due := Due{}
	for _, who := range patients {
		arm, last := who.Arm, study.Kind("")
		newest, _ := s.Newest.Get(who.Patient)
		kits, _ := s.Allocated.Get(Slot{who.Patient, newest.visit})
		if i := slices.IndexFunc(kits, func(n KitNumber) bool { return n != "" }); i >= 0 {
			c, known := s.contents.Get(kits[i])
			if !known {
				return nil, ErrKeysMissing
			}
			arm, last = cmp.Or(arm, c.Arm), c.kind()
		}
		who.needs(due, arm, last, on, days, func(visit string) bool {
			_, served := s.Allocated.Get(Slot{who.Patient, visit})
			return served || who.Given[visit]
		})
	}
	delete(due, "") // of a patient of whom neither the arm nor a kit is known
	return due, nil
}

// needs adds the kits that a patient of an arm needs for visits that have none yet. Where the plan does not tell, it is one of the kind
// that the patient got last.
func (who Scheduled) needs(due Due, arm domain.ArmID, last study.Kind, on domain.Date, days int, served func(visit string) bool) {
	if who.Study.Protocol == nil {
		return
	}
	for _, visit := range who.Study.Protocol.Visits {
		if !who.Study.Gives(visit.ID) || served(visit.ID) || !who.Visits[visit.ID] && !who.comes(visit, on, days) {
			continue
		}
		for _, kind := range who.kinds(visit.ID, arm, last) {
			due[kind]++
		}
	}
}

// kinds are the kits that a patient of an arm gets at a visit. Where the plan does not tell, it is one of the kind that the patient got
// last.
func (who Scheduled) kinds(visit string, arm domain.ArmID, last study.Kind) []study.Kind {
	if sets := who.Study.Due(visit, arm, who.Dosing).Sets; len(sets) > 0 {
		return sets[0]
	}
	return []study.Kind{last}
}

// GivenTo returns the visits for which a patient was given kits here.
func (s Stock) GivenTo(p domain.PatientID) map[string]bool {
	visits := map[string]bool{}
	for slot, kits := range s.Allocated.All() {
		if slot.Patient == p && slices.ContainsFunc(kits, func(n KitNumber) bool { k, _ := s.Kits.Get(n); return k.Dispensed }) {
			visits[slot.Visit] = true
		}
	}
	return visits
}

// comes says whether a visit is planned within the look-ahead and may still take place.
func (who Scheduled) comes(v study.Visit, on domain.Date, days int) bool {
	if who.EnrolledOn == "" || slices.Contains(who.Skipped, v.ID) {
		return false
	}
	planned := who.EnrolledOn.AddDays(v.Day)
	return planned.DaysSince(on) <= days && planned.AddDays(v.DaysAfter) >= on
}

// levels are what a site's stock is kept at: as many kits of each arm as target, at least as many of each as least, and a shipment is
// made when more than spare are missing altogether.
type levels struct {
	target, spare int
	least         func(domain.ArmID) int
}

// levels returns what the rule keeps a site at, if its visits need so many kits. Without a look-ahead, these are the rule's trigger
// and target alone. A look-ahead raises the target of every arm to the kits that an arm needs if chance distributes the visits among
// the arms, with twice the standard deviation added: how many that is follows from the number of visits, which everybody knows, and
// not from the arms. Where an arm needs more, as seldom happens, its least is more, and the stock of all arms is raised, as it
// is below a trigger.
func (r ResupplyRule) levels(arms int, due Due) levels {
	l := levels{target: r.Target, spare: r.Target - r.Trigger, least: func(domain.ArmID) int { return r.Trigger }}
	if r.PredictDays == 0 || arms == 0 {
		return l
	}
	all := due.all() + r.Enrolments
	share := min(all, (all+arms-1)/arms+int(math.Ceil(math.Sqrt(float64(all)))))
	l.target = max(r.Target, share+l.spare)
	l.least = func(arm domain.ArmID) int { return max(r.Trigger, due[arm]+min(1, r.Enrolments)) }
	return l
}

// predicted returns what a rule that looks ahead was planned for.
func (r ResupplyRule) predicted(at OfStock, on domain.Date, due Due, l levels) ResupplyPredicted {
	return ResupplyPredicted{OfStock: at, To: LocationID(r.Site), Through: on.AddDays(r.PredictDays), Kits: due.all() + r.Enrolments,
		Due: blind.Of(due), Target: l.target}
}
