package domain

// Events can say more of themselves than their fields do, to rooms that do not know their types, such as the audit index:
// they implement the interfaces of this file where they are declared.

// Described is an event that says in a few words what it is about, where its metadata do not. None of the words is blinded.
type Described interface{ About() string }

// Scoped is an event that itself says to which study, site and patient it belongs, and not its metadata.
type Scoped interface{ Scope() Scope }

// ShownElsewhere is an event that views show in other scopes than the one in which it was recorded. What happens between
// two sites, for example, is shown at both.
type ShownElsewhere interface {
	// ShownIn returns the scopes in which views show the event that was recorded in a scope.
	ShownIn(recorded Scope) []Scope
}

// Attributed is an event that itself says who did what it records, and from which network address, and not its metadata.
type Attributed interface {
	DoneBy() (actor UserID, address string)
}

// ArmTelling is an event whose reason, as it was given, may tell of an arm.
type ArmTelling interface{ ReasonTellsArm() bool }
