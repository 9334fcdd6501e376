package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"
)

// VerifyReport is the result of Verify.
type VerifyReport struct {
	// Events counts the sound events up to the first damaged one.
	Events uint64
	// Scavenged counts the events among them that are announced stubs.
	Scavenged uint64
	// Streams counts their streams.
	Streams uint64
	// End is the position behind the last sound event, Head the hash of that event.
	End  uint64
	Head Hash
	// Damage is nil if the whole log is sound.
	Damage *Damage
}

// Damage names the first record that differs from what was written.
type Damage struct {
	// Position is the position of the record.
	Position uint64
	// Reason describes the damage.
	Reason string
}

func (d *Damage) Error() string {
	return fmt.Sprintf("the record at position %d is damaged: %s", d.Position, d.Reason)
}

// Verify reads the whole log as it is now, recomputes the chain of hashes and compares the indexes with the records.
// Damage is part of the report; an error means that the check could not be completed.
func (s *Store) Verify(ctx context.Context) (VerifyReport, error) {
	if !s.use() {
		return VerifyReport{}, ErrClosed
	}
	defer s.users.Done()
	snapshot := s.db.NewSnapshot()
	report, sound, err := verifyInBulk(ctx, s.closing, snapshot)
	if err == nil && !sound {
		// The log is damaged. Looking up each record in the indexes takes ten times as long, and finds the damaged one.
		report, err = verify(ctx, s.closing, snapshot)
		if err == nil && report.Damage == nil {
			report.Damage = &Damage{
				Position: report.End,
				Reason:   "all records are sound, but an index has entries of records that do not exist",
			}
		}
	}
	return report, errors.Join(err, snapshot.Close())
}

// entries is a fingerprint of a set of index entries that does not depend on their order.
type entries struct {
	seed  maphash.Seed
	count uint64
	sum   uint64
}

func (e *entries) add(a, b, c uint64) {
	e.count++
	e.sum += maphash.Comparable(e.seed, [3]uint64{a, b, c})
}

// verifyInBulk reads records and indexes once each, in their own order, and compares fingerprints of the index entries
// that the records need with those that the indexes hold. It finds only whether the log is sound, not where the damage
// is.
func verifyInBulk(ctx context.Context, closing <-chan struct{}, snapshot *pebble.Snapshot) (report VerifyReport, sound bool, err error) {
	value, closer, err := snapshot.Get(keyState)
	if err != nil {
		return report, false, fmt.Errorf("read the log's state: %w", err)
	}
	st, err := decodeState(value)
	if err := errors.Join(err, closer.Close()); err != nil {
		return report, false, err
	}
	seed := maphash.MakeSeed()
	needed, present := entries{seed: seed}, entries{seed: seed}
	// Revisions whose entry was removed by a scavenge, and revisions that the index lacks.
	removed, lacking := entries{seed: seed}, entries{seed: seed}
	// scan calls f with the entries of one kind. It reports false if f did so, or if an entry cannot be read.
	scan := func(prefix byte, f func(key, value []byte) bool) (complete bool, err error) {
		iter, err := snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}})
		if err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, closeVerified(iter)) }()
		n := 0
		for ok := iter.First(); ok; ok = iter.Next() {
			if n++; n%1024 == 0 {
				if err := interrupted(ctx, closing); err != nil {
					return false, err
				}
			}
			value, err := iter.ValueAndErr()
			if err != nil || !f(iter.Key(), value) {
				return false, nil // verify reports the error of the read as damage
			}
		}
		return iter.Error() == nil, nil
	}

	links := newChain(Hash{})
	var stubs announced
	report.End = FirstPosition
	complete, err := scan(prefixEvent, func(key, value []byte) bool {
		if len(key) != 9 || binary.BigEndian.Uint64(key[1:]) != report.End {
			return false
		}
		pos := report.End
		if isStub(value) {
			st, err := parseStub(pos, value)
			if err != nil {
				return false
			}
			stubs.stub(&st, &report)
			if st.indexed {
				needed.add(st.streamID, st.revision, pos)
			} else {
				removed.add(st.streamID, st.revision, 0)
			}
			if st.first() {
				needed.add(maphash.Bytes(seed, st.name[:]), 0, pos)
			}
			report.addStub(&st)
			links.hash = st.hash
			return true
		}
		r, err := parseRecord(pos, value)
		if err != nil {
			return false
		}
		links.advance(pos, value)
		if r.Hash() != links.hash || stubs.record(&r, &report) != nil {
			return false
		}
		needed.add(r.StreamID, r.Revision, pos)
		if r.StreamID == pos {
			report.Streams++
			name := nameHash(r.Stream())
			needed.add(maphash.Bytes(seed, name[:]), 0, pos)
		}
		report.Events++
		report.End, report.Head = r.Next(), links.hash
		return true
	})
	if !complete || err != nil || len(stubs.open) > 0 || st.next != report.End || st.hash != report.Head || st.events != report.Events {
		return report, false, err
	}
	var id, next uint64
	complete, err = scan(prefixStream, func(key, value []byte) bool {
		if len(key) != 17 || len(value) != 8 {
			return false
		}
		stream, revision := binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:])
		if stream != id {
			id, next = stream, 0
		}
		if revision != TombstoneRevision {
			for ; next < revision; next++ { // a gap, perhaps left by a scavenge
				if lacking.count == removed.count {
					return false
				}
				lacking.add(stream, next, 0)
			}
		}
		next = revision + 1
		present.add(stream, revision, binary.BigEndian.Uint64(value))
		return true
	})
	if !complete || err != nil {
		return report, false, err
	}
	complete, err = scan(prefixName, func(key, value []byte) bool {
		if len(value) != 8 {
			return false
		}
		name := nameHash(key[1:])
		present.add(maphash.Bytes(seed, name[:]), 0, binary.BigEndian.Uint64(value))
		return true
	})
	return report, complete && present == needed && lacking == removed, err
}

