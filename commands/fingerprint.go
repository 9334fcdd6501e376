package commands

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"casebook/domain"
	"casebook/domain/canonical"
	"casebook/eventlog"

	"github.com/goccy/go-json"
	"github.com/goccy/go-json/jsontext"
)

// The algorithms of the hashes by which a repeated command is told from another command with the same id. Metadata that
// name no algorithm are those of earlier programs, which recorded the SHA-256 of the name and of the body as it was sent.
const (
	// hmacOfCanonical is the HMAC-SHA-256 of name and canonical body. Nobody without the key can try out bodies.
	hmacOfCanonical = "hmac-sha256-canonical"
	// hashOfCanonical is used by programs without the blinding keys. They cannot record commands with blinded content.
	hashOfCanonical = "sha256-canonical"
)

// commandHash is the hash of a command as its events record it.
type commandHash struct{ algorithm, sum string }

func recordedHash(m eventlog.Metadata) commandHash {
	return commandHash{algorithm: m.CommandHashAlgorithm, sum: m.CommandHash}
}

// fingerprint identifies a command by its name and body.
type fingerprint struct {
	// sent is the name and the body as it was sent, canonical the name and the decoded body in its canonical form: with
	// other blanks, members in another order, or 3.0 for 3, it is the same command. Both are only the name if the body
	// holds a secret; canonical then has the stream as well, so that one key does not stand for two accounts.
	sent, canonical []byte
	// former is what earlier programs hashed as canonical; nil where it is the same.
	former []byte
}

// fingerprintOf returns the fingerprint of a request with a decoded body. The body of a process is taken as it was
// recorded and not as it is decoded, because it was recorded in the form of its own time.
func (d *Declaration[S, E, F, C]) fingerprintOf(r Request, body C) (fingerprint, error) {
	if d.secret {
		return fingerprint{sent: []byte(d.name), canonical: []byte(d.name + "\x00" + d.stream(body)), former: []byte(d.name)}, nil
	}
	prefix := []byte(d.name + "\x00")
	value := any(body)
	if c, ok := value.(domain.WithSignature); ok {
		if unsigned, signed := c.WithoutSignature(); signed {
			value = unsigned
		}
	}
	if r.BodyVersion != 0 {
		value = json.RawMessage(r.Body)
	}
	text, err := canonicalJSON(value)
	if err != nil {
		return fingerprint{}, fmt.Errorf("%s: %w", d.name, err)
	}
	prefix = slices.Clip(prefix)
	if d.blinded {
		return fingerprint{sent: []byte(d.name), canonical: append(prefix, text...)}, nil
	}
	return fingerprint{sent: append(prefix, r.Body...), canonical: append(prefix, text...)}, nil
}

// canonicalJSON is canonical.JSON, by a library that takes half the time and a quarter of the memory, and that refuses some JSON which
// processes may have recorded, such as a name that is there twice.
func canonicalJSON(value any) ([]byte, error) {
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	text := jsontext.Value(encoded)
	if text.Canonicalize() != nil {
		return canonical.JSON(value)
	}
	return text, nil
}

// hash returns the hash to record.
func (f fingerprint) hash(log *eventlog.Log) (commandHash, error) {
	if !log.HasBlindingKeys() {
		return f.by(log, hashOfCanonical)
	}
	return f.by(log, hmacOfCanonical)
}

// by returns the hash by an algorithm.
func (f fingerprint) by(log *eventlog.Log, algorithm string) (commandHash, error) {
	var sum []byte
	var err error
	switch algorithm {
	case "":
		plain := sha256.Sum256(f.sent)
		sum = plain[:]
	case hashOfCanonical:
		plain := sha256.Sum256(f.canonical)
		sum = plain[:]
	case hmacOfCanonical:
		sum, err = log.HashCommand(f.canonical)
	default:
		err = errors.New("this version of the program does not know it")
	}
	if err != nil {
		return commandHash{}, fmt.Errorf("hash the command by %q: %w", algorithm, err)
	}
	return commandHash{algorithm: algorithm, sum: base64.StdEncoding.EncodeToString(sum)}, nil
}

// isOf says whether a recorded hash is that of this command.
func (f fingerprint) isOf(log *eventlog.Log, recorded commandHash) (bool, error) {
	own, err := f.by(log, recorded.algorithm)
	same := hmac.Equal([]byte(own.sum), []byte(recorded.sum))
	if err != nil || same || f.former == nil {
		return same, err
	}
	return fingerprint{sent: f.sent, canonical: f.former}.isOf(log, recorded)
}
