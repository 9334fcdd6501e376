// Package user folds events into the documents of the context user.
package user

import (
	"casebook/projections"
)

// Projections are the projections of this context.
var Projections = []projections.Projection{UserDirectory}
