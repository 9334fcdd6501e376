package security

import "casebook/domain"

// About implements domain.Described.
func (e AccessRefused) About() string { return e.Action + ": " + e.Code }

// Scope implements domain.Scoped: a refusal belongs to what somebody was kept from.
func (e AccessRefused) Scope() domain.Scope {
	return domain.Scope{Study: e.Study, Site: e.Site, Patient: e.Patient}
}

// ShownIn implements domain.ShownElsewhere: a refusal is shown where access was wanted, not where it was recorded.
func (e AccessRefused) ShownIn(domain.Scope) []domain.Scope { return []domain.Scope{e.Scope()} }

// DoneBy implements domain.Attributed. The metadata name the program that records refusals.
func (e AccessRefused) DoneBy() (actor domain.UserID, address string) { return e.Actor, e.Address }
