// Package projections makes the read models of the log. A projection is a pure fold: event and document in, document
// out. The engine does the rest: it follows the log, loads the documents of a batch once, folds, writes them in one bulk
// write behind position guards, and then saves its checkpoint. Folding an event again changes nothing.
//
// This package is the engine, and knows no view. The folds are in the packages of the contexts, one file per view. Each
// view has golden documents beside its fold; see TestGoldenDocuments. Begin reading at projections/patient/patientview.go.
package projections
