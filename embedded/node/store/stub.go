package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
)

// A stub is what a scavenge leaves of a record:
//
//	version     1 byte
//	hash       32 bytes  that of the record, so that the chain goes on
//	stream id   8 bytes
//	revision    8 bytes
//	size        4 bytes  of the record, so that positions stay
//	flags       1 byte
//	name       32 bytes  SHA-256 of the stream's name, of a stream's first event only: the record held the name, which
//	                     the index of names has alone from now on
//	announced   8 bytes  position of the event that announces this stub
//
// The hash of a stub cannot be recomputed, so the announcement, an ordinary event of the chain, holds a digest of its
// stubs: without one that fits, a stub is damage. What this proves is that the node removed exactly these records, when
// and at whose word. It does not prove what was in them: for that compare hashes with a backup from before. And like the
// chain itself it is no match for somebody who can rewrite the log from there to its end; who fears that keeps the
// log's last hash elsewhere.
type stub struct {
	position  uint64
	hash      Hash
	streamID  uint64
	revision  uint64
	size      uint32
	indexed   bool
	name      Hash
	announced uint64
}

const (
	stubVersion = 2
	stubSize    = bodyOffset + 8 + 8 + 4 + 1 + 8

	// flagIndexed: the revision keeps its index entry, because it is the stream's last and numbering goes on from it.
	flagIndexed = 1
)

// errScavenged says that there was an event, and that its data were removed.
var errScavenged = fmt.Errorf("%w: it was scavenged", ErrNotFound)

func isStub(value []byte) bool { return len(value) > 0 && value[0] == stubVersion }

// next is the position behind the record that was there.
func (s *stub) next() uint64 { return s.position + uint64(s.size) }

// first tells whether the record was its stream's first.
func (s *stub) first() bool { return s.streamID == s.position }

func (s *stub) encode(b []byte) []byte {
	b = append(b, stubVersion)
	b = append(b, s.hash[:]...)
	b = binary.BigEndian.AppendUint64(b, s.streamID)
	b = binary.BigEndian.AppendUint64(b, s.revision)
	b = binary.BigEndian.AppendUint32(b, s.size)
	flags := byte(0)
	if s.indexed {
		flags = flagIndexed
	}
	b = append(b, flags)
	if s.first() {
		b = append(b, s.name[:]...)
	}
	return binary.BigEndian.AppendUint64(b, s.announced)
}

func parseStub(position uint64, value []byte) (stub, error) {
	damaged := func(why string) (stub, error) {
		return stub{}, fmt.Errorf("%w at position %d: a scavenged record %s", ErrDamaged, position, why)
	}
	if !isStub(value) || len(value) < stubSize {
		return damaged("is too short")
	}
	h := value[bodyOffset:]
	s := stub{
		position: position,
		hash:     Hash(value[1:bodyOffset]),
		streamID: binary.BigEndian.Uint64(h),
		revision: binary.BigEndian.Uint64(h[8:]),
		size:     binary.BigEndian.Uint32(h[16:]),
		indexed:  h[20] == flagIndexed,
	}
	want := stubSize
	if s.first() {
		want += hashSize
	}
	if len(value) != want {
		return damaged(fmt.Sprintf("has %d bytes instead of %d", len(value), want))
	}
	if h[20] > flagIndexed {
		return damaged("has flags that this build does not know")
	}
	if s.first() {
		s.name = Hash(h[21:])
	}
	s.announced = binary.BigEndian.Uint64(value[len(value)-8:])
	if s.announced < s.next() || s.size < wireOffset {
		return damaged("is not followed by its announcement")
	}
	return s, nil
}

func nameHash(name []byte) Hash { return sha256.Sum256(name) }

