// Package blind holds values that blinded people must not learn: which arm a patient is in, what a kit contains, a
// randomisation list (ICH E6(R3) 4.1). In a program with the study's blinding keys a value is open; in any other
// program it is sealed, and its content cannot be read. Printing, logging or marshalling a value never shows its
// content. Only the event log, which has the keys, stores the content, encrypted.
package blind

import (
	"encoding/json"
	"fmt"
	"io"
)

// Shown is the text that every blinded value shows instead of its content.
const Shown = "(blinded)"

// Value is a blinded T. The zero Value is sealed.
type Value[T any] struct {
	// The function type forbids ==, which would compare pointers and not the contents. See Equal.
	_ [0]func()
	// plain is nil if the value is sealed. It is behind two pointers because fmt does not call a Formatter for %p, for
	// unexported fields, or after a bad verb: it then prints the struct itself, and follows one pointer.
	plain **T
}

// Of returns an open value.
func Of[T any](plain T) Value[T] {
	pointer := &plain
	return Value[T]{plain: &pointer}
}

// Open returns the content, and false if the value is sealed.
func (v Value[T]) Open() (plain T, open bool) {
	if v.plain == nil {
		return plain, false
	}
	return **v.plain, true
}

// Sealed says that this program cannot read the content.
func (v Value[T]) Sealed() bool { return v.plain == nil }

// Format implements fmt.Formatter for all verbs, so that no format prints the content.
func (v Value[T]) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, Shown) }

// String implements fmt.Stringer.
func (v Value[T]) String() string { return Shown }

// MarshalJSON implements json.Marshaler; it writes Shown.
func (v Value[T]) MarshalJSON() ([]byte, error) { return json.Marshal(Shown) }

// MarshalText implements encoding.TextMarshaler; it writes Shown.
func (v Value[T]) MarshalText() ([]byte, error) { return []byte(Shown), nil }

// UnmarshalJSON implements json.Unmarshaler: a value that is read without keys is sealed, whatever the JSON holds.
func (v *Value[T]) UnmarshalJSON([]byte) error {
	*v = Value[T]{}
	return nil
}

// Padded is a content that may be longer than DefaultUnit bytes as JSON, or that differs in length with what it says.
type Padded interface {
	// PaddedTo returns a number of bytes that the JSON of every content of the same public size, such as a list of the
	// same number of entries, does not exceed.
	PaddedTo() int
}

// DefaultUnit is the size, in bytes, of a content that is not Padded. It holds an id of 50 characters in any script, and
// a hash in hex.
const DefaultUnit = 320

// Sealer is a Value of any type as the event log's codec sees it.
type Sealer interface {
	// SealedUnit returns the number of bytes to a multiple of which the plain JSON is filled up before it is encrypted.
	// As nearly every content fits into one unit, all values of a field have one size.
	SealedUnit() int
	// SealWith passes the plain JSON of an open value to seal and returns seal's result. It fails for a sealed value,
	// which cannot be stored again.
	SealWith(seal func(plain []byte) (string, error)) (string, error)
}

// Unsealer is a pointer to a Value of any type as the event log's codec sees it.
type Unsealer interface {
	// UnsealFrom makes the value an open one with the content of the plain JSON. On an error the value stays as it was.
	UnsealFrom(plain []byte) error
}

// SealedUnit implements Sealer.
func (v Value[T]) SealedUnit() int {
	plain, _ := v.Open()
	if p, ok := any(plain).(Padded); ok {
		return p.PaddedTo()
	}
	return DefaultUnit
}

// Fill returns plain JSON with blanks behind it up to a multiple of unit bytes, so that the length of what is sealed tells
// nothing of the content.
func Fill(plain []byte, unit int) []byte {
	size := (len(plain) + unit - 1) / unit * unit
	filled := append(make([]byte, 0, size), plain...)
	for len(filled) < size {
		filled = append(filled, ' ')
	}
	return filled
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

// Equal says whether two open values have the same JSON, or both values are sealed. go-cmp uses it.
func (v Value[T]) Equal(w Value[T]) bool {
	if v.Sealed() != w.Sealed() {
		return false
	}
	a, errA := json.Marshal(v.plain)
	b, errB := json.Marshal(w.plain)
	return errA == nil && errB == nil && string(a) == string(b)
}
