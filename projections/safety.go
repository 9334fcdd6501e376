package projections

// SafetyProjections are the projections of this context.
var SafetyProjections = []Projection{Alerts}