// addStub counts a stub. Its announcement is checked later.
func (r *VerifyReport) addStub(s *stub) {
	r.Events++
	r.Scavenged++
	if s.first() {
		r.Streams++
	}
	r.End, r.Head = s.next(), s.hash
}

// closeVerified closes an iterator and ignores errors of damaged files, which are in the report already.
func closeVerified(iter *pebble.Iterator) error {
	if err := iter.Close(); !pebble.IsCorruptionError(err) {
		return err
	}
	return nil
}

// interrupted returns an error if a long operation must end, because the caller gave up or the store is closing.
func interrupted(ctx context.Context, closing <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-closing:
		return ErrClosed
	default:
		return nil
	}
}

// verify checks one record after the other, in the order of the log, together with its index entries, and reports the
// first damaged one.
func verify(ctx context.Context, closing <-chan struct{}, snapshot *pebble.Snapshot) (report VerifyReport, err error) {
	value, closer, err := snapshot.Get(keyState)
	if err != nil {
		return report, fmt.Errorf("read the log's state: %w", err)
	}
	st, err := decodeState(value)
	if err := errors.Join(err, closer.Close()); err != nil {
		return report, err
	}
	iter, err := snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixEvent}, UpperBound: []byte{prefixEvent + 1}})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, closeVerified(iter)) }()
	report.End = FirstPosition
	damaged := func(at uint64, format string, args ...any) (VerifyReport, error) {
		report.Damage = &Damage{Position: at, Reason: fmt.Sprintf(format, args...)}
		return report, nil
	}
	links := newChain(Hash{})
	var stubs announced
	scavenged := scavengedStreams{next: map[uint64]uint64{}, names: map[uint64]Hash{}}
	for ok := iter.First(); ok; ok = iter.Next() {
		if report.Events%1024 == 0 {
			if err := interrupted(ctx, closing); err != nil {
				return report, err
			}
		}
		if len(iter.Key()) != 9 {
			return damaged(report.End, "the key behind it has %d bytes", len(iter.Key()))
		}
		pos := binary.BigEndian.Uint64(iter.Key()[1:])
		if pos != report.End {
			return damaged(report.End, "it is missing; the next record is at %d", pos)
		}
		value, err := iter.ValueAndErr()
		if err != nil {
			return damaged(pos, "it cannot be read: %v", err)
		}
		if isStub(value) {
			st, err := parseStub(pos, value)
			if err != nil {
				return damaged(pos, "%v", err)
			}
			if reason, err := scavenged.indexed(snapshot, &st); err != nil {
				return report, err
			} else if reason != "" {
				return damaged(pos, "%s", reason)
			}
			stubs.stub(&st, &report)
			report.addStub(&st)
			links.hash = st.hash
			continue
		}
		r, err := parseRecord(pos, value)
		if err != nil {
			return damaged(pos, "%v", err)
		}
		links.advance(pos, value)
		if r.Hash() != links.hash {
			return damaged(pos, "its hash does not follow from its content and its predecessor")
		}
		if damage := stubs.record(&r, &report); damage != nil {
			return *damage, nil
		}
		if reason, err := scavenged.record(snapshot, &r); err != nil {
			return report, err
		} else if reason != "" {
			return damaged(pos, "%s", reason)
		}
		if r.StreamID == pos {
			report.Streams++
		}
		report.Events++
		report.End, report.Head = r.Next(), links.hash
	}
	if err := iter.Error(); err != nil {
		return damaged(report.End, "it cannot be read: %v", err)
	}
	if st.next != report.End || st.hash != report.Head || st.events != report.Events {
		return damaged(report.End, "the log should end at position %d after %d events, but ends after %d", st.next, st.events, report.Events)
	}
	if damage := stubs.end(); damage != nil {
		return *damage, nil
	}
	if id, err := scavenged.unnamed(ctx, closing, snapshot); err != nil {
		return report, err
	} else if id != 0 {
		return damaged(id, "the index of names lacks its stream's name, or has another")
	}
	return report, nil
}

