package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain/refuse"
	"casebook/domain/security"
	"casebook/eventlog"
)

type keyCommand struct {
	operatorFlags
	File        string `arg:"" help:"File to write. It must not exist." type:"path" placeholder:"FILE"`
	ReplaceLost bool   `help:"Record the new key as the blinding key of the log at --eventstore, in place of one that is lost and has sealed no value of it."`
	Eventstore  string `help:"Address of the event store, esdb://..., for --replace-lost." placeholder:"URL"`
}

// Run makes a new random key, for --key-file or --blinding-key-file of processes on real stores.
func (c keyCommand) Run(ctx context.Context, s streams) error {
	if c.ReplaceLost && c.Eventstore == "" {
		return errors.New("--replace-lost needs --eventstore; an embedded event store gets a new key at the next start")
	}
	if _, err := os.Lstat(c.File); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s exists; a key is never overwritten", c.File), err)
	}
	secret, err := access.LoadOrCreateKey(c.File)
	if err != nil {
		return err
	}
	if c.ReplaceLost {
		if err := c.replaceLost(ctx, secret); err != nil {
			return errors.Join(err, os.Remove(c.File))
		}
	}
	_, err = fmt.Fprintln(s.out, c.File)
	return err
}

// replaceLost records the new key as the blinding key of a log that holds no value which the lost one has sealed.
func (c keyCommand) replaceLost(ctx context.Context, secret []byte) error {
	keys, err := eventlog.NewBlindingKeys(secret)
	if err != nil {
		return err
	}
	return toolStore{Eventstore: c.Eventstore}.withLog(ctx, writes, func(log *eventlog.Log) error {
		switch sealed, all, err := log.SealedEvents(ctx, 1); {
		case err != nil:
			return fmt.Errorf("look for sealed values in the log: %w", err)
		case len(sealed) > 0 || !all:
			return errors.New("the log holds values that are sealed with its key, and no other key opens them; look for a backup of the key")
		}
		recorded, err := commands.RecordedBlindingKey(ctx, log)
		if err != nil {
			return err
		}
		handler := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(), Build: buildID()})
		return sendAs(ctx, handler, c.operator(), security.RecordBlindingKey{Check: keys.Check(), Replaces: recorded}, "")
	})
}

// errKeyMissing means that a key that is needed is not there, and that a new one would not be the right one.
var errKeyMissing = errors.New("a key is missing")

// errWrongKey means that a key is there, and that the values of the log are sealed with another one.
var errWrongKey = errors.New("wrong key")

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
		_, err = f.keyFor(ctx, log, false)
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

// blindingKey is the blinding key of a process, as it fits its log.
type blindingKey struct {
	keys *eventlog.BlindingKeys
	// replaces is the check of the recorded key, if that one is lost and no value was sealed with it; empty otherwise.
	replaces string
}

// blindingKey returns the key that seals arms and kit contents. A new key is made only for an embedded log that holds no
// sealed value. A key is refused that is not the one that the log records, or that does not open what the log holds.
func (f storeFlags) blindingKey(ctx context.Context, log *eventlog.Log) (blindingKey, error) {
	return f.keyFor(ctx, log, true)
}

func (f storeFlags) keyFor(ctx context.Context, log *eventlog.Log, create bool) (key blindingKey, err error) {
	file := f.blindingKeyFile()
	recorded, err := commands.RecordedBlindingKey(ctx, log)
	if err != nil {
		return key, fmt.Errorf("look which blinding key is recorded: %w", err)
	}
	_, err = os.Stat(file)
	missing := errors.Is(err, fs.ErrNotExist)
	var sealed []eventlog.Recorded
	mayCreate := false
	if recorded == "" || missing {
		// The search goes through the whole log where nothing is sealed. It is made once: then the key is recorded.
		var all bool
		if sealed, all, err = log.SealedEvents(ctx, sealedToTry); err != nil || !all {
			return key, fmt.Errorf("look for sealed values in the log: %w", cmp.Or(err, ctx.Err()))
		}
		mayCreate = f.Eventstore == "" && len(sealed) == 0
	}
	if missing && mayCreate {
		if !create {
			return key, errKeyNotMade
		}
		key.replaces = recorded
	}
	secret, err := loadKey(file, "--blinding-key-file", mayCreate)
	if err != nil {
		return key, err
	}
	if key.keys, err = eventlog.NewBlindingKeys(secret); err != nil {
		return key, fmt.Errorf("%s: %w", file, err)
	}
	if recorded != key.replaces && recorded != key.keys.Check() || len(sealed) > 0 && !log.AnyOpens(sealed, key.keys) {
		return key, f.wrongKey()
	}
	return key, nil
}

// wrongKey is the error of a start with a key that is not the one of the log.
func (f storeFlags) wrongKey() error {
	return fmt.Errorf("%w: the key in %s is not the one that the values of the log are sealed with, so it is another installation's; "+
		"put the right one back from your backup", errWrongKey, f.blindingKeyFile())
}

// recordBlindingKey records the blinding key in a log without a record of it. Of two processes with different keys, which start
// at the same time, one is refused.
func (f storeFlags) recordBlindingKey(ctx context.Context, handler *commands.Handler, key blindingKey) error {
	err := handler.RecordBlindingKey(ctx, key.replaces)
	if refusal, refused := refuse.As(err); refused && refusal.Code == "blinding_key_differs" {
		return f.wrongKey()
	}
	return part("record the blinding key", err)
}

const (
	// sealedToTry is how many events with sealed values a key is tried on: a single one might have been altered.
	sealedToTry = 20
)
