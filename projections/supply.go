package projections

// SupplyProjections are the projections of this context.
var SupplyProjections = []Projection{KitInventory, Shipments}
