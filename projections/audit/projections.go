// Package audit folds events into the documents of the context audit.
package audit

import (
	"casebook/domain"
	"casebook/projections"
)

// Projections are the projections of the trail of all streams. ofPatients are the processes whose instances are named after patients.
func Projections(streams []domain.StreamType, ofPatients []string) []projections.Projection {
	return []projections.Projection{AuditIndex(streams, ofPatients...)}
}
