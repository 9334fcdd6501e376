package projections

// EnrollmentProjections are the projections of this context.
var EnrollmentProjections = []Projection{SiteEnrollment}
