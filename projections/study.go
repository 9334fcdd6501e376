package projections

// StudyProjections are the projections of this context.
var StudyProjections = []Projection{StudyOverview}
