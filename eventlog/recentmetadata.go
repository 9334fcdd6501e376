package eventlog

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"

	"github.com/goccy/go-json/v2"
)

// recentSlots is the number of newest events whose metadata are kept. Subscriptions of one process are seldom further apart.
const recentSlots = 2048

// recentMetadata decodes the metadata of an event once for all subscriptions of a process that meet it at about the same time. It
// keeps them by the event's bytes, so what it returns is always what these say.
type recentMetadata struct {
	slots [recentSlots]atomic.Pointer[decodedMetadata]
}

type decodedMetadata struct {
	raw  []byte
	meta Metadata
}

// of returns the metadata of an event, and false if they have other names than this program writes, or one name twice, so that
// readers could differ in what they say.
func (m *recentMetadata) of(r *Recorded) (Metadata, bool) {
	slot := &m.slots[binary.BigEndian.Uint32(r.ID[:4])%recentSlots]
	if known := slot.Load(); known != nil && bytes.Equal(known.raw, r.RawMetadata) {
		return known.meta, true
	}
	meta, ok := knownMetadata(r)
	if ok {
		slot.Store(&decodedMetadata{raw: r.RawMetadata, meta: meta})
	}
	return meta, ok
}

// knownMetadata is recentMetadata.of for an event that nobody else is likely to meet at about the same time.
func knownMetadata(r *Recorded) (meta Metadata, ok bool) {
	if json.Unmarshal(r.RawMetadata, &meta, json.RejectUnknownMembers(true)) != nil {
		return Metadata{}, false
	}
	return meta, true
}
