package eventlog

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"casebook/domain/personal"

	jsonv1 "github.com/goccy/go-json"
	"github.com/goccy/go-json/jsontext"
	"github.com/goccy/go-json/v2"
)

// personalPrefix marks a sealed personal value. The id of its key and, behind a colon, the encrypted content follow.
const personalPrefix = "personal:1:"

// keyTimeout bounds a request to the store of keys.
const keyTimeout = 10 * time.Second

// Keys are what the values of events are sealed with. Without one of them, values of its kind cannot be written, and blinded values are
// read sealed. Personal values are always read sealed.
type Keys struct {
	Blinding *BlindingKeys
	Personal personal.Keys
	// texts seal the texts of an append; nil where they stay as they are.
	texts *texts
}

// marshal encodes an event with its blinded and personal values and its texts sealed.
func (k Keys) marshal(at Origin, s *Schema, event any) ([]byte, error) {
	if !s.personal {
		return k.Blinding.marshal(at, s.Name, event, k.texts)
	}
	ctx, cancel := context.WithTimeout(context.Background(), keyTimeout)
	defer cancel()
	return json.Marshal(event, jsonv1.DefaultOptionsV1(), json.WithMarshalers(json.MarshalToFunc(
		func(enc *jsontext.Encoder, v personal.Sealer) error {
			key, sealed, err := v.Seal(ctx, k.Personal, boundTo(at, s.Name, enc.StackPointer()))
			if err != nil {
				return err
			}
			return enc.WriteToken(jsontext.String(personalPrefix + string(key) + ":" + base64.StdEncoding.EncodeToString(sealed)))
		})))
}

// unmarshal decodes an event and opens its blinded values. Personal values and texts stay sealed.
func (k Keys) unmarshal(at Origin, s *Schema, data []byte, event any) error {
	if !s.personal {
		return k.Blinding.unmarshal(at, s.Name, data, event)
	}
	return json.Unmarshal(data, event, jsonv1.DefaultOptionsV1(), json.WithUnmarshalers(json.UnmarshalFromFunc(
		func(dec *jsontext.Decoder, v personal.Reader) error {
			bound := boundTo(at, s.Name, dec.StackPointer())
			token, err := dec.ReadToken()
			if err != nil {
				return err
			}
			text, ok := strings.CutPrefix(token.String(), personalPrefix)
			key, encoded, cut := strings.Cut(text, ":")
			if token.Kind() != '"' || !ok || !cut {
				return errors.New("a personal value is not sealed as it should be")
			}
			sealed, err := base64.StdEncoding.DecodeString(encoded)
			if err != nil {
				return errors.New("a personal value is not sealed as it should be: it is not base64")
			}
			v.Read(personal.KeyID(key), sealed, bound)
			return nil
		})))
}

// PersonalKeys returns the keys of personal values; nil if the program has none.
func (l *Log) PersonalKeys() personal.Keys { return l.keys.Personal }
