// Package audit folds events into the documents of the context audit.
package audit

import (
	"casebook/domain"
	"casebook/projections"
)

// Projections are the projections of the trail of all streams.
func Projections(streams []domain.StreamType) []projections.Projection {
	return []projections.Projection{AuditIndex(streams)}
}
