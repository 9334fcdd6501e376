// Package readmodels holds what is read: the documents that projections make of the log, their indexes, and the queries
// over them. One file holds one view. Nothing but package projections writes them; they can be dropped and made again
// at any time. Begin reading at PatientView.
package readmodels
