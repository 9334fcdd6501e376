package supply

import (
	"casebook/domain"
	"casebook/domain/supply"
	"casebook/projections"
	supplyviews "casebook/readmodels/supply"
)

type dosing = supplyviews.DosingCompliance

// DosingCompliance makes one document per patient who was given a kit.
var DosingCompliance = projections.New(supplyviews.DosingCompliances, projections.ByPatient,
	projections.On(func(d *dosing, e supply.KitDispensed, _ projections.Envelope) {
		d.Patient, d.Study, d.Site = e.Patient, e.Study, domain.SiteID(e.Location)
		d.Given(e.Visit, e.Kit, e.On, e.DosesPerDay)
	}),
	projections.On(func(d *dosing, e supply.KitPartlyReturned, _ projections.Envelope) { d.Back(e.Kit, e.On) }),
	projections.On(func(d *dosing, e supply.KitReturned, _ projections.Envelope) { d.Back(e.Kit, e.On) }),
	projections.On(func(d *dosing, e supply.KitNotReturned, _ projections.Envelope) { d.Back(e.Kit, e.On) }),
	projections.On(func(d *dosing, e supply.KitReconciled, _ projections.Envelope) { d.Counted(e.Kit, e.Used) }),
	projections.On(func(d *dosing, e supply.KitRecounted, _ projections.Envelope) { d.Counted(e.Kit, e.To.Used) }),
)
