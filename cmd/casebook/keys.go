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
	"strings"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain/refuse"
	"casebook/domain/security"
	"casebook/eventlog"
	"casebook/eventlog/pubsub"
)

type keyCommand struct {
	operatorFlags
	File        string        `arg:"" help:"File to write. It must not exist, except with --replace-lost, which uses the key that is in it." type:"path" placeholder:"FILE"`
	ReplaceLost bool          `help:"Record the key as the blinding key of the log, in place of one that is lost and has sealed no value of it, or that is not the one which has. Stop all programs before."`
	Eventstore  string        `help:"Address of the event store, esdb://..., for --replace-lost." placeholder:"URL"`
	Data        string        `help:"Data directory of the event store, for --replace-lost." type:"path" placeholder:"DIR"`
	Reason      string        `help:"What happened to the recorded key, for --replace-lost." placeholder:"TEXT"`
	Settle      time.Duration `hidden:"" default:"3s" help:"How long after the new key is recorded the log is searched for values that a running program has sealed."`
}

// Run makes a new random key, for --key-file or --blinding-key-file of processes on real stores.
func (c keyCommand) Run(ctx context.Context, s streams) error {
	_, err := os.Lstat(c.File)
	exists := !errors.Is(err, fs.ErrNotExist)
	switch {
	case c.ReplaceLost && (c.Eventstore == "") == (c.Data == ""):
		return errors.New("--replace-lost needs --eventstore or --data: in which log is the key recorded?")
	case c.ReplaceLost && c.Reason == "":
		return errors.New("--replace-lost needs --reason: the record says why another key is used")
	case !c.ReplaceLost && exists:
		return errors.Join(fmt.Errorf("%s exists; a key is never overwritten", c.File), err)
	}
	secret, err := access.LoadOrCreateKey(c.File)
	if err != nil {
		return err
	}
	if c.ReplaceLost {
		recorded, err := c.replaceLost(ctx, s, secret)
		switch {
		case err != nil && recorded == isNot && !exists:
			return errors.Join(err, os.Remove(c.File))
		case err != nil && recorded == mayBe:
			return fmt.Errorf("it is not known whether the key in %s is recorded now, so keep the file; run the same command again to find out, "+
				"and to complete it: %w", c.File, err)
		case err != nil:
			return err
		}
	}
	_, err = fmt.Fprintln(s.out, c.File)
	return err
}

// outcome says whether something is recorded.
type outcome int

const (
	isNot outcome = iota
	mayBe
	is
)

// replaceLost records a key as the blinding key of a log that holds no value which another one has sealed.
func (c keyCommand) replaceLost(ctx context.Context, s streams, secret []byte) (recorded outcome, err error) {
	keys, err := eventlog.NewBlindingKeys(secret)
	if err != nil {
		return isNot, err
	}
	stores := toolStores{data: dataDir(c.Data), eventStore: c.Eventstore}
	err = stores.use(ctx, writes, unused, func(o opened) (err error) {
		if c.Eventstore == "" && !o.alone {
			return fmt.Errorf("%w: a server runs on %s; stop it", errProgramsRun, c.Data)
		}
		if err := noProgramRuns(ctx, o.eventStoreURL); err != nil {
			return err
		}
		log, err := toolLog(ctx, eventlog.Options{URL: o.eventStoreURL})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		recorded, err = c.record(ctx, s, log, keys)
		return err
	})
	return recorded, err
}

// errProgramsRun means that programs use a log that has to be left alone.
var errProgramsRun = errors.New("programs run")

// noProgramRuns fails if a program takes part in a consumer group of the log. It does not see programs without the role sagas.
func noProgramRuns(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	members, err := pubsub.Members(ctx, url, "casebook-")
	if err != nil {
		return fmt.Errorf("find out whether programs run: %w", err)
	}
	if len(members) > 0 {
		return fmt.Errorf("%w, and would seal values with the key that is replaced; stop all processes with the roles api and sagas (%s)",
			errProgramsRun, strings.Join(members, ", "))
	}
	return nil
}

