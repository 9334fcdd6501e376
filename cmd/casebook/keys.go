package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/eventlog"
)

type keyCommand struct {
	File string `arg:"" help:"File to write. It must not exist." type:"path" placeholder:"FILE"`
}

// Run makes a new random key, for --key-file or --blinding-key-file of processes on real stores.
func (c keyCommand) Run(s streams) error {
	if _, err := os.Lstat(c.File); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s exists; a key is never overwritten", c.File), err)
	}
	if _, err := access.LoadOrCreateKey(c.File); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.out, c.File)
	return err
}

// errKeyMissing means that a key that is needed is not there, and that a new one would not be the right one.
var errKeyMissing = errors.New("a key is missing")

// loadKey returns the key in a file. If there is none, it makes one only if create is set.
func loadKey(file, flag string, create bool) ([]byte, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) && !create {
		return nil, fmt.Errorf("%w: there is no %s, and a new key would not be the one that is needed, so none was made; "+
			"put the key back from your backup, or name its file with %s", errKeyMissing, file, flag)
	}
	return access.LoadOrCreateKey(file)
}

// loadTokens returns the tokens that are signed with the key in a file.
func loadTokens(file string, create bool) (*access.Tokens, error) {
	key, err := loadKey(file, "--key-file", create)
	if err != nil {
		return nil, err
	}
	return access.NewTokens(key)
}

// loadFactors returns what checks second factors. Their secrets are encrypted with the key that signs tokens.
func loadFactors(file string) (*access.Factors, error) {
	key, err := loadKey(file, "--key-file", false)
	if err != nil {
		return nil, err
	}
	return access.NewFactors(key)
}

// tokens returns the tokens of a server, and what checks second factors. A process without the role api signs and verifies
// none. The processes on a real event store share a key, so none of them may make one.
func (f serverFlags) tokens(api bool) (*access.Tokens, *access.Factors, error) {
	if !api {
		key := make([]byte, 32)
		rand.Read(key)
		tokens, err := access.NewTokens(key)
		return tokens, nil, err
	}
	file := f.KeyFile
	if file == "" {
		file = f.Stores.keyFile()
	}
	tokens, err := loadTokens(file, f.Stores.Eventstore == "")
	if err != nil {
		return nil, nil, err
	}
	factors, err := loadFactors(file)
	return tokens, factors, err
}

// checkBlindingKey fails if the log needs another blinding key than the one that is there, or one that is missing. It looks
// into the log without changing anything, before a server makes what it lacks. It does so where a key is missing, and in
// the first start on a log, such as a restored one.
func (f storeFlags) checkBlindingKey(ctx context.Context, logger *slog.Logger) error {
	_, missing := os.Stat(f.blindingKeyFile())
	switch {
	case f.Eventstore != "":
		_, err := loadKey(f.blindingKeyFile(), "--blinding-key-file", false)
		return err
	case !f.dir().hasEventStore(), missing == nil && f.dir().hasMongo():
		return nil // there is no log yet, or a server has run on it with this key
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	stores := toolStores{data: f.dir(), logger: logger}
	return stores.use(ctx, reads, unused, func(o opened) error {
		log, err := eventlog.Connect(ctx, eventlog.Options{URL: o.eventStoreURL, Registry: contexts.Registry()})
		if err != nil {
			return err
		}
		_, err = f.keysFor(ctx, log, false)
		if errors.Is(err, errKeyNotMade) {
			err = nil
		}
		return errors.Join(err, log.Close())
	})
}

func (f storeFlags) blindingKeyFile() string {
	if f.BlindingKeyFile != "" {
		return f.BlindingKeyFile
	}
	return f.dir().file(blindingKeyFile)
}

// errKeyNotMade means that a new key may be made, and was not asked for.
var errKeyNotMade = errors.New("there is no blinding key yet")

// blindingKeys returns the keys that seal arms and kit contents. A new key is made only for an embedded log that holds no
// sealed value. A key that does not open what the log holds is refused.
func (f storeFlags) blindingKeys(ctx context.Context, log *eventlog.Log) (*eventlog.BlindingKeys, error) {
	return f.keysFor(ctx, log, true)
}

func (f storeFlags) keysFor(ctx context.Context, log *eventlog.Log, create bool) (*eventlog.BlindingKeys, error) {
	file := f.blindingKeyFile()
	searching, cancel := context.WithTimeout(ctx, sealedSearch)
	defer cancel()
	sealed, all, err := log.SealedEvents(searching, sealedToTry)
	if err != nil {
		return nil, fmt.Errorf("look for sealed values in the log: %w", err)
	}
	mayCreate := f.Eventstore == "" && all && len(sealed) == 0
	if _, missing := os.Stat(file); missing != nil && mayCreate && !create {
		return nil, errKeyNotMade
	}
	key, err := loadKey(file, "--blinding-key-file", mayCreate)
	if err != nil {
		return nil, err
	}
	keys, err := eventlog.NewBlindingKeys(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(sealed) > 0 && !log.AnyOpens(sealed, keys) {
		return nil, fmt.Errorf("%w: the key in %s opens none of the sealed values of the log, so it is another installation's key; "+
			"put the right one back from your backup", errKeyMissing, file)
	}
	return keys, nil
}

const (
	// sealedToTry is how many events with sealed values a key is tried on: a single one might have been altered.
	sealedToTry = 20
	// sealedSearch bounds the search for them in a long log that has few.
	sealedSearch = 10 * time.Second
)