// checkEntry checks that the entry of an index points to a position. It returns what is wrong, "" if nothing is.
func checkEntry(snapshot *pebble.Snapshot, key []byte, want uint64, index string) (string, error) {
	switch got, err := entry(snapshot, key); {
	case errors.Is(err, pebble.ErrNotFound):
		return "it is missing from the index of " + index, nil
	case errors.Is(err, ErrDamaged), pebble.IsCorruptionError(err):
		return err.Error(), nil
	case err != nil:
		return "", err
	case got != want:
		return fmt.Sprintf("the index of %s points to %d", index, got), nil
	}
	return "", nil
}

// entry returns the position that an index entry points to.
func entry(snapshot *pebble.Snapshot, key []byte) (uint64, error) {
	value, closer, err := snapshot.Get(key)
	if err != nil {
		return 0, err
	}
	pos, err := position(value)
	return pos, errors.Join(err, closer.Close())
}

// scavengedStreams holds what verify must remember of streams with stubs, because the indexes do not have it.
type scavengedStreams struct {
	next  map[uint64]uint64 // by stream id, the revision behind the last one that was checked
	names map[uint64]Hash   // names of streams whose first record is a stub, as long as the index of names was not checked
}

// indexed checks the index entries of a stub. It returns what is wrong, "" if nothing is.
func (x *scavengedStreams) indexed(snapshot *pebble.Snapshot, s *stub) (string, error) {
	if next := x.next[s.streamID]; s.revision != next {
		if reason, err := follows(snapshot, s.streamID, s.revision); reason != "" || err != nil {
			return reason, err
		}
	}
	x.next[s.streamID] = s.revision + 1
	if s.first() {
		x.names[s.streamID] = s.name
	}
	if s.indexed {
		return checkEntry(snapshot, streamKey(s.streamID, s.revision), s.position, "revisions")
	}
	switch _, err := entry(snapshot, streamKey(s.streamID, s.revision)); {
	case errors.Is(err, pebble.ErrNotFound):
		return "", nil
	case errors.Is(err, ErrDamaged), pebble.IsCorruptionError(err):
		return err.Error(), nil
	case err != nil:
		return "", err
	}
	return "it was scavenged, but the index of revisions still has it", nil
}

// record checks the index entries of a record. It returns what is wrong, "" if nothing is.
func (x *scavengedStreams) record(snapshot *pebble.Snapshot, r *Record) (string, error) {
	if reason, err := checkEntry(snapshot, streamKey(r.StreamID, r.Revision), r.Position, "revisions"); reason != "" || err != nil {
		return reason, err
	}
	if r.StreamID == r.Position {
		if reason, err := checkEntry(snapshot, nameKey(string(r.Stream())), r.Position, "names"); reason != "" || err != nil {
			return reason, err
		}
	}
	if r.Revision == 0 || r.IsTombstone() {
		return "", nil
	}
	next, some := x.next[r.StreamID]
	if some {
		x.next[r.StreamID] = r.Revision + 1
	}
	if some && next == r.Revision {
		return "", nil
	}
	return follows(snapshot, r.StreamID, r.Revision)
}

// follows checks that the index has the revision before. It returns what is wrong, "" if nothing is.
func follows(snapshot *pebble.Snapshot, stream, revision uint64) (string, error) {
	switch _, err := entry(snapshot, streamKey(stream, revision-1)); {
	case errors.Is(err, pebble.ErrNotFound):
		return "its stream lacks the revision before it", nil
	case errors.Is(err, ErrDamaged), pebble.IsCorruptionError(err):
		return err.Error(), nil
	default:
		return "", err
	}
}

// unnamed returns the id of the first stream in x.names that the index of names does not have, 0 if it has them all.
func (x *scavengedStreams) unnamed(ctx context.Context, closing <-chan struct{}, snapshot *pebble.Snapshot) (id uint64, err error) {
	iter, err := snapshot.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixName}, UpperBound: []byte{prefixName + 1}})
	if err != nil {
		return 0, err
	}
	n := 0
	for ok := iter.First(); ok && len(x.names) > 0; ok = iter.Next() {
		if n++; n%1024 == 0 {
			if err := interrupted(ctx, closing); err != nil {
				return 0, errors.Join(err, iter.Close())
			}
		}
		value, err := iter.ValueAndErr()
		if err != nil {
			break // Close returns the error
		}
		named, err := position(value)
		if err == nil && x.names[named] == nameHash(iter.Key()[1:]) {
			delete(x.names, named)
		}
	}
	// Names in a damaged file count as missing.
	if err := iter.Close(); err != nil && !pebble.IsCorruptionError(err) {
		return 0, err
	}
	for missing := range x.names {
		if id == 0 || missing < id {
			id = missing
		}
	}
	return id, nil
}
