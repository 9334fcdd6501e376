package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"casebook/embedded/credentials"
	"casebook/embedded/mongo"
	"casebook/embedded/node/store"
)

// dataDir is the directory of an installation. --data means the same for every command: it holds the embedded stores in
// the folders eventstore and mongo, their credentials, and the keys.
type dataDir string

// Files and folders of a data directory.
const (
	eventStoreDir     = "eventstore"
	mongoDir          = "mongo"
	tokenKeyFile      = "token.key"
	blindingKeyFile   = "blinding.key"
	identityKeyFile   = "identity.key"     // the master key
	identityKeysFile  = "identity-keys.db" // the keys that it wraps
	pushKeyFile       = "push.key"
	demoLogFile       = "casebook.log"
	scenarioFile      = "demo.json"
	eventStoreAddress = "eventstore.address" // written while the embedded event store runs
	mongoAddress      = "mongo.address"
)

func (d dataDir) file(name string) string { return filepath.Join(string(d), name) }

func (d dataDir) hasEventStore() bool { return store.Exists(nil, d.file(eventStoreDir)) }
func (d dataDir) hasMongo() bool      { return mongo.Exists(nil, d.file(mongoDir)) }

// errNoData means that a directory holds no data of Casebook.
var errNoData = errors.New("there are no data of Casebook")

// mustHold fails unless the directory has the embedded event store. Nothing is created.
func (d dataDir) mustHold() error {
	if err := d.isNoStore(); err != nil {
		return err
	}
	if !d.hasEventStore() {
		return fmt.Errorf("%w in %s: it has no event store; name the directory with which serve was started with --data, "+
			"or a running event store with --eventstore", errNoData, string(d))
	}
	return nil
}

// mayBeFilled fails if a server must not make its stores in the directory: because it belongs to an installation, or to
// something else. An empty or missing directory may be filled, and so may one that has data already.
func (d dataDir) mayBeFilled() error {
	if err := d.isNoStore(); err != nil {
		return err
	}
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the data directory: %w", err)
	}
	var foreign []string
	for _, e := range entries {
		if ours(e.Name()) {
			return nil
		}
		// An empty file may be the one into which the shell is about to write the server's output.
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
			continue
		}
		foreign = append(foreign, e.Name())
	}
	if len(foreign) > 0 {
		return fmt.Errorf("%s holds other files, such as %s, and no data of Casebook, so nothing was created in it; "+
			"name a new or an empty directory with --data", string(d), foreign[0])
	}
	return nil
}

// ours reports whether a file or folder has a name that it has in a data directory.
func ours(name string) bool {
	return slices.Contains([]string{eventStoreDir, mongoDir, tokenKeyFile, blindingKeyFile, identityKeyFile, identityKeysFile,
		pushKeyFile,
		demoLogFile, scenarioFile, eventStoreAddress, mongoAddress, credentials.File, credentials.AuthorityFile}, name)
}

// isNoStore fails if the directory is the folder of a store, or lies inside of one or inside of another data directory.
func (d dataDir) isNoStore() error {
	isStore := func(dir string) bool { return store.Exists(nil, dir) }
	parent := dataDir(filepath.Dir(string(d)))
	switch {
	case isStore(string(d)):
		return fmt.Errorf("%s is the folder of a store; name the data directory that it is in, with --data %s", string(d), string(parent))
	case isStore(string(parent)):
		return fmt.Errorf("%s lies inside the folder of a store; name the data directory that this is in with --data", string(d))
	case parent.isUsed():
		return fmt.Errorf("%s lies inside the data directory %s; name that one, or a directory outside of it, with --data",
			string(d), string(parent))
	}
	return nil
}

// isUsed reports whether the directory is that of an installation, even if one of its stores is missing.
func (d dataDir) isUsed() bool {
	_, err := os.Stat(d.file(credentials.File))
	return err == nil || d.hasEventStore() || d.hasMongo()
}

// protect makes the directory, and our files and folders in it, accessible to their owner only, no matter which modes they
// had. It leaves other files alone.
func (d dataDir) protect() error {
	protect := func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o600)
		switch {
		case e.IsDir():
			mode = 0o700
		case !e.Type().IsRegular():
			return nil // the mode of a link is that of its target, which may not be ours
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm() != mode {
			err = os.Chmod(path, mode) // #nosec G302 -- directories need the right to enter
		}
		return err
	}
	entries, err := os.ReadDir(string(d))
	if err == nil {
		err = os.Chmod(string(d), 0o700) // #nosec G302 -- a directory needs the right to enter
	}
	for _, e := range entries {
		if err == nil && ours(e.Name()) {
			err = filepath.WalkDir(d.file(e.Name()), func(path string, e fs.DirEntry, err error) error {
				if err = protect(path, e, err); errors.Is(err, fs.ErrNotExist) {
					err = nil // the store has removed the file meanwhile
				}
				return err
			})
		}
	}
	if err != nil {
		return fmt.Errorf("keep others out of %s: %w", string(d), err)
	}
	return nil
}

// noteAddress writes the address on which a store of the directory listens, so that the tools on this machine find it.
func (d dataDir) noteAddress(file, address string) error {
	temporary := d.file(file + ".tmp")
	if err := os.WriteFile(temporary, []byte(address+"\n"), 0o600); err != nil {
		return fmt.Errorf("note the address of the store: %w", err)
	}
	return os.Rename(temporary, d.file(file))
}

// address returns the address that noteAddress wrote; empty if there is none.
func (d dataDir) address(file string) string {
	text, err := os.ReadFile(d.file(file))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
