package projections

// Former returns the fold of the version before, where it is kept; nil where none is.
func (p Projection) Former() *Projection { return p.former }

// Alike says that the projection folds events of all types alike.
func (p Projection) Alike() bool { return p.alike }
