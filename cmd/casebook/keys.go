package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"casebook/access"
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

// tokens returns the tokens of a server, and what checks second factors. A process without the role api signs and verifies none. The processes on a real
// event store share a key, so none of them may make one.
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

// blindingKeys returns the keys that seal arms and kit contents. A new key is made only for an embedded log that holds no
// sealed value. A key that does not open what the log holds is refused.
func (f storeFlags) blindingKeys(ctx context.Context, log *eventlog.Log) (*eventlog.BlindingKeys, error) {
	file := f.BlindingKeyFile
	if file == "" {
		file = f.dir().file(blindingKeyFile)
	}
	searching, cancel := context.WithTimeout(ctx, sealedSearch)
	defer cancel()
	sealed, all, err := log.SealedEvents(searching, sealedToTry)
	if err != nil {
		return nil, fmt.Errorf("look for sealed values in the log: %w", err)
	}
	key, err := loadKey(file, "--blinding-key-file", f.Eventstore == "" && all && len(sealed) == 0)
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
