// Package diary folds events into the documents of the context diary.
package diary

import (
	"casebook/projections"
)

// Projections are the projections of this context.
var Projections = []projections.Projection{Diaries, DiaryCompliance, HeldDiaries, DiaryCorrections, DiaryDevices}
