// Package keystore keeps the data keys of personal values: one random key for each person, wrapped by a master key. It is a store of its
// own, apart from the log and from the views, so that an erased person stays erased when those are restored from a backup, and it has
// no copy of a key that was destroyed.
package keystore

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"casebook/domain/personal"
)

// KeyBytes is the length of the master key, and of each data key.
const KeyBytes = 32

// ErrWrongMasterKey means that the keys of the store are wrapped by another master key.
var ErrWrongMasterKey = errors.New("the store of personal keys belongs to another master key; put the right one back from your backup")

// Store is a personal.Keys. It keeps no key in memory that somebody has sealed with: a key that another process destroys is gone here at
// once.
type Store struct {
	records  records
	master   cipher.AEAD
	prepared *prepared
}

// records are where wrapped keys are kept.
type records interface {
	// add stores new records for good. If it fails, some may be stored.
	add(ctx context.Context, wrapped map[personal.KeyID][]byte) error
	// findAll returns the records of those ids that there are, as find does.
	findAll(ctx context.Context, ids []personal.KeyID) (map[personal.KeyID][]byte, error)
	// find returns a record. Wrapped is nil if the key was destroyed. It fails with personal.ErrUnknownKey.
	find(ctx context.Context, id personal.KeyID) (wrapped []byte, err error)
	// destroy replaces a record by the moment when its key was destroyed, and leaves no copy of it in the store.
	destroy(ctx context.Context, id personal.KeyID, at time.Time) error
	close() error
}

// check is the id of a record by which the master key is recognised.
const check personal.KeyID = "check"

// open returns the store on these records.
func open(ctx context.Context, r records, master []byte) (*Store, error) {
	if len(master) != KeyBytes {
		return nil, fmt.Errorf("the master key of personal data has %d bytes; it needs %d", len(master), KeyBytes)
	}
	aead, err := aeadOf(master)
	if err != nil {
		return nil, err
	}
	s := &Store{records: r, master: aead, prepared: newPrepared()}
	wrapped, err := r.find(ctx, check)
	if errors.Is(err, personal.ErrUnknownKey) {
		err = r.add(ctx, map[personal.KeyID][]byte{check: s.wrap(check, make([]byte, KeyBytes))})
		if err != nil { // of two processes, one may come too late
			wrapped, err = r.find(ctx, check)
		} else {
			return s, nil
		}
	}
	if err != nil {
		return nil, err
	}
	if _, err := s.unwrap(check, wrapped); err != nil {
		return nil, err
	}
	return s, nil
}

// Close closes the store.
func (s *Store) Close() error {
	s.prepared.stop()
	return s.records.close()
}

// Create implements personal.Keys.
func (s *Store) Create(ctx context.Context) (personal.KeyID, error) {
	keys, err := s.add(ctx, 1)
	if err != nil {
		return "", err
	}
	return keys[0].id, nil
}

// add stores so many new keys under new ids.
func (s *Store) add(ctx context.Context, n int) ([]preparedKey, error) {
	keys, wrapped := make([]preparedKey, n), make(map[personal.KeyID][]byte, n)
	for i := range keys {
		var err error
		if keys[i], err = s.newKey(wrapped); err != nil {
			return nil, err
		}
	}
	if err := s.records.add(ctx, wrapped); err != nil {
		return nil, fmt.Errorf("store keys of personal data: %w", err)
	}
	return keys, nil
}

// newKey returns a new key, and puts it among those to store.
func (s *Store) newKey(wrapped map[personal.KeyID][]byte) (preparedKey, error) {
	var name [20]byte
	key := make([]byte, KeyBytes)
	defer clear(key)
	rand.Read(name[:])
	rand.Read(key)
	c, err := aeadOf(key)
	if err != nil {
		return preparedKey{}, err
	}
	id := personal.KeyID(strings.ToLower(base32.StdEncoding.EncodeToString(name[:])))
	wrapped[id] = s.wrap(id, key)
	return preparedKey{id, c}, nil
}

