// Package randomisation folds events into the documents of the context randomisation.
package randomisation

import (
	"casebook/domain/randomisation"
	"casebook/projections"
	randomisationviews "casebook/readmodels/randomisation"
)

// Projections are the projections of this context.
var Projections = []projections.Projection{EndingLists}

// EndingLists makes one document for each stratum of a list that has had few entries.
var EndingLists = projections.New(randomisationviews.EndingLists,
	projections.KeyOf(func(e randomisation.ListRanLow, _ projections.Envelope) string {
		return randomisationviews.EndingListKey(e)
	}),
	projections.On(func(l *randomisationviews.EndingList, e randomisation.ListRanLow, at projections.Envelope) {
		l.Study, l.Stage, l.Scheme, l.Factors = e.Study, e.Stage, e.Scheme, e.Factors
		l.EntriesLeft = randomisationviews.EntriesLeft{Remaining: e.Remaining, Exhausted: e.Exhausted, Few: e.Few,
			UpdatedAt: at.Metadata.RecordedAt}
		l.Past = l.Past.Since(at.Metadata.RecordedAt, l.EntriesLeft)
	}),
)
