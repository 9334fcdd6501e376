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
	projections.On(func(d *dosing, e supply.KitDispensed, _ projections.Envelope) {
		d.Patient, d.Study, d.Site = e.Patient, e.Study, domain.SiteID(e.Location)
		d.Given(e.Visit, e.Kit, e.On, e.DosesPerDay)
	}),
	projections.On(func(d *dosing, e supply.KitPartlyReturned, _ projections.Envelope) { d.Back(e.Kit, e.On) }),
	projections.On(func(d *dosing, e supply.KitReturned, _ projections.Envelope) { d.Back(e.Kit, e.On) }),
	projections.On(func(d *dosing, e supply.KitNotReturned, _ projections.Envelope) { d.Back(e.Kit, e.On) }),
	projections.On(func(d *dosing, e supply.KitLost, at projections.Envelope) {
		d.Back(e.Kit, domain.DateOf(at.Metadata.RecordedAt))
	}),
	projections.On(func(d *dosing, e supply.KitReplacementAsked, at projections.Envelope) {
		d.Back(e.Kit, domain.DateOf(at.Metadata.RecordedAt))
	}),
	projections.On(func(d *dosing, e patient.DoseHeld, _ projections.Envelope) { d.Hold(e.On) }),
	projections.On(func(d *dosing, e patient.DoseResumed, _ projections.Envelope) { d.Resume(e.On) }),
	projections.On(func(d *dosing, e supply.KitReconciled, _ projections.Envelope) { d.Counted(e.Kit, e.Used) }),
	projections.On(func(d *dosing, e supply.KitRecounted, _ projections.Envelope) { d.Counted(e.Kit, e.To.Used) }),
)

// dosingOf returns the patients whose doses an event is about. That of a lost kit names those who had it.
func dosingOf(e any, at projections.Envelope) (keys []string) {
	lost, is := e.(supply.KitLost)
	if !is {
		return []string{string(projections.PatientOf(at))}
	}
	for _, p := range supply.PatientsOf(lost.Affected) {
		keys = append(keys, string(p))
	}
	return keys
}
