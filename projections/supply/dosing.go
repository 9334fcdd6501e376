package supply

import (
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/supply"
	"casebook/projections"
	supplyviews "casebook/readmodels/supply"
)

type dosing = supplyviews.DosingDocument

// DosingCompliance makes one document per patient who was given a kit.
var DosingCompliance = projections.New(supplyviews.DosingCompliances, projections.KeysOfSome(dosingOf),
	projections.On(func(d *dosing, e supply.KitDispensed, at projections.Envelope) {
		d.Patient, d.Study = e.Patient, e.Study
		ofKit(d, e, at)
	}),
	projections.On(ofKit[supply.KitPartlyReturned]),
	projections.On(ofKit[supply.KitReturned]),
	projections.On(ofKit[supply.KitNotReturned]),
	projections.On(ofKit[supply.DispensingDateCorrected]),
	projections.On(ofKit[supply.ReturnDateCorrected]),
	projections.On(ofKit[supply.KitLost]),
	projections.On(ofKit[supply.KitReplacementAsked]),
	projections.On(ofKit[supply.KitFound]),
	projections.On(ofKit[supply.KitReconciled]),
	projections.On(ofKit[supply.KitRecounted]),
	projections.On(func(d *dosing, e patient.DoseHeld, at projections.Envelope) {
		take(d, supply.DosingStep{What: supply.DoseHeld, On: e.On}, at)
	}),
	projections.On(func(d *dosing, e patient.DoseResumed, at projections.Envelope) {
		take(d, supply.DosingStep{What: supply.DoseResumed, On: e.On}, at)
	}),
)

func ofKit[E supply.StockEvent](d *dosing, e E, at projections.Envelope) {
	if s, is := supply.DosingStepOf(e, domain.DateOf(at.Metadata.RecordedAt)); is {
		take(d, s, at)
	}
}

func take(d *dosing, s supply.DosingStep, at projections.Envelope) {
	d.Take(supplyviews.DosingStep{At: at.Metadata.RecordedAt, DosingStep: s})
}

// dosingOf returns the patients whose doses an event is about. Those of a kit that was lost or found name who had it, or has it again.
func dosingOf(e any, at projections.Envelope) (keys []string) {
	var slots []supply.Slot
	switch e := e.(type) {
	case supply.KitLost:
		slots = e.Affected
	case supply.KitFound:
		slots = e.Affected
	default:
		return []string{string(projections.PatientOf(at))}
	}
	for _, p := range supply.PatientsOf(slots) {
		keys = append(keys, string(p))
	}
	return keys
}
