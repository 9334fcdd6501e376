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
//	hash       32 bytes  of the record, so that the chain goes on
//	stream id   8 bytes
//	revision    8 bytes
//	size        4 bytes  of the record, so that positions do not change
//	flags       1 byte
//	name       32 bytes  SHA-256 of the stream's name; only in the stub of a stream's first event, because only the index
//	                     of names still has the name
//	announced   8 bytes  position of the event that announces this stub
//
// The hash of a stub cannot be recomputed. Therefore the announcement, an ordinary event in the chain, holds a digest
// of its stubs; a stub without a matching announcement is damage. This proves that the node removed exactly these
// records, when, and on whose request. It does not prove what was in them; for that compare hashes with an earlier
// backup. Like the chain itself it does not protect against an attacker who can rewrite the log from there to its end;
// as a protection, keep copies of the log's last hash elsewhere.
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

	// flagIndexed means that the revision keeps its index entry: it is the stream's last, and the numbering goes on from
	// it.
	flagIndexed = 1
)

// errScavenged means that the event existed and its data were removed.
var errScavenged = fmt.Errorf("%w: it was scavenged", ErrNotFound)

func isStub(value []byte) bool { return len(value) > 0 && value[0] == stubVersion }

// next returns the position behind the removed record.
func (s *stub) next() uint64 { return s.position + uint64(s.size) }

// first reports whether the record was its stream's first.
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
	damaged := func(reason string) (stub, error) {
		return stub{}, fmt.Errorf("%w at position %d: a scavenged record %s", ErrDamaged, position, reason)
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
	// By and Keep are the options of the scavenge.
	By   string   `json:"by,omitempty"`
	Keep []string `json:"keep,omitempty"`
	// Events, Streams and Bytes count the removed events, their streams and their size. From and To are the positions of
	// the first and the last one.
	Events  uint64 `json:"events"`
	Streams uint64 `json:"streams"`
	Bytes   uint64 `json:"bytes"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
	// Digest is the SHA-256 over the stubs and their positions, in order.
	Digest string `json:"digest"`
}

// stubDigest computes the digest and the counts of the stubs of one announcement, in order of their positions.
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
	d.hash.Write(d.buffer[:len(d.buffer)-8]) // without announced, which is unknown when the announcement is written
	d.events++
	d.bytes += uint64(s.size)
	d.to = s.position
}

// fill sets the fields of the announcement that describe the stubs.
func (d *stubDigest) fill(a *announcement) {
	a.Events, a.Bytes, a.From, a.To = d.events, d.bytes, d.from, d.to
	a.Digest = hex.EncodeToString(d.hash.Sum(nil))
}

// announced compares stubs with their announcements, in the order of the log: stubs come before their announcement.
type announced struct {
	open map[uint64]*announcedStubs // stubs whose announcement has not come yet, by its position
}

type announcedStubs struct {
	stubDigest
	before VerifyReport // the report before the first of the stubs
}

// stub adds a stub.
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

// record checks a record against the stubs that name it as their announcement. It returns nil if they match, else the
// report with the damage.
func (c *announced) record(r *Record, soFar *VerifyReport) *VerifyReport {
	stubs := c.open[r.Position]
	if stubs == nil && string(r.Stream()) != ScavengeStream {
		return nil
	}
	var want announcement
	if string(r.Stream()) == ScavengeStream && string(r.Type()) == ScavengeType {
		if json.Unmarshal(r.Data(), &want) != nil {
			want = announcement{}
		}
	}
	if stubs == nil {
		if want.Events == 0 {
			return nil
		}
		report := *soFar
		report.Damage = &Damage{Position: r.Position, Reason: fmt.Sprintf(
			"it announces that %d records before it were scavenged, but they were not", want.Events)}
		return &report
	}
	delete(c.open, r.Position)
	var have announcement
	stubs.fill(&have)
	if have.Events == want.Events && have.Bytes == want.Bytes &&
		have.From == want.From && have.To == want.To && have.Digest == want.Digest {
		return nil
	}
	report := stubs.before
	report.Damage = &Damage{Position: stubs.from, Reason: fmt.Sprintf(
		"it and %d others are stubs of scavenged records, but they are not those that the record at %d announces",
		stubs.events-1, r.Position)}
	return &report
}

// end returns nil if every stub has an announcement, else the report with the damage.
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
	report := first.before
	report.Damage = &Damage{Position: first.from, Reason: "it is the stub of a scavenged record, but no event announces that"}
	return &report
}

// ErrReserved means that only the store writes the stream.
var ErrReserved = errors.New("only the store itself writes this stream; write to another stream")

// IsReserved reports whether only the store writes the stream. Clients may write its metadata, to control access.
func IsReserved(stream string) bool { return stream == ScavengeStream }
