package eventlog

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"

	jsonv1 "github.com/goccy/go-json"
	"github.com/goccy/go-json/jsontext"
	"github.com/goccy/go-json/v2"
)

// BlindingKeyBytes is the length of the key from which the studies' blinding keys are derived.
const BlindingKeyBytes = 32

// BlindingKeys seal and open the blinded values of events. Each study has its own key. A Log without keys reads the
// same events with their blinded values sealed; blinded views are built from such a Log (ICH E6(R3) 4.1.1: the design
// of the systems keeps the blinding).
type BlindingKeys struct {
	secret  []byte
	ciphers sync.Map // domain.StudyID -> cipher.AEAD
	// hashKey is the key of the hashes of commands, proofKey that of the proofs of resolutions.
	hashKey, proofKey []byte
	check             string
	places
}

// NewBlindingKeys returns the keys that are derived from a secret of BlindingKeyBytes bytes.
func NewBlindingKeys(secret []byte) (*BlindingKeys, error) {
	if len(secret) != BlindingKeyBytes {
		return nil, fmt.Errorf("the blinding key has %d bytes; it needs %d", len(secret), BlindingKeyBytes)
	}
	hashKey, err := hkdf.Key(sha256.New, secret, nil, "casebook/hash/command", sha256.Size)
	if err != nil {
		return nil, err
	}
	proofKey, err := hkdf.Key(sha256.New, secret, nil, "casebook/proof/resolution", sha256.Size)
	if err != nil {
		return nil, err
	}
	check, err := hkdf.Key(sha256.New, secret, nil, "casebook/check/blinding", sha256.Size)
	if err != nil {
		return nil, err
	}
	return &BlindingKeys{secret: bytes.Clone(secret), hashKey: hashKey, proofKey: proofKey,
		check: base64.StdEncoding.EncodeToString(check)}, nil
}

// Check returns a value that is derived from the secret and does not reveal it. Other keys have another one.
func (k *BlindingKeys) Check() string { return k.check }

// ErrNoBlindingKeys is returned when a program without the keys would have to write a blinded value.
var ErrNoBlindingKeys = errors.New("this program runs without the blinding keys")

// Origin says where an event is recorded: in which study and stream, and by which command. The event's blinded values
// are bound to it, so that a sealed value opens nowhere else.
type Origin struct {
	Study     domain.StudyID
	Stream    string
	CommandID string
}

const (
	// formerPrefix marks values that earlier programs sealed. They are bound to study and event type only, and open as
	// before. New values have the prefix sealedPrefix.
	formerPrefix = "sealed:1:"
	sealedPrefix = "sealed:2:"
)

// cipher returns the cipher with the study's key.
func (k *BlindingKeys) cipher(study domain.StudyID) (cipher.AEAD, error) {
	if k == nil {
		return nil, ErrNoBlindingKeys
	}
	if study == "" {
		return nil, errors.New("a blinded value belongs to a study, and the event names none")
	}
	if c, ok := k.ciphers.Load(study); ok {
		return c.(cipher.AEAD), nil
	}
	key, err := hkdf.Key(sha256.New, k.secret, nil, "casebook/blinding/"+string(study), BlindingKeyBytes)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	c, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	k.ciphers.Store(study, c)
	return c, nil
}

// seal encrypts a value whose plain JSON is first filled up to a multiple of unit bytes.
func (k *BlindingKeys) seal(at Origin, event string, field jsontext.Pointer, plain []byte, unit int) (string, error) {
	c, err := k.cipher(at.Study)
	if err != nil {
		return "", err
	}
	padded := blind.Fill(plain, unit)
	// GCM with random nonces is safe for 2^32 values per key (NIST SP 800-38D, 8.3), which no study reaches.
	sealed := make([]byte, 0, len(padded)+c.Overhead())
	sealed = c.Seal(sealed, nil, padded, boundTo(at, event, field)) // #nosec G407 -- the cipher makes the nonce itself
	text := make([]byte, 0, len(sealedPrefix)+base64.StdEncoding.EncodedLen(len(sealed)))
	return string(base64.StdEncoding.AppendEncode(append(text, sealedPrefix...), sealed)), nil
}

func (k *BlindingKeys) open(at Origin, event string, field jsontext.Pointer, sealed string) ([]byte, error) {
	c, err := k.cipher(at.Study)
	if err != nil {
		return nil, err
	}
	bound := boundTo(at, event, field)
	text, ok := strings.CutPrefix(sealed, sealedPrefix)
	if !ok {
		if text, ok = strings.CutPrefix(sealed, formerPrefix); !ok {
			return nil, errors.New("a blinded value is not sealed as it should be")
		}
		bound = []byte(string(at.Study) + "\x00" + event)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("a sealed value is not base64: %w", err)
	}
	plain, err := c.Open(nil, nil, raw, bound)
	if err != nil {
		return nil, fmt.Errorf("the sealed value %s of a %s in %s does not open: another blinding key is in use, or it was altered, "+
			"or copied from elsewhere: %w", field, event, at.Stream, err)
	}
	return plain, nil
}

// boundTo returns the additional data that bind a sealed value to its place. The event's id is not among them, because
// it is derived from the sealed bytes.
func boundTo(at Origin, event string, field jsontext.Pointer) []byte {
	return []byte(strings.Join([]string{string(at.Study), at.Stream, at.CommandID, event, string(field)}, "\x00"))
}

// HasBlindingKeys reports whether blinded values can be read and written.
func (l *Log) HasBlindingKeys() bool { return l.keys.Blinding != nil }

