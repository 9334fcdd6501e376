// Package readmodels is the engine of views and queries: the store of the views, the pages of lists, the engine that
// authorises and answers queries, and the feed that reports changes to listeners. Each context has a package of its own
// below it, with one file per view: the document, its indexes and its queries. Only package projections writes documents.
// They can be dropped and made again at any time.
//
// Begin reading at Query and Engine.Answer, and for an example at patient.PatientsQuery.
package readmodels