// record records the key, unless the log holds values that it does not open.
func (c keyCommand) record(ctx context.Context, s streams, log *eventlog.Log, keys *eventlog.BlindingKeys) (outcome, error) {
	opened, all, err := log.CountOpened(ctx, keys)
	switch {
	case err != nil:
		return isNot, fmt.Errorf("look for sealed values in the log: %w", err)
	case all > 0 && opened == 0:
		return isNot, fmt.Errorf("the log holds %d events with values that are sealed with its key, and this one opens none of them; "+
			"look for a backup of the key", all)
	}
	before, err := commands.RecordedBlindingKey(ctx, log)
	if err != nil {
		return isNot, fmt.Errorf("look which blinding key is recorded: %w", err)
	}
	if before == keys.Check() {
		fmt.Fprintln(s.err, "the key is recorded already")
		return is, nil
	}
	if opened < all {
		fmt.Fprintf(s.err, "the key opens %d of %d events with sealed values; the others were sealed with another key, and stay sealed\n",
			opened, all)
	}
	handler := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(), Build: buildID()})
	err = sendAs(ctx, handler, c.operator(), security.RecordBlindingKey{Check: keys.Check(), Replaces: before, Reason: c.Reason}, "")
	if refusal, refused := refuse.As(err); refused && refusal.Kind != refuse.KindOverload {
		return isNot, err
	}
	if err != nil {
		return mayBe, err
	}
	// A program without the role sagas cannot be seen. One that still runs ends as soon as it hears of the new key.
	select {
	case <-ctx.Done():
		return is, ctx.Err()
	case <-time.After(c.Settle):
	}
	switch openedNow, now, err := log.CountOpened(ctx, keys); {
	case err != nil:
		return is, fmt.Errorf("the key is recorded; look for values that were sealed meanwhile: %w", err)
	case now-openedNow > all-opened:
		return is, fmt.Errorf("the key is recorded, and a program that still ran has sealed %d values with the former key since; "+
			"that program had the key: look for it on that machine, stop all programs, and record it again with this command",
			now-openedNow-(all-opened))
	}
	fmt.Fprintln(s.err, "the key is recorded; programs that still run with the former key end when they hear of it")
	return is, nil
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
	if len(sealed) > 0 && !log.AnyOpens(sealed, key.keys) {
		return key, f.wrongKey()
	}
	if recorded != key.replaces && recorded != key.keys.Check() {
		return key, f.otherKeyRecorded(ctx, log, key.keys)
	}
	return key, nil
}

// otherKeyRecorded is the error of a start with another key than the log records. A key that opens the values of the log is the right
// one all the same, and an operator may record it.
func (f storeFlags) otherKeyRecorded(ctx context.Context, log *eventlog.Log, keys *eventlog.BlindingKeys) error {
	sealed, _, err := log.SealedEvents(ctx, sealedToTry)
	if err != nil {
		return fmt.Errorf("look for sealed values in the log: %w", err)
	}
	if len(sealed) == 0 || !log.AnyOpens(sealed, keys) {
		return f.wrongKey()
	}
	where := "--eventstore URL"
	if f.Eventstore == "" {
		where = "--data " + f.Data
	}
	return fmt.Errorf("%w: the log records another key than the one in %[2]s, which opens its values; if the other one was recorded by "+
		"mistake, stop all programs, and record this one: casebook key %[2]s --replace-lost %[3]s --reason TEXT",
		errWrongKey, f.blindingKeyFile(), where)
}

// wrongKey is the error of a start with a key that is not the one of the log.
func (f storeFlags) wrongKey() error {
	return fmt.Errorf("%w: the key in %s is not the one that the values of the log are sealed with, so it is another installation's; "+
		"put the right one back from your backup", errWrongKey, f.blindingKeyFile())
}

// recordBlindingKey records the blinding key in a log without a record of it. Of two processes with different keys, which start
// at the same time, one is refused.
func (f storeFlags) recordBlindingKey(ctx context.Context, handler *commands.Handler, key blindingKey) error {
	reason := ""
	if key.replaces != "" {
		reason = "The program found no key at its start, and no value is sealed; it has made a new one."
	}
	err := handler.RecordBlindingKey(ctx, key.replaces, reason)
	if refusal, refused := refuse.As(err); refused && refusal.Code == "blinding_key_differs" {
		return f.wrongKey()
	}
	return part("record the blinding key", err)
}

const (
	// sealedToTry is how many events with sealed values a key is tried on: a single one might have been altered.
	sealedToTry = 20
)
