// Package safety folds events into the documents of the context safety.
package safety

import (
	"casebook/projections"
)

// Projections are the projections of this context.
var Projections = []projections.Projection{Alerts}
