package projections

// ProcessProjections are the projections of this context.
var ProcessProjections = []Projection{SagaMonitor, ParkedMessages}
