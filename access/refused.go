package access

import "casebook/domain"

// Refused is a refusal of access, as the security log records it.
type Refused struct {
	// User is empty where the identity was not proven.
	User domain.UserID
	// Action is the name of the command or query.
	Action           string
	Scope            domain.Scope
	Address, TraceID string
	// Why is the refusal.
	Why error
}
