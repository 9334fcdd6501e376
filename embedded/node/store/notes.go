package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Notes are small durable values that are kept beside the log and are not part of it:
//
//	p<name> -> value
const prefixNote = 'p'

func noteKey(name string) []byte { return append([]byte{prefixNote}, name...) }

// PutNote stores a value under a name and replaces the former one. The value is durable when PutNote returns.
func (s *Store) PutNote(name string, value []byte) error {
	return s.changeNote(name, func(b *pebble.Batch) error { return b.Set(noteKey(name), value, nil) })
}

// DeleteNote durably deletes the value of a name, if there is one.
func (s *Store) DeleteNote(name string) error {
	return s.changeNote(name, func(b *pebble.Batch) error { return b.Delete(noteKey(name), nil) })
}

func (s *Store) changeNote(name string, change func(*pebble.Batch) error) error {
	if !s.use() {
		return ErrClosed
	}
	defer s.users.Done()
	if s.opts.ReadOnly {
		return ErrReadOnly
	}
	if failure := s.Failure(); failure != nil {
		return failure
	}
	b := s.db.NewBatch()
	if err := change(b); err != nil {
		return fmt.Errorf("keep %q: %w", name, errors.Join(err, b.Close()))
	}
	if err := s.apply(b, !s.opts.unsafeNoSync); err != nil {
		s.fail(err)
		return fmt.Errorf("keep %q: %w", name, err)
	}
	return s.Failure() // the guard may have hidden a failure from the engine
}

// Notes calls f with every name and value, in order of the names, until f returns an error. f may keep the value.
func (s *Store) Notes(f func(name string, value []byte) error) error {
	if !s.use() {
		return ErrClosed
	}
	defer s.users.Done()
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixNote}, UpperBound: []byte{prefixNote + 1}})
	if err != nil {
		return err
	}
	for ok := iter.First(); ok; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		if err == nil {
			err = f(string(iter.Key()[1:]), append([]byte{}, value...))
		}
		if err != nil {
			return errors.Join(err, iter.Close())
		}
	}
	return errors.Join(iter.Error(), iter.Close())
}
