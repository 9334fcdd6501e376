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

// KeptFromSite is an event of which the site of its patient must not hear, although it is about the patient.
type KeptFromSite interface{ KeptFromSite() bool }

// ShownInPart is an event that patients and caregivers may cause, and of which they are shown a part only, because the rest is for the
// site.
type ShownInPart interface {
	// ShownToPatients returns that part; nil if they are not shown the event at all. Its type is always the same.
	ShownToPatients() any
}

// Changing is an event that replaces recorded values, and says by which. The audit trail shows both (21 CFR 11.10(e)), so they are
// neither blinded nor personal, and tell nothing of an arm. Whoever decided took the former values from the stream as it was then; an
// event that does not hold them, such as one of an earlier program, says nothing.
type Changing interface{ Changed() []ChangedValue }

// ChangedValue is a recorded value with the one before it. Both are texts, numbers or truth values; nil is none.
type ChangedValue struct {
	// Field names the value as views and commands do, such as ageYears, or the item of a diary.
	Field    string
	Old, New any
}

// ChangedText is the change of a text, where "" is none. It is left out if both are the same.
func ChangedText[T ~string](field string, old, now T) []ChangedValue {
	if old == now {
		return nil
	}
	return []ChangedValue{{Field: field, Old: textOrNone(old), New: textOrNone(now)}}
}

func textOrNone[T ~string](text T) any {
	if text == "" {
		return nil
	}
	return string(text)
}

// ChangedNumber is the change of a number, where 0 is none. It is left out if both are the same.
func ChangedNumber(field string, old, now int) []ChangedValue {
	if old == now {
		return nil
	}
	return []ChangedValue{{Field: field, Old: numberOrNone(old), New: numberOrNone(now)}}
}

func numberOrNone(n int) any {
	if n == 0 {
		return nil
	}
	return n
}
