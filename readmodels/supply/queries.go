// Package supply holds the views of study drug: kits, shipments, and who answers for which kits.
package supply

import "casebook/readmodels"

// Queries are those of this context.
var Queries = []readmodels.Query{kits, kit, shipments, accountability, accountabilityByPatient, reconciliation, dosings, dosing,
	shippingApprovals, recalls}
