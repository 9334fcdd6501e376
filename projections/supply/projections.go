// Package supply folds events into the documents of the context supply.
package supply

import (
	"casebook/projections"
)

// Projections are the projections of this context.
var Projections = []projections.Projection{KitInventory, Shipments, DosingCompliance, ShippingApprovals}
