package eventlog

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"casebook/domain"
)

// StreamCheck checks the events of one stream, one after another. It leaves out what two people have decided to disregard.
type StreamCheck struct {
	log    *Log
	stream string
	tail   Tail
	// damage is what the last event belongs to; nil where it was sound.
	damage *domain.Damage
	// resolutions are those of the stream's damages, by revision. They are read with the first damage.
	resolutions map[uint64]domain.Resolution
}

// CheckStream returns a check of the events of a stream that come after a sound end, EmptyTail for the whole stream.
func (l *Log) CheckStream(stream string, after Tail) *StreamCheck {
	return &StreamCheck{log: l, stream: stream, tail: after}
}

// Tail returns the end behind which the stream goes on: the hash is that of the last sound event, and the revision that of the
// last event that is sound or disregarded.
func (c *StreamCheck) Tail() Tail { return c.tail }

// Next checks the next event of the stream. It returns the damage to which the event belongs, and nil if the event is sound.
// Behind a damage that is not resolved no event is sound.
func (c *StreamCheck) Next(ctx context.Context, next Recorded) (*domain.Damage, error) {
	if c.damage != nil && c.damage.Covers(next.Revision, next.Position) {
		c.leaveOut(next)
		return c.damage, nil
	}
	tail, damage := c.log.registry.CheckNext(c.tail, next)
	if c.damage = damage; damage == nil {
		c.tail = tail
		return nil, nil
	}
	if c.resolutions == nil {
		var err error
		if c.resolutions, err = c.log.resolutions(ctx, c.stream); err != nil {
			c.damage = nil
			return nil, err
		}
	}
	if r, is := c.resolutions[damage.Revision]; is && next.Position.Before(r.Position) {
		damage.Resolution = &r
	}
	c.leaveOut(next)
	return damage, nil
}

// leaveOut goes behind an event that is disregarded. Nothing goes on behind a damage that is not resolved.
func (c *StreamCheck) leaveOut(r Recorded) {
	if c.damage.Resolution != nil {
		c.tail.Revision = int64(r.Revision)
	}
}

// Damages reads a stream from its beginning and returns its damages: those that are resolved, and at most one, the last, that
// is not. A stream that was deleted for good has nothing left that could be damaged.
func (l *Log) Damages(ctx context.Context, stream string) (damages []domain.Damage, err error) {
	check := l.CheckStream(stream, EmptyTail)
	for r, err := range l.ReadStream(ctx, stream, 0) {
		if undecodable := (*UndecodableError)(nil); errors.As(err, &undecodable) {
			r = undecodable.Event
		} else if errors.Is(err, ErrStreamDeleted) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		damage, err := check.Next(ctx, r)
		if err != nil {
			return nil, err
		}
		if damage != nil && (len(damages) == 0 || damages[len(damages)-1].Revision != damage.Revision) {
			damages = append(damages, *damage)
		}
	}
	return damages, nil
}

var resolver = reflect.TypeFor[domain.ResolvesDamage]()

// resolvedBy returns the name of the stream whose damages a stream resolves; false if it is no such stream.
func (r *Registry) resolvedBy(stream string) (of string, is bool) {
	if r.resolutions == "" {
		return "", false
	}
	return strings.CutPrefix(stream, r.resolutions+"-")
}

// ResolutionsOf returns the name of the stream whose damages are resolved in a stream, and false if the stream is no such one.
func (l *Log) ResolutionsOf(stream string) (of string, is bool) { return l.registry.resolvedBy(stream) }

// maxResolvable bounds the names, in bytes, of streams whose damages can be resolved. Names of this program's streams are
// shorter. A forger may make longer ones, up to what the store allows: their resolutions would have no stream to be in, and
// those of resolutions of resolutions would be looked for for ever.
const maxResolvable = 512

// resolutions returns the resolutions of a stream's damages, by the revisions at which the damages begin. The first one of
// each damage counts.
func (l *Log) resolutions(ctx context.Context, stream string) (map[uint64]domain.Resolution, error) {
	found := map[uint64]domain.Resolution{}
	if l.registry.resolutions == "" || len(stream) > maxResolvable {
		return found, nil
	}
	for r, err := range l.ReadSound(ctx, l.registry.resolutions+"-"+stream) {
		if err != nil {
			return nil, fmt.Errorf("read the resolutions of %s: %w", stream, err)
		}
		e, is := r.Event.(domain.ResolvesDamage)
		if !is {
			continue
		}
		of, revision, resolution, proof := e.ResolvedDamage()
		if _, known := found[revision]; known || of != stream || !l.proves(proof, of, revision) {
			continue
		}
		resolution.Position, resolution.ConfirmedBy, resolution.At = r.Position, r.Metadata.Actor, r.Metadata.RecordedAt
		found[revision] = resolution
	}
	return found, nil
}

// ProveResolution returns the proof that a program with the keys resolves the damage of a stream. Without the keys there is
// none, and programs with the keys will not accept the resolution.
func (l *Log) ProveResolution(stream string, revision uint64) string {
	if l.proofKey == nil {
		return ""
	}
	mac := hmac.New(sha256.New, l.proofKey)
	mac.Write([]byte("resolution\x00" + stream + "\x00" + strconv.FormatUint(revision, 10)))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// proves says whether a proof is right. A log without the key accepts every proof.
func (l *Log) proves(proof, stream string, revision uint64) bool {
	return l.proofKey == nil || hmac.Equal([]byte(proof), []byte(l.ProveResolution(stream, revision)))
}

// CheckProofsWith gives a log that reads blinded values sealed the key by which it recognises resolutions.
func (l *Log) CheckProofsWith(keys *BlindingKeys) { l.proofKey = keys.proofKey }
