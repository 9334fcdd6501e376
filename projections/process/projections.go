package process

import (
	"casebook/projections"
)

// Projections are the projections of this context.
var Projections = []projections.Projection{ProcessMonitor, ParkedMessages}
