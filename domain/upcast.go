package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Upcast turns the JSON of one schema version of something that is stored into that of the next. Stored bytes are never
// rewritten; they are read through the chain of upcasts up to the present version.
type Upcast func(old map[string]any) (map[string]any, error)

// Upcasts are all upcasts of one shape, the first from version 1 to version 2.
type Upcasts []Upcast

// ErrUnknownVersion says that something is stored in a version that this program does not know, as a rule one of a later
// program. An older program must stop at it rather than guess.
var ErrUnknownVersion = errors.New("unknown version")

// Version is the present version, from 1.
func (u Upcasts) Version() int { return len(u) + 1 }

// Present returns the JSON of a version in the present one. It fails with ErrUnknownVersion.
func (u Upcasts) Present(version int, stored []byte) ([]byte, error) {
	switch {
	case version < 1 || version > u.Version():
		return nil, fmt.Errorf("%w %d; this version of the program reads 1 to %d", ErrUnknownVersion, version, u.Version())
	case version == u.Version():
		return stored, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(stored))
	decoder.UseNumber() // a number keeps its digits on the way through
	var shape map[string]any
	if err := decoder.Decode(&shape); err != nil {
		return nil, fmt.Errorf("decode version %d: %w", version, err)
	}
	for v := version; v < u.Version(); v++ {
		next, err := u[v-1](shape)
		if err != nil {
			return nil, fmt.Errorf("upcast from version %d: %w", v, err)
		}
		shape = next
	}
	return json.Marshal(shape)
}
