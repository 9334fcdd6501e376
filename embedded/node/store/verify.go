package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"
)

// VerifyReport says what Verify found.
type VerifyReport struct {
	// Events were found sound, up to the first damaged one.
	Events uint64
	// Streams is the number of streams among them.
	Streams uint64
	// End is the position behind the last sound event, Head its hash.
	End  uint64
	Head Hash
	// Damage is nil if the whole log is sound.
	Damage *Damage
}

// Damage names the first record that is not what was written.
type Damage struct {
	// Position is where the damage was found.
	Position uint64
	// Reason says what does not fit.
	Reason string
}

func (d *Damage) Error() string {
	return fmt.Sprintf("the record at position %d is damaged: %s", d.Position, d.Reason)
}

// Verify reads the whole log as it is now, recomputes the chain of hashes and compares the indexes with it. Damage is
// part of the report, an error means that the check itself could not be done.
func (s *Store) Verify(ctx context.Context) (VerifyReport, error) {
	if !s.use() {
		return VerifyReport{}, ErrClosed
	}
	defer s.users.Done()
	snapshot := s.db.NewSnapshot()
	report, sound, err := verifyInBulk(ctx, s.closing, snapshot)
	if err == nil && !sound {
		// Something is wrong somewhere. Looking each record up in the indexes takes ten times as long, and tells where.
		report, err = verify(ctx, s.closing, snapshot)
		if err == nil && report.Damage == nil {
			report.Damage = &Damage{Position: report.End, Reason: "all records are sound, but an index has entries of records that do not exist"}
		}
	}
	return report, errors.Join(err, snapshot.Close())
}

// entries is a fingerprint of a set of index entries, whatever their order.
type entries struct {
	seed  maphash.Seed
	count uint64
	sum   uint64
}

func (e *entries) add(a, b, c uint64) {
	e.count++
	e.sum += maphash.Comparable(e.seed, [3]uint64{a, b, c})
}

// verifyInBulk reads records and indexes once each, in their own order, and compares what the records should be indexed
// by with what the indexes hold. It tells only whether the log is sound.
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
	should, is := entries{seed: seed}, entries{seed: seed}
	// scan calls f with the entries of one kind until it returns false.
	scan := func(prefix byte, f func(key, value []byte) bool) (whole bool, err error) {
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
				return false, nil // the search by record will tell what it is
			}
		}
		return iter.Error() == nil, nil // what it is the search by record will tell
	}

	links := newChain(Hash{})
	report.End = FirstPosition
	whole, err := scan(prefixEvent, func(key, value []byte) bool {
		if len(key) != 9 || binary.BigEndian.Uint64(key[1:]) != report.End {
			return false
		}
		pos := report.End
		r, err := parseRecord(pos, value)
		if err != nil {
			return false
		}
		links.advance(pos, value)
		if r.Hash() != links.hash {
			return false
		}
		should.add(r.StreamID, r.Revision, pos)
		if r.StreamID == pos {
			report.Streams++
			should.add(maphash.Bytes(seed, r.Stream()), 0, pos)
		}
		report.Events++
		report.End, report.Head = r.Next(), links.hash
		return true
	})
	if !whole || err != nil || st.next != report.End || st.hash != report.Head || st.events != report.Events {
		return report, false, err
	}
	var id, next uint64
	whole, err = scan(prefixStream, func(key, value []byte) bool {
		if len(key) != 17 || len(value) != 8 {
			return false
		}
		stream, revision := binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:])
		if stream != id {
			id, next = stream, 0
		}
		if revision != next && revision != TombstoneRevision {
			return false // a gap
		}
		next = revision + 1
		is.add(stream, revision, binary.BigEndian.Uint64(value))
		return true
	})
	if !whole || err != nil {
		return report, false, err
	}
	whole, err = scan(prefixName, func(key, value []byte) bool {
		if len(value) != 8 {
			return false
		}
		is.add(maphash.Bytes(seed, key[1:]), 0, binary.BigEndian.Uint64(value))
		return true
	})
	return report, whole && is == should, err
}

// closeVerified closes an iterator whose damage, which closing it reports once more, is in the report already.
func closeVerified(iter *pebble.Iterator) error {
	if err := iter.Close(); !pebble.IsCorruptionError(err) {
		return err
	}
	return nil
}

// interrupted says why a long check should end.
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
		r, err := parseRecord(pos, value)
		if err != nil {
			return damaged(pos, "%v", err)
		}
		links.advance(pos, value)
		if r.Hash() != links.hash {
			return damaged(pos, "its hash does not follow from its content and its predecessor")
		}
		if reason, err := indexed(snapshot, &r); err != nil {
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
	return report, nil
}

// indexed says what is wrong with the index entries of a record, if anything is.
func indexed(snapshot *pebble.Snapshot, r *Record) (string, error) {
	entry := func(key []byte) (uint64, error) {
		value, closer, err := snapshot.Get(key)
		if err != nil {
			return 0, err
		}
		pos, err := position(value)
		return pos, errors.Join(err, closer.Close())
	}
	lookUp := func(key []byte, want uint64, what string) (string, error) {
		switch got, err := entry(key); {
		case errors.Is(err, pebble.ErrNotFound):
			return "it is missing from the index of " + what, nil
		case errors.Is(err, ErrDamaged), pebble.IsCorruptionError(err):
			return err.Error(), nil
		case err != nil:
			return "", err
		case got != want:
			return fmt.Sprintf("the index of %s points to %d", what, got), nil
		}
		return "", nil
	}
	if reason, err := lookUp(streamKey(r.StreamID, r.Revision), r.Position, "revisions"); reason != "" || err != nil {
		return reason, err
	}
	if r.StreamID == r.Position {
		if reason, err := lookUp(nameKey(string(r.Stream())), r.Position, "names"); reason != "" || err != nil {
			return reason, err
		}
	}
	if r.Revision > 0 && !r.IsTombstone() {
		_, err := entry(streamKey(r.StreamID, r.Revision-1))
		if errors.Is(err, pebble.ErrNotFound) {
			return "its stream lacks the revision before it", nil
		}
		return "", err
	}
	return "", nil
}
