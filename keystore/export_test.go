package keystore

import (
	"testing"

	"casebook/domain/personal"

	"go.etcd.io/bbolt"
)

// Wrapped returns the wrapped key of a store.
func Wrapped(t testing.TB, s *Store, id personal.KeyID) []byte {
	wrapped, err := s.records.find(t.Context(), id)
	if err != nil || wrapped == nil {
		t.Fatal(wrapped, err)
	}
	return wrapped
}

// RemoveOnly removes a key from the file of a store, as Destroy does before it writes the file anew.
func RemoveOnly(t testing.TB, s *Store, id personal.KeyID) {
	err := s.records.(*file).db.Update(func(tx *bbolt.Tx) error { return remove(tx, id, "2026-03-01") })
	if err != nil {
		t.Fatal(err)
	}
}

// CloseRecords takes the records of a store away.
func CloseRecords(t testing.TB, s *Store) {
	if err := s.records.close(); err != nil {
		t.Fatal(err)
	}
}

// Damage alters the record of a key in a file.
func Damage(t testing.TB, s *Store, id personal.KeyID) {
	err := s.records.(*file).db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(keysBucket).Put([]byte(id), []byte("damaged"))
	})
	if err != nil {
		t.Fatal(err)
	}
}
