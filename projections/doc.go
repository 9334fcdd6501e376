// Package projections makes the read models of the log. A projection is a pure fold: event and document in, document
// out. The engine does the rest: it follows the log, loads the documents that a batch touches once, folds, writes them
// in one bulk behind position guards, and then notes how far it has come. A repeat changes nothing.
//
// A new view is a file with its folds and a line in All. Begin reading at PatientView.
package projections
