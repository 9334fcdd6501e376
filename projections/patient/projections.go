// Package patient folds events into the documents of the context patient.
package patient

import (
	"casebook/projections"
)

// Projections are the projections of this context.
var Projections = []projections.Projection{PatientList, PatientView, Deviations, Reconsents, Rollouts, ScreeningNumbers}
