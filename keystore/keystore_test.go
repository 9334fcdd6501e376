package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"casebook/domain/personal"
	"casebook/embedded/storetest"
	"casebook/keystore"

	bbolterrors "go.etcd.io/bbolt/errors"
)

var master = bytes.Repeat([]byte{7}, keystore.KeyBytes)

// stores calls a test with each kind of store. open opens the same store again, with a master key.
func stores(t *testing.T, test func(t *testing.T, open func(master []byte) (*keystore.Store, error))) {
	t.Run("file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "keys.db")
		test(t, func(master []byte) (*keystore.Store, error) { return keystore.OpenFile(t.Context(), path, master) })
	})
	t.Run("MongoDB", func(t *testing.T) {
		url, stop, err := storetest.Mongo(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
		test(t, func(master []byte) (*keystore.Store, error) { return keystore.OpenMongo(t.Context(), url, master) })
	})
}

func opened(t *testing.T, open func([]byte) (*keystore.Store, error)) *keystore.Store {
	t.Helper()
	s, err := open(master)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func created(t *testing.T, s *keystore.Store) personal.KeyID {
	t.Helper()
	id, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func sealed(t *testing.T, s *keystore.Store, id personal.KeyID, plain, bound string) []byte {
	t.Helper()
	raw, err := s.Seal(t.Context(), id, []byte(plain), []byte(bound))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestWhatIsSealedOpensUntilItsKeyIsDestroyed(t *testing.T) {
	stores(t, func(t *testing.T, open func([]byte) (*keystore.Store, error)) {
		ctx, s := t.Context(), opened(t, open)
		anna, berta := created(t, s), created(t, s)
		ofAnna, ofBerta := sealed(t, s, anna, "Anna", "place"), sealed(t, s, berta, "Berta", "place")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = opened(t, open)
		defer func() { _ = s.Close() }()
		opens := func(id personal.KeyID, raw []byte, bound, want string) {
			t.Helper()
			if plain, err := s.Open(ctx, id, raw, []byte(bound)); err != nil || string(plain) != want {
				t.Errorf("opened %q, %v", plain, err)
			}
		}
		opens(anna, ofAnna, "place", "Anna")
		for name, try := range map[string]func() ([]byte, error){
			"another place": func() ([]byte, error) { return s.Open(ctx, anna, ofAnna, []byte("elsewhere")) },
			"another key":   func() ([]byte, error) { return s.Open(ctx, berta, ofAnna, []byte("place")) },
			"nothing":       func() ([]byte, error) { return s.Open(ctx, anna, nil, []byte("place")) },
		} {
			if plain, err := try(); err == nil || errors.Is(err, personal.ErrDestroyed) || errors.Is(err, personal.ErrUnknownKey) {
				t.Errorf("%s: opened %q, %v", name, plain, err)
			}
		}
		for range 2 { // the second time, it is gone already
			if err := s.Destroy(ctx, anna); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Open(ctx, anna, ofAnna, []byte("place")); !errors.Is(err, personal.ErrDestroyed) {
			t.Errorf("a destroyed key opens: %v", err)
		}
		if _, err := s.Seal(ctx, anna, []byte("x"), nil); !errors.Is(err, personal.ErrDestroyed) {
			t.Errorf("a destroyed key seals: %v", err)
		}
		opens(berta, ofBerta, "place", "Berta")
		for _, err := range []error{s.Destroy(ctx, "unknown"), second(s.Open(ctx, "unknown", ofBerta, nil)),
			second(s.Seal(ctx, "unknown", nil, nil))} {
			if !errors.Is(err, personal.ErrUnknownKey) {
				t.Errorf("an unknown key: %v", err)
			}
		}
	})
}

func second(_ []byte, err error) error { return err }

func TestAnotherMasterKeyIsRefused(t *testing.T) {
	stores(t, func(t *testing.T, open func([]byte) (*keystore.Store, error)) {
		if err := opened(t, open).Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := open(bytes.Repeat([]byte{8}, keystore.KeyBytes)); !errors.Is(err, keystore.ErrWrongMasterKey) {
			t.Errorf("another master key: %v", err)
		}
		if _, err := open([]byte("short")); err == nil {
			t.Error("a short master key was taken")
		}
		if err := opened(t, open).Close(); err != nil {
			t.Errorf("the right one, after a wrong one: %v", err)
		}
	})
}

// TestADestroyedKeyLeavesNoTraceInTheFile looks for the wrapped key in the bytes of the file, also where the process had ended between
// removing the key and writing the file anew.
func TestADestroyedKeyLeavesNoTraceInTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keys.db")
	open := func(master []byte) (*keystore.Store, error) { return keystore.OpenFile(t.Context(), path, master) }
	s := opened(t, open)
	ids := make([]personal.KeyID, 50)
	wrapped := map[personal.KeyID][]byte{}
	for i := range ids {
		ids[i] = created(t, s)
		wrapped[ids[i]] = keystore.Wrapped(t, s, ids[i])
	}
	holds := func(id personal.KeyID) bool {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(data, wrapped[id])
	}
	if !holds(ids[3]) || !holds(ids[4]) {
		t.Fatal("the test does not find keys that are there")
	}
	if err := s.Destroy(t.Context(), ids[3]); err != nil {
		t.Fatal(err)
	}
	if holds(ids[3]) || !holds(ids[4]) {
		t.Error("the file still has the destroyed key, or lacks another one")
	}
	keystore.RemoveOnly(t, s, ids[4])
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !holds(ids[4]) {
		t.Fatal("nothing is left of a key that was only removed, so the test shows nothing")
	}
	s = opened(t, open)
	defer func() { _ = s.Close() }()
	if holds(ids[4]) {
		t.Error("after a start, the file still has the removed key")
	}
	for _, id := range ids[5:] {
		sealed(t, s, id, "still there", "")
	}
}

func TestKeysAreUsedWhileOthersAreDestroyed(t *testing.T) {
	stores(t, func(t *testing.T, open func([]byte) (*keystore.Store, error)) {
		s := opened(t, open)
		defer func() { _ = s.Close() }()
		kept := created(t, s)
		raw := sealed(t, s, kept, "kept", "")
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 5 {
					id, err := s.Create(context.WithoutCancel(t.Context()))
					if err == nil {
						err = s.Destroy(context.WithoutCancel(t.Context()), id)
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
			all.Go(func() {
				for range 20 {
					if plain, err := s.Open(context.WithoutCancel(t.Context()), kept, raw, nil); err != nil || string(plain) != "kept" {
						t.Errorf("opened %q, %v", plain, err)
					}
				}
			})
		}
		all.Wait()
	})
}

// TestTextsAreSealedEachWithItsOwnKey seals many texts at once. After a restart, each opens with its key alone.
func TestTextsAreSealedEachWithItsOwnKey(t *testing.T) {
	stores(t, func(t *testing.T, open func([]byte) (*keystore.Store, error)) {
		s := opened(t, open)
		const each, writers = 40, 4
		var mu sync.Mutex
		sealed := map[personal.KeyID][]byte{}
		var all sync.WaitGroup
		for range writers {
			all.Go(func() {
				for range each {
					id, seal, err := s.Sealer(context.WithoutCancel(t.Context()))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					sealed[id] = seal([]byte("text of "+string(id)), []byte("place"))
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Sealer(t.Context()); err == nil {
			t.Error("a closed store seals")
		}
		if len(sealed) != each*writers {
			t.Errorf("%d texts have %d keys", each*writers, len(sealed))
		}
		s = opened(t, open)
		defer func() { _ = s.Close() }()
		openers, err := s.Openers(t.Context(), slices.Collect(maps.Keys(sealed)))
		if err != nil {
			t.Fatal(err)
		}
		for id, raw := range sealed {
			if plain, err := openers[id](raw, []byte("place")); err != nil || string(plain) != "text of "+string(id) {
				t.Errorf("opened %q, %v", plain, err)
			}
		}
	})
}

// TestTextsNeedNotWaitForTheStore takes the store away: the keys that are ready are used up, and then each text is refused at once.
func TestTextsNeedNotWaitForTheStore(t *testing.T) {
	s, err := keystore.OpenFile(t.Context(), filepath.Join(t.TempDir(), "keys.db"), master)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, _, err := s.Sealer(t.Context()); err != nil {
		t.Fatal(err)
	}
	keystore.CloseRecords(t, s)
	sealed := 0
	for ; sealed < 1000; sealed++ {
		if _, _, err = s.Sealer(t.Context()); err != nil {
			break
		}
	}
	if sealed == 0 || !errors.Is(err, bbolterrors.ErrDatabaseNotOpen) {
		t.Errorf("without its store, %d texts were sealed, and then: %v", sealed, err)
	}
}

// TestADamagedKeyIsNotThatOfOthers damages the record of a key.
func TestADamagedKeyIsNotThatOfOthers(t *testing.T) {
	s, err := keystore.OpenFile(t.Context(), filepath.Join(t.TempDir(), "keys.db"), master)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	damaged, whole := created(t, s), created(t, s)
	ofDamaged, ofWhole := sealed(t, s, damaged, "Anna", ""), sealed(t, s, whole, "Berta", "")
	keystore.Damage(t, s, damaged)
	openers, err := s.Openers(t.Context(), []personal.KeyID{damaged, whole})
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := openers[whole](ofWhole, nil); err != nil || string(plain) != "Berta" {
		t.Errorf("opened %q, %v", plain, err)
	}
	if plain, err := openers[damaged](ofDamaged, nil); err == nil || errors.Is(err, personal.ErrDestroyed) {
		t.Errorf("with a damaged key, it opened %q, %v", plain, err)
	}
}
