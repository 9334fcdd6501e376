// Package personal holds values that tell who a person is: a name, an address, a birth date. They are apart from clinical data, and
// can be erased although the log is never changed: each is encrypted with the data key of one person, and where that key is destroyed,
// nobody can read it any more (Regulation (EU) 2016/679, Art. 17). What is read from the log stays sealed until somebody who may read it
// asks. Printing, logging or marshalling a value never shows its content. Only the event log stores it, encrypted.
package personal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"casebook/domain/blind"
)

// Shown is the text that every personal value shows instead of its content.
const Shown = "(personal)"

// Unit is the number of bytes to a multiple of which a content is filled up before it is encrypted, so that its length tells nothing of
// a name.
const Unit = 256

// KeyID names a data key. It is random, and not made from what it is the key of.
type KeyID string

// The errors of Keys.
var (
	// ErrDestroyed means that the key was destroyed: what was sealed with it is erased.
	ErrDestroyed = errors.New("the key of the personal data was destroyed")
	// ErrUnknownKey means that the store does not have the key, and did not destroy it: it is the wrong store, or one that was lost.
	ErrUnknownKey = errors.New("the store of keys does not have the key of the personal data")
	// ErrNoKeys means that the program has no store of keys.
	ErrNoKeys = errors.New("this program runs without the keys of personal data")
)

// Keys are the data keys of personal values. They are safe for concurrent use.
type Keys interface {
	// Create makes a random data key and stores it. It is durable when Create returns.
	Create(ctx context.Context) (KeyID, error)
	// Seal encrypts a content, which opens only with the same additional data. It fails with ErrDestroyed and ErrUnknownKey.
	Seal(ctx context.Context, id KeyID, plain, bound []byte) ([]byte, error)
	// Open decrypts a content. It fails with ErrDestroyed and ErrUnknownKey, and if the content or its place was altered.
	Open(ctx context.Context, id KeyID, sealed, bound []byte) ([]byte, error)
	// Sealer returns a key that nobody has had before, and seals with it without asking the store again. The key is durable when Sealer
	// returns.
	Sealer(ctx context.Context) (KeyID, Sealing, error)
	// Openers returns what opens contents of several keys, which it asks the store for at once. Of a key that was destroyed it fails with
	// ErrDestroyed; a key that the store does not know has none.
	Openers(ctx context.Context, ids []KeyID) (map[KeyID]Opener, error)
	// Destroy removes the key for ever, and returns when it is gone from the store. It is no error that it is gone already. It fails
	// with ErrUnknownKey.
	Destroy(ctx context.Context, id KeyID) error
}

// Sealing encrypts a content, which opens only with the same additional data.
type Sealing func(plain, bound []byte) []byte

// Opener decrypts a content. It fails with ErrDestroyed, and if the content or its place was altered.
type Opener func(sealed, bound []byte) ([]byte, error)

// Value is a T of one person. A decision makes it with Of; a value that was read from the log is sealed, and opens with Reveal. The zero
// Value is sealed, and never opens.
type Value[T any] struct {
	key KeyID
	// content is open in what a decision made. Of what was read from the log, sealed is the encrypted content, and bound the place that
	// it is bound to.
	content       blind.Value[T]
	sealed, bound []byte
}

// Of returns a value that the log seals with a key.
func Of[T any](key KeyID, content T) Value[T] { return Value[T]{key: key, content: blind.Of(content)} }

// Open returns the content of a value that a decision made, and false for one that was read from the log. See Reveal.
func (v Value[T]) Open() (content T, open bool) { return v.content.Open() }

// Reveal returns the content of a value. It fails as RevealJSON does.
func Reveal[T any](ctx context.Context, keys Keys, v Value[T]) (content T, err error) {
	plain, err := v.RevealJSON(ctx, keys)
	if err != nil {
		return content, err
	}
	if json.Unmarshal(plain, &content) != nil { // its error would show the content
		return content, fmt.Errorf("a %T does not hold what it should", v)
	}
	return content, nil
}

