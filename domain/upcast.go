package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Upcast turns stored JSON of one schema version into JSON of the next version. Stored bytes are never rewritten: old
// JSON is read through all upcasts from its own version to the current one.
type Upcast func(old map[string]any) (map[string]any, error)

// Unchanged is the upcast to a version that older programs must not read. The stored JSON itself stays as it is.
var Unchanged Upcast

// Upcasts are all upcasts of one kind of JSON; the first leads from version 1 to version 2.
type Upcasts []Upcast

// ErrUnknownVersion says that stored JSON has a version that this program does not know, usually because a newer
// program has written it. The older program must stop and not guess.
var ErrUnknownVersion = errors.New("unknown version")

// Version is the current version, from 1.
func (u Upcasts) Version() int { return len(u) + 1 }

// Current returns the stored JSON of a version as JSON of the current version. It fails with ErrUnknownVersion.
func (u Upcasts) Current(version int, stored []byte) ([]byte, error) {
	switch {
	case version < 1 || version > u.Version():
		return nil, fmt.Errorf("%w %d; this version of the program reads 1 to %d", ErrUnknownVersion, version, u.Version())
	case version == u.Version():
		return stored, nil
	}
	if !slices.ContainsFunc(u[version-1:], func(upcast Upcast) bool { return upcast != nil }) {
		return stored, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(stored))
	decoder.UseNumber() // numbers keep all their digits
	var shape map[string]any
	if err := decoder.Decode(&shape); err != nil {
		return nil, fmt.Errorf("decode version %d: %w", version, err)
	}
	for v := version; v < u.Version(); v++ {
		if u[v-1] == nil {
			continue
		}
		next, err := u[v-1](shape)
		if err != nil {
			return nil, fmt.Errorf("upcast from version %d: %w", v, err)
		}
		shape = next
	}
	return json.Marshal(shape)
}
