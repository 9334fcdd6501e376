// Package enrollment folds events into the documents of the context enrollment.
package enrollment

import (
	"casebook/projections"
)

// Projections are the projections of this context.
var Projections = []projections.Projection{SiteEnrollment}
