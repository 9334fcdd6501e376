package codebreak

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/eventlog"

	"filippo.io/age"
)

// Options of an Exporter.
type Options struct {
	// Log has the blinding keys. Verifier says which of its events are part of the record.
	Log      *eventlog.Log
	Verifier *eventlog.Verifier
	// Dir is the directory of the envelopes. It is made if it does not exist.
	Dir string
	// Recipients are the public keys of those who can open the envelopes.
	Recipients []*age.X25519Recipient
	// Record records that envelopes are written, before they are; of no patients if all of the study's are.
	Record func(context.Context, domain.StudyID, []domain.PatientID) error
	Logger *slog.Logger
}

// Exporter keeps the envelopes of all drawn patients in a directory up to date.
type Exporter struct {
	Options
	signer  ed25519.PrivateKey
	nameKey []byte
	to      []age.Recipient

	mu     sync.Mutex
	failed error
}

// NewExporter returns an exporter. It fails without recipients and with eventlog.ErrNoBlindingKeys.
func NewExporter(o Options) (*Exporter, error) {
	if len(o.Recipients) == 0 {
		return nil, errors.New("no key can open the envelopes: name a recipient")
	}
	seed, err := o.Log.CodeBreakKey("signer")
	if err != nil {
		return nil, err
	}
	nameKey, err := o.Log.CodeBreakKey("names")
	if err != nil {
		return nil, err
	}
	e := &Exporter{Options: o, signer: ed25519.NewKeyFromSeed(seed), nameKey: nameKey}
	for _, r := range o.Recipients {
		e.to = append(e.to, r)
	}
	return e, nil
}

// PublicKey returns the key with which whoever opens an envelope checks that this installation has sealed it.
func (e *Exporter) PublicKey() ed25519.PublicKey {
	return e.signer.Public().(ed25519.PublicKey) //nolint:forcetypeassert // it is one by its documentation
}

// errWritten ends the following of the log when the envelopes are written.
var errWritten = errors.New("the envelopes are written")

// Export writes all envelopes as the log has them now, and returns how many.
func (e *Exporter) Export(ctx context.Context) (written int, err error) {
	err = e.follow(ctx, func(n int) error {
		written = n
		return errWritten
	})
	if errors.Is(err, errWritten) {
		return written, nil
	}
	return written, cmp.Or(err, ctx.Err())
}

// retryAfter is how long Run waits after a failure before it writes all envelopes again. After each further one it waits twice as long, up
// to retryAtMost: every attempt is recorded.
const (
	retryAfter  = 5 * time.Second
	retryAtMost = 10 * time.Minute
)

// Run writes all envelopes, and then again those whose patients something happens to, until ctx ends. After a failure, such as a
// full disk, it writes all of them again.
func (e *Exporter) Run(ctx context.Context) error {
	for wait := retryAfter; ; wait = min(2*wait, retryAtMost) {
		err := e.follow(ctx, func(int) error {
			e.note(nil)
			wait = retryAfter
			return nil
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is no failure
		}
		e.note(err)
		e.Logger.Error("the code break envelopes are not up to date", "dir", e.Dir, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Check returns why the envelopes are not up to date; nil if they are.
func (e *Exporter) Check(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed
}

func (e *Exporter) note(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failed = err
}

// categories are those of the streams that say what is in an envelope.
var categories = []string{study.Decider.Category, patient.Decider.Category, randomisation.Decider.Category, supply.StockDecider.Category}

// follow reads the log from its beginning. At its end it writes the envelopes of all patients, and then those that change. It calls
// written with their number each time.
func (e *Exporter) follow(ctx context.Context, written func(int) error) error {
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return err
	}
	end, err := e.Log.End(ctx)
	if err != nil {
		return err
	}
	all, whole := newContents(), true
	return e.Log.Follow(ctx, eventlog.Subscription{Categories: categories, KeepUnreadable: true, Unfiltered: true},
		func(ctx context.Context, b eventlog.Batch) error {
			if err := e.Verifier.Check(ctx, b.Events); err != nil {
				return err
			}
			for _, at := range b.Events {
				all.follow(at)
			}
			if whole && !b.Live && b.Through.Before(end) {
				return nil
			}
			n, err := e.write(ctx, all, whole, b.Through.Commit)
			if err != nil {
				return err
			}
			whole = false
			return written(n)
		})
}

// write writes the envelopes that have changed, or all of them, and the index.
func (e *Exporter) write(ctx context.Context, all *contents, whole bool, asOf uint64) (written int, err error) {
	changed := all.takeChanged()
	if len(changed) == 0 && !whole {
		return 0, nil
	}
	now := time.Now().UTC()
	for _, of := range slices.Sorted(maps.Keys(changed)) {
		patients := changed[of]
		named := patients
		if whole {
			named = nil
		}
		if err := e.Record(ctx, of, named); err != nil {
			return written, fmt.Errorf("record that envelopes of study %s are written: %w", of, err)
		}
		for _, id := range patients {
			content, arms := all.of(id)
			content.AsOf, content.SealedAt = asOf, now
			file, err := seal(content, arms, e.signer, e.to)
			if err == nil {
				err = write(e.Dir, e.nameOf(id), file)
			}
			if err != nil {
				return written, fmt.Errorf("write an envelope: %w", err)
			}
			written++
		}
	}
	return written, e.writeIndex(all, asOf, now)
}

func (e *Exporter) writeIndex(all *contents, asOf uint64, now time.Time) error {
	of := index{AsOf: asOf, SealedAt: now, Entries: []Entry{}}
	for _, id := range slices.Sorted(maps.Keys(all.patients)) {
		p := all.patients[id]
		if !p.drawn {
			continue
		}
		entry := Entry{Patient: id, PatientNumber: p.PatientNumber, Site: p.Site, File: e.nameOf(id)}
		for _, k := range p.Kits {
			entry.Kits = append(entry.Kits, k.Kit)
		}
		of.Entries = append(of.Entries, entry)
	}
	text, err := json.Marshal(of)
	if err != nil {
		return err
	}
	file, err := encrypt(text, e.to)
	if err != nil {
		return err
	}
	if err := write(e.Dir, indexFile, file); err != nil {
		return fmt.Errorf("write which envelope is whose: %w", err)
	}
	return nil
}

// nameOf returns the name of a patient's file. It is the same each time, and tells nobody without the key whose file it is.
func (e *Exporter) nameOf(id domain.PatientID) string {
	mac := hmac.New(sha256.New, e.nameKey)
	mac.Write([]byte(id))
	return hex.EncodeToString(mac.Sum(nil)[:16]) + ".age"
}
