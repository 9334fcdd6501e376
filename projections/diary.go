package projections

// DiaryProjections are the projections of this context.
var DiaryProjections = []Projection{Diaries, DiaryCompliance}
