package projections

// UserProjections are the projections of this context.
var UserProjections = []Projection{UserDirectory}
