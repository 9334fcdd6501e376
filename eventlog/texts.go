package eventlog

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"reflect"
	"strings"
	"time"

	"casebook/domain/blind"
	"casebook/domain/personal"
	"casebook/domain/user"

	"github.com/goccy/go-json/jsontext"
	"github.com/goccy/go-json/v2"
)

// Texts that people write are sealed as they are stored, with a key for all texts of one append: most of them are the reason of the
// command, which is in the metadata of each of its events. They are sealed again in the form personal.SealedText when they are read, which
// needs no key.

// textPrefix marks a text that is sealed and bound to the place where it is stored. The id of its key and, behind a colon, the encrypted
// content follow.
const textPrefix = "text:1:"

// sealTimeout bounds the wait for a key to seal texts with. Others wait for the stream meanwhile.
const sealTimeout = 2 * time.Second

// reasonField is the place of the reason in the metadata of an event.
const reasonField jsontext.Pointer = "/metadata/reason"

var textType = reflect.TypeFor[personal.Text]()

// texts seal the texts of one append.
type texts struct {
	keys personal.Keys
	id   personal.KeyID
	seal personal.Sealing // nil until there is something to seal
}

// textsOf returns what seals the texts of an append; nil where they stay as they are: in a log without a store of keys, and where a
// program wrote them.
func (k Keys) textsOf(m Metadata) *texts {
	if k.Personal == nil || m.Role == string(user.System) {
		return nil
	}
	return &texts{keys: k.Personal}
}

// stored returns a text as it is stored in a field of an event.
func (t *texts) stored(of personal.Text, at Origin, event string, field jsontext.Pointer) (personal.Text, error) {
	if t == nil || of == "" || of.Sealed() {
		return of, nil
	}
	if t.seal == nil {
		ctx, cancel := context.WithTimeout(context.Background(), sealTimeout)
		defer cancel()
		var err error
		if t.id, t.seal, err = t.keys.Sealer(ctx); err != nil {
			return "", &unavailable{err}
		}
	}
	plain, err := json.Marshal(string(of))
	if err != nil {
		return "", errors.New("a text has no JSON") // the error could show it
	}
	sealed := t.seal(blind.Fill(plain, personal.Unit), boundTo(at, event, field))
	return personal.Text(textPrefix + string(t.id) + ":" + base64.StdEncoding.EncodeToString(sealed)), nil
}

// haveSealed says whether texts of the append were sealed.
func (t *texts) haveSealed() bool { return t != nil && t.seal != nil }

// readText returns a text that was stored in a field of an event.
func readText(stored string, at Origin, event string, field jsontext.Pointer) personal.Text {
	text, is := strings.CutPrefix(stored, textPrefix)
	if !is {
		return personal.Text(stored)
	}
	key, encoded, cut := strings.Cut(text, ":")
	sealed, err := base64.StdEncoding.DecodeString(encoded)
	if !cut || err != nil {
		return personal.Text(stored)
	}
	return personal.SealedText(personal.KeyID(key), sealed, boundTo(at, event, field))
}

// sealTexts is the marshaler of texts at a place.
func (p *place) sealTexts() *json.Marshalers {
	return json.MarshalToFunc(func(enc *jsontext.Encoder, v personal.Text) error {
		stored, err := p.texts.stored(v, p.at, p.event, enc.StackPointer())
		if err != nil {
			return err
		}
		return enc.WriteToken(jsontext.String(string(stored)))
	})
}

// readTexts is the unmarshaler of texts at a place. Among values of any type, a string is a text if it was sealed.
func (p *place) readTexts() *json.Unmarshalers {
	read := func(dec *jsontext.Decoder) (personal.Text, error) {
		field := dec.StackPointer()
		token, err := dec.ReadToken()
		if err != nil {
			return "", err
		}
		return readText(token.String(), p.at, p.event, field), nil
	}
	return json.JoinUnmarshalers(
		json.UnmarshalFromFunc(func(dec *jsontext.Decoder, v *any) error {
			if dec.PeekKind() != '"' {
				return errors.ErrUnsupported // decoded as ever
			}
			text, err := read(dec)
			if *v = string(text); text.Sealed() {
				*v = text
			}
			return err
		}),
		json.UnmarshalFromFunc(func(dec *jsontext.Decoder, v *personal.Text) (err error) {
			switch dec.PeekKind() {
			case '"':
				*v, err = read(dec)
				return err
			case 'n':
				*v = ""
				return dec.SkipValue()
			default:
				return errors.New("a text is not one")
			}
		}))
}

// hasSealedTexts says whether the JSON of an event may hold texts that are sealed.
func hasSealedTexts(data []byte) bool {
	return bytes.Contains(data, []byte(`"`+textPrefix)) || personal.MayHoldSealedText(data)
}

// mayHoldTexts is a type, such as the answers of a diary, whose values have texts among others.
type mayHoldTexts interface{ HoldsTexts() bool }

var holder = reflect.TypeFor[mayHoldTexts]()

// textsIn says where events of a type have texts.
type textsIn struct {
	fields [][]int
	// holders are the fields whose values say themselves whether they have any.
	holders [][]int
	// deep says that there may be others, in lists and behind pointers.
	deep bool
}

// textsInType returns where events of a type have texts.
func textsInType(t reflect.Type) (in textsIn) {
	if t.Kind() != reflect.Struct {
		in.deep = holds(t, mayBeText)
		return in
	}
	for i := range t.NumField() {
		field := t.Field(i)
		switch {
		case field.Type == textType:
			in.fields = append(in.fields, field.Index)
		case field.Type.Implements(holder):
			in.holders = append(in.holders, field.Index)
		case field.Type.Kind() == reflect.Struct:
			inner := textsInType(field.Type)
			for _, index := range inner.fields {
				in.fields = append(in.fields, append([]int{i}, index...))
			}
			for _, index := range inner.holders {
				in.holders = append(in.holders, append([]int{i}, index...))
			}
			in.deep = in.deep || inner.deep
		default:
			in.deep = in.deep || holds(field.Type, mayBeText)
		}
	}
	return in
}

// any says whether there are such events at all.
func (in textsIn) any() bool { return in.deep || len(in.fields) > 0 || len(in.holders) > 0 }

// of says whether an event may have texts.
func (in textsIn) of(event any) bool {
	if in.deep {
		return true
	}
	v := reflect.ValueOf(event)
	for _, field := range in.fields {
		if v.FieldByIndex(field).Len() > 0 {
			return true
		}
	}
	for _, field := range in.holders {
		if of, is := v.FieldByIndex(field).Interface().(mayHoldTexts); is && of.HoldsTexts() {
			return true
		}
	}
	return false
}

// mayBeText says of a type that its values are texts, or can be.
func mayBeText(t reflect.Type) bool {
	return t == textType || t.Kind() == reflect.Interface || t.Implements(holder)
}