// announcement is the data of the event that announces stubs.
type announcement struct {
	// By is who asked for it, Keep the prefixes of the streams that were to be left alone.
	By   string   `json:"by,omitempty"`
	Keep []string `json:"keep,omitempty"`
	// Events were removed, of this many Streams, between the positions From and To, and had this many Bytes.
	Events  uint64 `json:"events"`
	Streams uint64 `json:"streams"`
	Bytes   uint64 `json:"bytes"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
	// Digest is the SHA-256 over the stubs and their positions, in order.
	Digest string `json:"digest"`
}

// stubDigest takes in the stubs of one announcement, in order of their positions.
type stubDigest struct {
	hash     hash.Hash
	buffer   []byte
	events   uint64
	bytes    uint64
	from, to uint64
}

func (d *stubDigest) add(s *stub) {
	if d.hash == nil {
		d.hash, d.from = sha256.New(), s.position
	}
	d.buffer = binary.BigEndian.AppendUint64(d.buffer[:0], s.position)
	d.buffer = s.encode(d.buffer)
	d.hash.Write(d.buffer[:len(d.buffer)-8]) // where it is announced is not known yet when this is computed first
	d.events++
	d.bytes += uint64(s.size)
	d.to = s.position
}

// fill writes what the announcement says of the stubs.
func (d *stubDigest) fill(a *announcement) {
	a.Events, a.Bytes, a.From, a.To = d.events, d.bytes, d.from, d.to
	a.Digest = hex.EncodeToString(d.hash.Sum(nil))
}

// announced compares stubs with their announcements, as a walk over the log meets them: stubs first.
type announced struct {
	open map[uint64]*announcedStubs
}

type announcedStubs struct {
	stubDigest
	before VerifyReport // what had been found sound before the first of them
}

func (c *announced) stub(s *stub, soFar *VerifyReport) {
	a := c.open[s.announced]
	if a == nil {
		if c.open == nil {
			c.open = make(map[uint64]*announcedStubs)
		}
		a = &announcedStubs{before: *soFar}
		c.open[s.announced] = a
	}
	a.add(s)
}

// record returns nil if the record announces what was there, be it nothing. Otherwise it returns the report as of the
// damage.
func (c *announced) record(r *Record, soFar *VerifyReport) *VerifyReport {
	is := c.open[r.Position]
	if is == nil && string(r.Stream()) != ScavengeStream {
		return nil
	}
	var should announcement
	if string(r.Stream()) == ScavengeStream && string(r.Type()) == ScavengeType {
		if json.Unmarshal(r.Data(), &should) != nil {
			should = announcement{}
		}
	}
	if is == nil {
		if should.Events == 0 {
			return nil
		}
		at := *soFar
		at.Damage = &Damage{Position: r.Position, Reason: fmt.Sprintf("it announces that %d records before it were scavenged, but they were not", should.Events)}
		return &at
	}
	delete(c.open, r.Position)
	have := announcement{By: should.By, Keep: should.Keep, Streams: should.Streams}
	is.fill(&have)
	if have.Events == should.Events && have.Bytes == should.Bytes && have.From == should.From && have.To == should.To && have.Digest == should.Digest {
		return nil
	}
	at := is.before
	at.Damage = &Damage{Position: is.from, Reason: fmt.Sprintf("it and %d others are stubs of scavenged records, but they are not those that the record at %d announces", is.events-1, r.Position)}
	return &at
}

// end returns nil if no stubs are left without an announcement.
func (c *announced) end() *VerifyReport {
	var first *announcedStubs
	for _, a := range c.open {
		if first == nil || a.from < first.from {
			first = a
		}
	}
	if first == nil {
		return nil
	}
	at := first.before
	at.Damage = &Damage{Position: first.from, Reason: "it is the stub of a scavenged record, and nothing announces that it was"}
	return &at
}

// ErrReserved says that a stream is written by the store alone.
var ErrReserved = errors.New("the stream is written by the store alone; write to another stream")

// IsReserved tells whether a stream is written by the store alone. Its metadata are not: they may say who reads it.
func IsReserved(stream string) bool { return stream == ScavengeStream }
