package projections

import "casebook/domain"

// AuditProjections are the projections of the trail of all streams.
func AuditProjections(streams []domain.StreamType) []Projection { return []Projection{AuditIndex(streams)} }
