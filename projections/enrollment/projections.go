package enrollment

import (
	"casebook/projections"
)

// Projections are the projections of this context.
var Projections = []projections.Projection{SiteEnrollment}
