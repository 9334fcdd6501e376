package supply

import (
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/supply"
	"casebook/projections"
	supplyviews "casebook/readmodels/supply"
)

type dosing = supplyviews.DosingCompliance

// DosingCompliance makes one document per patient who was given a kit.
var DosingCompliance = projections.New(supplyviews.DosingCompliances, projections.KeysOfSome(dosingOf),
	projections.On(func(d *dosing, e supply.KitDispensed, at projections.Envelope) {
		d.Patient, d.Study = e.Patient, e.Study
		take(d, at, supplyviews.DosingStep{What: supplyviews.KitGiven, Kit: e.Kit, Visit: e.Visit, On: e.On,
			Site: domain.SiteID(e.Location), DosesPerDay: e.DosesPerDay})
	}),
	projections.On(func(d *dosing, e supply.KitPartlyReturned, at projections.Envelope) { back(d, at, e.Kit, e.On) }),
	projections.On(func(d *dosing, e supply.KitReturned, at projections.Envelope) { back(d, at, e.Kit, e.On) }),
	projections.On(func(d *dosing, e supply.KitNotReturned, at projections.Envelope) { back(d, at, e.Kit, e.On) }),
	projections.On(func(d *dosing, e supply.KitLost, at projections.Envelope) {
		back(d, at, e.Kit, domain.DateOf(at.Metadata.RecordedAt))
	}),
	projections.On(func(d *dosing, e supply.KitReplacementAsked, at projections.Envelope) {
		back(d, at, e.Kit, domain.DateOf(at.Metadata.RecordedAt))
	}),
	projections.On(func(d *dosing, e supply.KitFound, at projections.Envelope) {
		take(d, at, supplyviews.DosingStep{What: supplyviews.KitThere, Kit: e.Kit})
	}),
	projections.On(func(d *dosing, e patient.DoseHeld, at projections.Envelope) {
		take(d, at, supplyviews.DosingStep{What: supplyviews.DoseHeld, On: e.On})
	}),
	projections.On(func(d *dosing, e patient.DoseResumed, at projections.Envelope) {
		take(d, at, supplyviews.DosingStep{What: supplyviews.DoseResumed, On: e.On})
	}),
	projections.On(func(d *dosing, e supply.KitReconciled, at projections.Envelope) { counted(d, at, e.Kit, e.Used) }),
	projections.On(func(d *dosing, e supply.KitRecounted, at projections.Envelope) { counted(d, at, e.Kit, e.To.Used) }),
)

func take(d *dosing, at projections.Envelope, s supplyviews.DosingStep) {
	s.At = at.Metadata.RecordedAt
	d.Take(s)
}

func back(d *dosing, at projections.Envelope, kit supply.KitNumber, on domain.Date) {
	take(d, at, supplyviews.DosingStep{What: supplyviews.KitBack, Kit: kit, On: on})
}

func counted(d *dosing, at projections.Envelope, kit supply.KitNumber, used int) {
	take(d, at, supplyviews.DosingStep{What: supplyviews.KitCounted, Kit: kit, Used: used})
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