// RevealJSON returns the content as JSON. It fails with ErrDestroyed if the value is erased, with ErrNoKeys if keys is nil, with
// ErrUnknownKey, and if the content was altered, or copied from another place.
func (v Value[T]) RevealJSON(ctx context.Context, keys Keys) ([]byte, error) {
	if content, open := v.content.Open(); open {
		return v.encode(content)
	}
	switch {
	case keys == nil:
		return nil, ErrNoKeys
	case v.sealed == nil:
		return nil, fmt.Errorf("a %T was not read from the log", v)
	}
	return keys.Open(ctx, v.key, v.sealed, v.bound)
}

// encode returns the JSON of a content.
func (v Value[T]) encode(content T) ([]byte, error) {
	plain, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("a %T has no JSON", v) // the error could show the content
	}
	return plain, nil
}

// Key returns the id of the key that the value is sealed with; empty for one that was not read from the log.
func (v Value[T]) Key() KeyID { return v.key }

// Format implements fmt.Formatter for all verbs, so that no format prints the content.
func (v Value[T]) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, Shown) }

// String implements fmt.Stringer.
func (v Value[T]) String() string { return Shown }

// MarshalJSON implements json.Marshaler; it writes Shown.
func (v Value[T]) MarshalJSON() ([]byte, error) { return json.Marshal(Shown) }

// MarshalText implements encoding.TextMarshaler; it writes Shown.
func (v Value[T]) MarshalText() ([]byte, error) { return []byte(Shown), nil }

// UnmarshalJSON implements json.Unmarshaler: a value that does not come from the log never opens, whatever the JSON holds.
func (v *Value[T]) UnmarshalJSON([]byte) error {
	*v = Value[T]{}
	return nil
}

// Equal says whether two values have the same key and the same content, where both are open, or are the same sealed value. go-cmp uses
// it.
func (v Value[T]) Equal(w Value[T]) bool {
	return v.key == w.key && v.content.Equal(w.content) && bytes.Equal(v.sealed, w.sealed) && bytes.Equal(v.bound, w.bound)
}

// UnsealFrom makes the value an open one with the content of the plain JSON, as if a decision had made it.
func (v *Value[T]) UnsealFrom(plain []byte) error {
	content := v.content
	if err := content.UnsealFrom(plain); err != nil {
		return err
	}
	*v = Value[T]{key: v.key, content: content}
	return nil
}

// Sealer is a Value of any type as the event log sees it.
type Sealer interface {
	// Seal encrypts the content with keys, bound to a place, and returns the key and the encrypted content. It fails for a value that is
	// sealed, with ErrNoKeys if keys is nil, with ErrDestroyed and with ErrUnknownKey.
	Seal(ctx context.Context, keys Keys, bound []byte) (KeyID, []byte, error)
}

// Reader is a pointer to a Value of any type as the event log sees it.
type Reader interface {
	// Read makes the value the sealed one that was read from a place. It keeps sealed and bound.
	Read(key KeyID, sealed, bound []byte)
}

// Seal implements Sealer.
func (v Value[T]) Seal(ctx context.Context, keys Keys, bound []byte) (KeyID, []byte, error) {
	content, open := v.content.Open()
	switch {
	case !open:
		return "", nil, fmt.Errorf("a sealed %T cannot be written down", v)
	case keys == nil:
		return "", nil, ErrNoKeys
	}
	plain, err := v.encode(content)
	if err != nil {
		return "", nil, err
	}
	sealed, err := keys.Seal(ctx, v.key, blind.Fill(plain, Unit), bound)
	return v.key, sealed, err
}

// Read implements Reader.
func (v *Value[T]) Read(key KeyID, sealed, bound []byte) {
	*v = Value[T]{key: key, sealed: sealed, bound: bound}
}
