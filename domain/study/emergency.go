package study

import (
	"cmp"
	"iter"
	"slices"

	"casebook/domain"
)

// Emergency is what somebody who treats a patient in an emergency has to know about an arm: what the protocol says about it, and what
// a patient of it gets at the patient's dose.
type Emergency struct {
	Title string `json:"title,omitempty" doc:"What the arm is"`
	Dose  string `json:"dose,omitempty" doc:"What the patient takes, how much and how often, as the protocol says"`
	// DoseStep is the step of the titration that is in force; 0 where the protocol has no titration.
	DoseStep int             `json:"doseStep,omitempty" doc:"The step of the titration that is in force, from the lowest dose; left out where there is none"`
	Rescue   bool            `json:"rescue,omitempty" doc:"Whether the patient is on rescue medication"`
	Kits     []EmergencyKits `json:"kits,omitempty" doc:"The kits of the dispensing plan at this dose"`
	ToDo     []string        `json:"toDo" doc:"What the protocol says to do, for this arm and for every patient"`
}

// EmergencyKits are kits of a type that a patient gets.
type EmergencyKits struct {
	Type     string `json:"type" doc:"The type of the kits"`
	Strength string `json:"strength,omitempty" doc:"The strength of a dose"`
	Form     string `json:"form,omitempty" doc:"The dosage form"`
	Count    int    `json:"count" doc:"How many kits"`
}

// Emergency returns what is known of an arm for a patient who follows a version of the protocol, got kits last at a visit, "" for the
// enrolment, and has a dose. The version that the patient follows counts, or else the last one before it that has the arm, or the next
// one after it, because the arm may have been dropped since the patient was drawn.
func (s Study) Emergency(arm domain.ArmID, follows int, visit string, d Dosing) Emergency {
	for n := min(follows, s.Newest()); n > 0; n-- {
		if of, has := s.As(n).emergency(arm, visit, d); has {
			return of
		}
	}
	for n := follows + 1; n <= s.Newest(); n++ {
		if of, has := s.As(n).emergency(arm, visit, d); has {
			return of
		}
	}
	return Emergency{ToDo: []string{}}
}

// Emergencies are what is known of every arm of every version for such a patient.
func (s Study) Emergencies(visit string, d Dosing) iter.Seq2[domain.ArmID, Emergency] {
	return func(yield func(domain.ArmID, Emergency) bool) {
		for n := 1; n <= s.Newest(); n++ {
			for _, a := range s.Version(n).Arms {
				if of, _ := s.As(n).emergency(domain.ArmID(a.ID), visit, d); !yield(domain.ArmID(a.ID), of) {
					return
				}
			}
		}
	}
}

// emergency returns what the version in force says of an arm, and whether it has the arm.
func (s Study) emergency(arm domain.ArmID, visit string, d Dosing) (Emergency, bool) {
	i := slices.IndexFunc(s.Protocol.Arms, func(a Arm) bool { return domain.ArmID(a.ID) == arm })
	if i < 0 {
		return Emergency{}, false
	}
	a, t := s.Protocol.Arms[i], s.Treatment()
	of := Emergency{Title: a.Title, Dose: a.Dose, Rescue: d.Rescue, ToDo: []string{}}
	for _, todo := range []string{a.InEmergency, t.InEmergency} {
		if todo != "" {
			of.ToDo = append(of.ToDo, todo)
		}
	}
	if t.Titration != nil {
		of.DoseStep = cmp.Or(d.Step, t.Titration.First())
	}
	sets := s.Due(visit, arm, d).Sets
	if t.Plan == nil || len(sets) == 0 {
		return of, true
	}
	for _, kind := range sets[0] {
		same := func(k EmergencyKits) bool { return k.Type == string(kind) }
		if i := slices.IndexFunc(of.Kits, same); i >= 0 {
			of.Kits[i].Count++
			continue
		}
		is, _ := t.TypeOf(string(kind))
		of.Kits = append(of.Kits, EmergencyKits{Type: is.ID, Strength: is.Strength, Form: is.Form, Count: 1})
	}
	return of, true
}
