package keystore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"casebook/domain/personal"

	"go.etcd.io/bbolt"
)

// OpenFile opens the store in a file, and makes the file if there is none. One process at a time has it; another one waits for a few
// seconds and fails. It fails with ErrWrongMasterKey.
func OpenFile(ctx context.Context, path string, master []byte) (*Store, error) {
	f := &file{path: path}
	if err := f.open(); err != nil {
		return nil, err
	}
	if f.unfinished() { // the process ended while it destroyed a key
		if err := f.rewrite(); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	s, err := open(ctx, f, master)
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return s, nil
}

// The buckets of the file. destroying has the ids of keys of which the file may still hold copies.
var (
	keysBucket       = []byte("keys")
	destroyedBucket  = []byte("destroyed")
	destroyingBucket = []byte("destroying")
)

// lockTimeout is how long a process waits for another one to close the file.
const lockTimeout = 5 * time.Second

// sharedSync is how long a new key waits for others that become durable with it.
const sharedSync = time.Millisecond

// file are records in a bbolt file. Pages that are free keep what they held, so a file that a key was removed from is written anew.
type file struct {
	path string
	mu   sync.RWMutex // held for writing while the file is replaced
	db   *bbolt.DB
}

func (f *file) open() (err error) {
	if f.db, err = bbolt.Open(f.path, 0o600, &bbolt.Options{Timeout: lockTimeout}); err != nil {
		return fmt.Errorf("open the store of personal keys %s: %w", f.path, err)
	}
	f.db.MaxBatchDelay = sharedSync
	return f.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{keysBucket, destroyedBucket, destroyingBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *file) add(_ context.Context, wrapped map[personal.KeyID][]byte) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.db.Batch(func(tx *bbolt.Tx) error {
		keys := tx.Bucket(keysBucket)
		for id, key := range wrapped {
			if keys.Get([]byte(id)) != nil {
				return fmt.Errorf("the key %s is there", id)
			}
			if err := keys.Put([]byte(id), key); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *file) find(_ context.Context, id personal.KeyID) (wrapped []byte, err error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	err = f.db.View(func(tx *bbolt.Tx) (err error) {
		wrapped, err = recordIn(tx, id)
		return err
	})
	return wrapped, err
}

// recordIn returns a record as find does.
func recordIn(tx *bbolt.Tx, id personal.KeyID) ([]byte, error) {
	wrapped := bytes.Clone(tx.Bucket(keysBucket).Get([]byte(id)))
	if wrapped == nil && tx.Bucket(destroyedBucket).Get([]byte(id)) == nil {
		return nil, personal.ErrUnknownKey
	}
	return wrapped, nil
}

func (f *file) findAll(_ context.Context, ids []personal.KeyID) (map[personal.KeyID][]byte, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	found := map[personal.KeyID][]byte{}
	err := f.db.View(func(tx *bbolt.Tx) error {
		for _, id := range ids {
			if wrapped, err := recordIn(tx, id); err == nil {
				found[id] = wrapped
			}
		}
		return nil
	})
	return found, err
}

func (f *file) destroy(_ context.Context, id personal.KeyID, at time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.db.Update(func(tx *bbolt.Tx) error { return remove(tx, id, at.Format(time.RFC3339)) })
	if err != nil || !f.unfinished() {
		return err
	}
	return f.rewrite()
}

// remove takes a key out, and notes that the file may still hold copies of it.
func remove(tx *bbolt.Tx, id personal.KeyID, at string) error {
	keys, destroyed := tx.Bucket(keysBucket), tx.Bucket(destroyedBucket)
	switch {
	case keys.Get([]byte(id)) != nil:
		return errors.Join(keys.Delete([]byte(id)), destroyed.Put([]byte(id), []byte(at)), tx.Bucket(destroyingBucket).Put([]byte(id), nil))
	case destroyed.Get([]byte(id)) == nil:
		return personal.ErrUnknownKey
	}
	return nil
}

// unfinished reports whether the file may hold copies of destroyed keys.
func (f *file) unfinished() (found bool) {
	_ = f.db.View(func(tx *bbolt.Tx) error {
		first, _ := tx.Bucket(destroyingBucket).Cursor().First()
		found = first != nil
		return nil
	})
	return found
}

// rewrite replaces the file by one that holds only what is in use.
func (f *file) rewrite() error {
	fresh := f.path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	to, err := bbolt.Open(fresh, 0o600, &bbolt.Options{Timeout: lockTimeout})
	if err != nil {
		return err
	}
	err = bbolt.Compact(to, f.db, 1<<20)
	if err == nil {
		err = to.Update(func(tx *bbolt.Tx) error {
			if err := tx.DeleteBucket(destroyingBucket); err != nil {
				return err
			}
			_, err := tx.CreateBucket(destroyingBucket)
			return err
		})
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	if err := f.db.Close(); err != nil {
		return err
	}
	replaced := os.Rename(fresh, f.path)
	if replaced == nil {
		replaced = syncDir(filepath.Dir(f.path))
	}
	return errors.Join(replaced, f.open())
}

func (f *file) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.db.Close()
}

// syncDir makes a change of the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) // #nosec G304 -- the directory of the operator's own file
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
