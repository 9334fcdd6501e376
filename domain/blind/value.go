// Package blind holds values that blinded people must not learn: which arm a patient is in, what a kit contains, a
// randomisation list (ICH E6(R3) 4.1). A value is open where the program runs with the study's blinding keys, and sealed
// everywhere else. However it is printed, logged or marshalled, it shows nothing; only the event log, which holds the
// keys, writes it down, encrypted.
package blind

import (
	"encoding/json"
	"fmt"
	"io"
)

// Shown is all that a blinded value ever shows.
const Shown = "(blinded)"

// Value is one blinded T. The zero Value is sealed and holds nothing.
type Value[T any] struct {
	// Two values that hold the same are not the same to ==, so they cannot be compared like this.
	_ [0]func()
	// plain is nil where the value is sealed. It lies behind two pointers because fmt does not ask a Formatter about %p, in
	// unexported fields, or once a verb has not suited something: then it prints what it finds, and follows one pointer.
	plain **T
}

// Of returns an open value.
func Of[T any](plain T) Value[T] {
	behind := &plain
	return Value[T]{plain: &behind}
}

// Open returns what the value holds, and false where this program cannot know it.
func (v Value[T]) Open() (plain T, open bool) {
	if v.plain == nil {
		return plain, false
	}
	return **v.plain, true
}

// Sealed says that this program cannot know what the value holds.
func (v Value[T]) Sealed() bool { return v.plain == nil }

// Format implements fmt.Formatter, for all verbs, so that no format prints what the value holds.
func (v Value[T]) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, Shown) }

// String implements fmt.Stringer.
func (v Value[T]) String() string { return Shown }

// MarshalJSON implements json.Marshaler; it shows nothing.
func (v Value[T]) MarshalJSON() ([]byte, error) { return json.Marshal(Shown) }

// MarshalText implements encoding.TextMarshaler; it shows nothing.
func (v Value[T]) MarshalText() ([]byte, error) { return []byte(Shown), nil }

// UnmarshalJSON implements json.Unmarshaler: what is read without keys is sealed.
func (v *Value[T]) UnmarshalJSON([]byte) error {
	*v = Value[T]{}
	return nil
}

// Sealer is a Value of any type as the event log's codec sees it.
type Sealer interface {
	// SealWith hands the plain JSON of an open value to seal and returns what seal makes of it. A sealed value cannot be
	// written down again: that is an error.
	SealWith(seal func(plain []byte) (string, error)) (string, error)
}

// Unsealer is a pointer to a Value of any type as the event log's codec sees it.
type Unsealer interface {
	// UnsealFrom opens the value from its plain JSON.
	UnsealFrom(plain []byte) error
}

// SealWith implements Sealer.
func (v Value[T]) SealWith(seal func([]byte) (string, error)) (string, error) {
	if v.Sealed() {
		return "", fmt.Errorf("a sealed %T cannot be written down", v)
	}
	plain, err := json.Marshal(v.plain)
	if err != nil {
		return "", err
	}
	return seal(plain)
}

// UnsealFrom implements Unsealer.
func (v *Value[T]) UnsealFrom(plain []byte) error {
	var t T
	if err := json.Unmarshal(plain, &t); err != nil {
		return fmt.Errorf("open a blinded value: %w", err)
	}
	*v = Of(t)
	return nil
}

// Equal says whether both hold the same, as go-cmp asks it; sealed values are equal to one another.
func (v Value[T]) Equal(w Value[T]) bool {
	if v.Sealed() != w.Sealed() {
		return false
	}
	a, errA := json.Marshal(v.plain)
	b, errB := json.Marshal(w.plain)
	return errA == nil && errB == nil && string(a) == string(b)
}
