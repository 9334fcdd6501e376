package projections

// PatientProjections are the projections of this context.
var PatientProjections = []Projection{PatientList, PatientView}
