package diary

import (
	"fmt"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/localtime"
	"casebook/domain/patient"
	"casebook/domain/personal"
)

// FollowPhase assigns the instruments that the protocol asks for in the patient's phase, stops those of other phases, and moves what is
// assigned into another time zone with the patient. The process of phases sends it.
type FollowPhase struct {
	domain.OfPatient
}

// Plan is the facts of Follow: the patient, and what the patient's version of the protocol asks for in the patient's phase.
type Plan struct {
	Patient     patient.Patient
	Instruments []Planned
}

// Planned is an instrument that the protocol asks for in a phase.
type Planned struct {
	Definition *instrument.Definition
	// Days is for how many days; 0 as long as the phase lasts.
	Days int
}

// Follow decides about FollowPhase. What a person has assigned is left alone, and so is everything after the participation, because
// diaries that were captured before its end may still come in. An instrument of another phase ends on the last day of that phase, or
// with its last recorded diary if that is later. The instruments of the phase begin today. One that has been assigned for this phase
// is not assigned again when its days are over.
func Follow(d Diary, plan Plan, cmd FollowPhase, call domain.Call) ([]Event, error) {
	who := plan.Patient
	phase := who.Phase()
	if !who.Participating() {
		return nil, nil
	}
	zone, err := localtime.Load(who.ZoneAt(call.At))
	if err != nil {
		return nil, err
	}
	today := domain.DateOf(zone.In(call.At))
	var events []Event
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.fault != nil || a.Phase == "" || a.Phase == phase {
			continue
		}
		if last := a.lastDayOf(who, today); a.Until > last {
			events = append(events, InstrumentStopped{Patient: cmd.Patient, Instrument: a.ID, Until: last,
				Reason: personal.Text(fmt.Sprintf("The phase %s has ended", a.Phase)), Phase: a.Phase})
		}
	}
	after := d.after(events)
	for _, p := range plan.Instruments { // each is named once
		from, ok := after.mayBegin(p.Definition.ID, phase, today)
		if !ok {
			continue
		}
		until := from.AddDays(maxYears*365 - 1)
		if p.Days > 0 {
			until = from.AddDays(p.Days - 1)
		}
		events = append(events, InstrumentAssigned{Patient: cmd.Patient, Instrument: *p.Definition, Zone: zone.Name(), From: from, Until: until,
			CountsFrom: call.At, Phase: phase})
	}
	return d.rezoned(events, who, today), nil
}

// FollowsPhase says whether Follow has nothing to record.
func (d Diary) FollowsPhase(plan Plan, call domain.Call) bool {
	events, err := Follow(d, plan, FollowPhase{OfPatient: domain.ForPatient(plan.Patient.ID)}, call)
	return err == nil && len(events) == 0
}

func (d Diary) after(events []Event) Diary {
	for _, e := range events {
		d = evolve(d, e)
	}
	return d
}

// lastDayOf returns the last day of an assignment for a phase that has ended.
func (a *Assignment) lastDayOf(who patient.Patient, today domain.Date) domain.Date {
	last := today
	treated := a.Phase == patient.PhaseTreatment || a.Phase == patient.PhaseOpenExtension
	if treated && who.TreatmentEndedOn != "" && who.TreatmentEndedOn < last {
		last = who.TreatmentEndedOn
	}
	for last < a.Until && a.hasRecordsFrom(last.AddDays(1)) {
		last = last.AddDays(1)
	}
	return last
}

// mayBegin returns the first day of an instrument in a phase, and whether it has to be assigned. It has not if somebody has assigned
// it, nor if it was assigned for this phase and its days are over, or a person has stopped it.
func (d Diary) mayBegin(id instrument.ID, phase patient.Phase, today domain.Date) (from domain.Date, ok bool) {
	from = today
	for i := range d.assignments {
		a := &d.assignments[i]
		switch {
		case a.ID != id:
		case a.Phase == phase && !a.phaseEnded, a.Until > today:
			return "", false
		case a.Until >= from:
			from = a.Until.AddDays(1)
		}
	}
	return from, true
}
