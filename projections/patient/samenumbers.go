package patient

import (
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/projections"
	patientviews "casebook/readmodels/patient"
)

// ScreeningNumbers makes one document per screening number, with the patients who have it.
var ScreeningNumbers = projections.New(patientviews.ScreeningNumbers,
	projections.KeyOf(func(e patient.Screened, _ projections.Envelope) string {
		return patientviews.NumberKey(e.Study, e.ScreeningNumber)
	}),
	projections.On(func(n *patientviews.ScreeningNumber, e patient.Screened, _ projections.Envelope) {
		n.Study, n.Number = e.Study, domain.Folded(e.ScreeningNumber)
		n.Patients = append(n.Patients, patientviews.NumberedPatient{Patient: e.Patient, Site: e.Site})
		n.Several = len(n.Patients) > 1
	}),
)
