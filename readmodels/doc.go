// Package readmodels holds what is read. This package is the engine: the store of the views, pages of lists, the queries'
// engine, which authorises and answers, and the feed that tells listeners what has changed. What each context shows stands
// in a package of its own, one file for a view: its document, its indexes and its queries. Nothing but package projections
// writes the documents; they can be dropped and made again at any time.
//
// Begin reading at Query and Engine.Answer, and for an example at patient.PatientsQuery.
package readmodels