// BlindingKeyCheck returns the Check of the log's keys. Without the keys it fails with ErrNoBlindingKeys.
func (l *Log) BlindingKeyCheck() (string, error) {
	if l.keys.Blinding == nil {
		return "", ErrNoBlindingKeys
	}
	return l.keys.Blinding.Check(), nil
}

// HashCommand returns the HMAC-SHA-256 of a command's name and body under a key that is derived from the secret of the
// blinding keys. Without the keys it fails with ErrNoBlindingKeys.
func (l *Log) HashCommand(message []byte) ([]byte, error) {
	if l.keys.Blinding == nil {
		return nil, ErrNoBlindingKeys
	}
	mac := hmac.New(sha256.New, l.keys.Blinding.hashKey)
	mac.Write(message)
	return mac.Sum(nil), nil
}

// CodeBreakKey returns a key of 32 bytes for a use of code break envelopes. It is derived from the secret of the blinding keys, so
// that all programs with the secret have the same. Without the keys it fails with ErrNoBlindingKeys.
func (l *Log) CodeBreakKey(use string) ([]byte, error) {
	if l.keys.Blinding == nil {
		return nil, ErrNoBlindingKeys
	}
	return hkdf.Key(sha256.New, l.keys.Blinding.secret, nil, "casebook/codebreak/"+use, sha256.Size)
}

// place is where a blinded value is sealed or opened: an event of this name at an origin. It has JSON options of its own, which do
// that. The library prepares itself for a type of event once for each such options, so places are kept and used again.
type place struct {
	at      Origin
	event   string
	texts   *texts // nil where texts stay as they are
	options json.Options
}

// sealing returns a place whose options seal blinded values and texts.
func (k *BlindingKeys) sealing() *place {
	p := &place{}
	p.options = json.JoinOptions(jsonv1.DefaultOptionsV1(), json.WithMarshalers(json.JoinMarshalers(p.sealTexts(),
		json.MarshalToFunc(func(enc *jsontext.Encoder, v blind.Sealer) error {
			field := enc.StackPointer()
			sealed, err := v.SealWith(func(plain []byte) (string, error) { return k.seal(p.at, p.event, field, plain, v.SealedUnit()) })
			if err != nil {
				return err
			}
			return enc.WriteToken(jsontext.String(sealed))
		}))))
	return p
}

// opening returns a place whose options open blinded values, if there are keys, and read texts.
func (k *BlindingKeys) opening() *place {
	p := &place{}
	reads := p.readTexts()
	if k != nil {
		reads = json.JoinUnmarshalers(reads, json.UnmarshalFromFunc(func(dec *jsontext.Decoder, v blind.Unsealer) error {
			field := dec.StackPointer()
			token, err := dec.ReadToken()
			if err != nil {
				return err
			}
			if token.Kind() != '"' {
				return errors.New("a blinded value is not sealed as it should be")
			}
			plain, err := k.open(p.at, p.event, field, token.String())
			if err != nil {
				return err
			}
			return v.UnsealFrom(plain)
		}))
	}
	p.options = json.JoinOptions(jsonv1.DefaultOptionsV1(), json.WithUnmarshalers(reads))
	return p
}

// places are those that are not in use.
type places struct{ sealings, openings sync.Pool }

// unblinded are the places of programs without keys.
var unblinded places

func (k *BlindingKeys) free() *places {
	if k == nil {
		return &unblinded
	}
	return &k.places
}

// marshal encodes an event with its blinded values and its texts sealed. Without keys it fails where there are blinded values.
func (k *BlindingKeys) marshal(at Origin, name string, event any, texts *texts) ([]byte, error) {
	p, ok := k.free().sealings.Get().(*place)
	if !ok {
		p = k.sealing()
	}
	defer k.free().sealings.Put(p)
	p.at, p.event, p.texts = at, name, texts
	defer func() { p.texts = nil }()
	return json.Marshal(event, p.options)
}

// unmarshal decodes an event and opens its blinded values; without keys they stay sealed. Its texts stay sealed.
func (k *BlindingKeys) unmarshal(at Origin, name string, data []byte, event any) error {
	if k == nil && !hasSealedTexts(data) {
		return json.Unmarshal(data, event, jsonv1.DefaultOptionsV1())
	}
	p, ok := k.free().openings.Get().(*place)
	if !ok {
		p = k.opening()
	}
	defer k.free().openings.Put(p)
	p.at, p.event = at, name
	return json.Unmarshal(data, event, p.options)
}

// The interfaces by which values are found that are sealed.
var (
	blindedSealer  = reflect.TypeFor[blind.Sealer]()
	personalSealer = reflect.TypeFor[personal.Sealer]()
)

// implements returns a question for holds.
func implements(kind reflect.Type) func(reflect.Type) bool {
	return func(t reflect.Type) bool { return t.Implements(kind) }
}

// holds reports whether a question is true of the type, or of one that it contains. What sealed values hold is not looked at.
func holds(t reflect.Type, is func(reflect.Type) bool) bool {
	seen := map[reflect.Type]bool{}
	var held func(reflect.Type) bool
	held = func(t reflect.Type) bool {
		if is(t) {
			return true
		}
		if seen[t] || t.Implements(blindedSealer) || t.Implements(personalSealer) {
			return false
		}
		seen[t] = true
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			return held(t.Elem())
		case reflect.Struct:
			for i := range t.NumField() {
				if held(t.Field(i).Type) {
					return true
				}
			}
		default:
		}
		return false
	}
	return held(t)
}
