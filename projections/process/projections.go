// Package process folds events into the documents of the context process.
package process

import (
	"casebook/projections"
)

// Projections are the projections of this context.
var Projections = []projections.Projection{ProcessMonitor, ParkedMessages}