// Sealer implements personal.Keys.
func (s *Store) Sealer(ctx context.Context) (personal.KeyID, personal.Sealing, error) {
	key, err := s.prepared.take(ctx, s.add)
	if err != nil {
		return "", nil, err
	}
	return key.id, func(plain, bound []byte) []byte {
		return key.cipher.Seal(nil, nil, plain, bound) // #nosec G407 -- the cipher makes the nonce itself
	}, nil
}

// Openers implements personal.Keys.
func (s *Store) Openers(ctx context.Context, ids []personal.KeyID) (map[personal.KeyID]personal.Opener, error) {
	found, err := s.records.findAll(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("ask for keys of personal data: %w", err)
	}
	openers := map[personal.KeyID]personal.Opener{}
	for id, wrapped := range found {
		if wrapped == nil {
			openers[id] = func([]byte, []byte) ([]byte, error) { return nil, personal.ErrDestroyed }
			continue
		}
		c, err := s.cipherOf(id, wrapped)
		if err != nil { // the record is damaged, and those of the other keys are not
			openers[id] = func([]byte, []byte) ([]byte, error) { return nil, err }
			continue
		}
		openers[id] = func(sealed, bound []byte) ([]byte, error) { return opened(c, sealed, bound) }
	}
	return openers, nil
}

// Seal implements personal.Keys.
func (s *Store) Seal(ctx context.Context, id personal.KeyID, plain, bound []byte) ([]byte, error) {
	c, err := s.cipher(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.Seal(nil, nil, plain, bound), nil // #nosec G407 -- the cipher makes the nonce itself
}

// Open implements personal.Keys.
func (s *Store) Open(ctx context.Context, id personal.KeyID, sealed, bound []byte) ([]byte, error) {
	c, err := s.cipher(ctx, id)
	if err != nil {
		return nil, err
	}
	return opened(c, sealed, bound)
}

// opened returns a decrypted content.
func opened(c cipher.AEAD, sealed, bound []byte) ([]byte, error) {
	plain, err := c.Open(nil, nil, sealed, bound)
	if err != nil {
		return nil, errors.New("the personal data were altered, or copied from another place")
	}
	return plain, nil
}

// Destroy implements personal.Keys.
func (s *Store) Destroy(ctx context.Context, id personal.KeyID) error {
	if err := s.records.destroy(ctx, id, time.Now().UTC()); err != nil {
		return fmt.Errorf("destroy the key of personal data: %w", err)
	}
	wrapped, err := s.records.find(ctx, id)
	if err == nil && wrapped != nil {
		err = errors.New("the store still has the key after it was destroyed")
	}
	return err
}

// cipher returns the cipher of a data key. The key itself is not kept.
func (s *Store) cipher(ctx context.Context, id personal.KeyID) (cipher.AEAD, error) {
	wrapped, err := s.records.find(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case wrapped == nil:
		return nil, personal.ErrDestroyed
	}
	return s.cipherOf(id, wrapped)
}

// cipherOf returns the cipher of a data key that the store has. The key itself is not kept.
func (s *Store) cipherOf(id personal.KeyID, wrapped []byte) (cipher.AEAD, error) {
	key, err := s.unwrap(id, wrapped)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return aeadOf(key)
}

func (s *Store) wrap(id personal.KeyID, key []byte) []byte {
	return s.master.Seal(nil, nil, key, []byte(id)) // #nosec G407 -- the cipher makes the nonce itself
}

func (s *Store) unwrap(id personal.KeyID, wrapped []byte) ([]byte, error) {
	key, err := s.master.Open(nil, nil, wrapped, []byte(id))
	if err != nil {
		return nil, ErrWrongMasterKey
	}
	return key, nil
}

// aeadOf returns AES-256-GCM with a random nonce before each content.
func aeadOf(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
