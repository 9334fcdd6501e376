// Package diary holds the views of diaries: each decided window, and how diaries are kept.
package diary

import "casebook/readmodels"

// Queries are those of this context.
var Queries = []readmodels.Query{diaries, compliance, complianceBySite, studyDiaries, heldDiaries, corrections, patientDevices,
	studyDevices, signedEntries, schedule, myDiaries, myInstruments, renderedInstrument, myImage, studyImage}
