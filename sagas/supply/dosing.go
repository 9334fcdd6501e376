package supply

import (
	"fmt"
	"maps"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"
)

// dosing is what the process remembers of how a patient takes the study drug.
type dosing struct {
	Dosing supply.Dosing `json:"dosing,omitzero"`
	// Told are the doses that the patient's record was told last, by the interval's visit.
	Told map[string]supply.IntervalDoses `json:"told,omitempty"`
}

// Dosing is the process that has a patient's record judge the doses taken between two visits, as soon as all their kits are accounted
// for, and again when a recount or a later day changes them. Kits for which the protocol plans no doses are not followed.
var Dosing = sagas.Define("dosing",
	sagas.Sends(patient.JudgeDosing{}),
	sagas.On(planned, dosing.dispensed),
	sagas.On(patientOfSite[supply.KitPartlyReturned], ofKit[supply.KitPartlyReturned]),
	sagas.On(patientOfSite[supply.KitReturned], ofKit[supply.KitReturned]),
	sagas.On(patientOfSite[supply.KitNotReturned], ofKit[supply.KitNotReturned]),
	sagas.On(func(e supply.KitLost, _ eventlog.Recorded) []string { return instances(e.Affected) }, ofKit[supply.KitLost]),
	sagas.On(patientOfSite[supply.KitReplacementAsked], ofKit[supply.KitReplacementAsked]),
	sagas.On(func(e supply.KitFound, _ eventlog.Recorded) []string { return instances(e.Affected) }, ofKit[supply.KitFound]),
	sagas.On(patientOfSite[supply.KitReconciled], ofKit[supply.KitReconciled]),
	sagas.On(patientOfSite[supply.KitRecounted], ofKit[supply.KitRecounted]),
	sagas.On(patientOfSite[supply.DispensingDateCorrected], ofKit[supply.DispensingDateCorrected]),
	sagas.On(patientOfSite[supply.ReturnDateCorrected], ofKit[supply.ReturnDateCorrected]),
	sagas.On(sagas.ByPatient[patient.DoseHeld], dosing.held),
	sagas.On(sagas.ByPatient[patient.DoseResumed], dosing.resumed),
).OfPatients().InGroup("dosing-2").Upcast(domain.Unchanged)

func planned(e supply.KitDispensed, at eventlog.Recorded) []string {
	if e.DosesPerDay == 0 {
		return nil
	}
	return patientOfSite(e, at)
}

func (s dosing) dispensed(e supply.KitDispensed, o sagas.Occurrence) (sagas.Reaction[dosing], bool) {
	step, _ := supply.DosingStepOf(e, domain.DateOf(o.At))
	return s.after(step, o), true
}

// ofKit follows a kit that was given out with planned doses.
func ofKit[E supply.StockEvent](s dosing, e E, o sagas.Occurrence) (sagas.Reaction[dosing], bool) {
	step, is := supply.DosingStepOf(e, domain.DateOf(o.At))
	if !is || !s.Dosing.Has(step.Kit) {
		return sagas.Reaction[dosing]{}, false
	}
	return s.after(step, o), true
}

func (s dosing) held(e patient.DoseHeld, o sagas.Occurrence) (sagas.Reaction[dosing], bool) {
	return s.after(supply.DosingStep{What: supply.DoseHeld, On: e.On}, o), true
}

func (s dosing) resumed(e patient.DoseResumed, o sagas.Occurrence) (sagas.Reaction[dosing], bool) {
	return s.after(supply.DosingStep{What: supply.DoseResumed, On: e.On}, o), true
}

// after follows a step, and tells the patient's record which doses are known, or are not known any more.
func (s dosing) after(step supply.DosingStep, o sagas.Occurrence) sagas.Reaction[dosing] {
	s.Dosing, s.Told = s.Dosing.After(step), maps.Clone(s.Told)
	r := sagas.Reaction[dosing]{Stage: "follows the kits", Outcome: process.Completed}
	for _, visit := range s.Dosing.Visits() {
		doses := s.Dosing.Doses(visit)
		told, before := s.Told[visit]
		switch {
		case !doses.Known && !before, doses == told:
			continue
		case doses.Known:
			if s.Told == nil {
				s.Told = map[string]supply.IntervalDoses{}
			}
			s.Told[visit] = doses
			r.Note = fmt.Sprintf("%d doses of %g were taken", doses.Taken, doses.Planned)
		default:
			delete(s.Told, visit)
			doses, r.Note = supply.IntervalDoses{}, "the doses have to be counted anew"
		}
		r.Commands = append(r.Commands, patient.JudgeDosing{OfPatient: domain.ForPatient(domain.PatientID(o.Of)), Visit: visit,
			Planned: doses.Planned, Taken: doses.Taken, On: doses.Until})
	}
	r.State = s
	return r
}
