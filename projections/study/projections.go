// Package study folds events into the documents of the context study.
package study

import (
	"casebook/projections"
)

// Projections are the projections of this context.
var Projections = []projections.Projection{StudyOverview, Protocols}
