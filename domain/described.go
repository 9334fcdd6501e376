package domain

// Events implement the interfaces of this file to describe themselves to packages that do not know their types, such as
// the audit index.

// Described is an event that says in a few words what it is about, if its metadata do not. The words are never blinded.
type Described interface{ About() string }

// Scoped is an event that holds the study, site and patient to which it belongs, instead of its metadata.
type Scoped interface{ Scope() Scope }

// ShownElsewhere is an event that views show in other scopes than the one in which it was recorded. A shipment, for
// example, is shown at both of its ends.
type ShownElsewhere interface {
	// ShownIn returns the scopes in which views show the event that was recorded in a scope.
	ShownIn(recorded Scope) []Scope
}

// Attributed is an event that holds the actor and the network address of what it records, instead of its metadata.
type Attributed interface {
	DoneBy() (actor UserID, address string)
}

// ArmRevealing is an event whose reason, as its author wrote it, may reveal an arm.
type ArmRevealing interface{ ReasonRevealsArm() bool }
