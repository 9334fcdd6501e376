package personal

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Text is free text that somebody wrote, such as a reason or a note. Names get into such texts, so the log seals them: the texts of one
// command with a key of their own, so that they can be redacted without touching anything else (ICH E6(R3) 4.2.2(b)). What a decision
// makes is the text itself, and so is what a program wrote, or a log without a store of keys. What is read from the log is sealed, and
// can be copied like any text; OpenTexts opens it where it is shown.
type Text string

// A sealed text is the id of its key, the encrypted content and the place that it is bound to, in base64 between colons. It begins and
// ends with characters that no text may hold that somebody writes, and that JSON always escapes.
const (
	sealedFrom, sealedTo = "\x02", "\x03"
	sealedFromJSON       = `\u0002`
	sealedToJSON         = `\u0003`
)

// What is shown in place of texts that cannot be opened.
const (
	// Redacted takes the place of a text whose key was destroyed.
	Redacted = "(redacted)"
	// Unreadable takes the place of a text whose key the store does not have, or that was altered.
	Unreadable = "(unreadable: its key is missing)"
	// Unavailable takes the place of all texts while the store of keys does not answer.
	Unavailable = "(cannot be read now: the store of keys does not answer)"
)

// SealedText returns the sealed text with this key and content, which is bound to a place.
func SealedText(key KeyID, sealed, bound []byte) Text {
	return Text(sealedFrom + string(key) + ":" + base64.StdEncoding.EncodeToString(sealed) + ":" + base64.StdEncoding.EncodeToString(bound) +
		sealedTo)
}

// Sealed says whether the text was read from the log, and is sealed, or has such a text in it.
func (t Text) Sealed() bool { return strings.Contains(string(t), sealedFrom) }

// MayHoldSealedText says whether there may be a sealed text in JSON. Without one, nothing has to be looked for.
func MayHoldSealedText(in []byte) bool { return bytes.Contains(in, []byte(sealedFromJSON)) }

// sealedIn is a sealed text that was found in JSON.
type sealedIn struct {
	from, to int // in the JSON
	key      KeyID
	sealed   []byte
	bound    []byte
}

// sealedTexts returns the sealed texts in JSON. What only begins like one has no key.
func sealedTexts(in []byte) (found []sealedIn) {
	for at := 0; ; {
		begin := escapeIn(in, at, sealedFromJSON)
		if begin < 0 {
			return found
		}
		at = begin + len(sealedFromJSON)
		end := at
		for end < len(in) && (in[end] == ':' || in[end] == '+' || in[end] == '/' || in[end] == '=' || isAlphanumeric(in[end])) {
			end++
		}
		if !bytes.HasPrefix(in[end:], []byte(sealedToJSON)) {
			found = append(found, sealedIn{from: begin, to: at})
			continue
		}
		s := sealedIn{from: begin, to: end + len(sealedToJSON)}
		parts := strings.Split(string(in[at:end]), ":")
		if len(parts) == 3 {
			sealed, err := base64.StdEncoding.DecodeString(parts[1])
			bound, errBound := base64.StdEncoding.DecodeString(parts[2])
			if err == nil && errBound == nil {
				s.key, s.sealed, s.bound = KeyID(parts[0]), sealed, bound
			}
		}
		found, at = append(found, s), s.to
	}
}

func isAlphanumeric(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z'
}

// escapeIn returns where JSON has an escape from a place on; -1 if it has none. Behind a backslash that is escaped itself, the same
// characters are a text that somebody wrote.
func escapeIn(in []byte, from int, escape string) int {
	for {
		n := bytes.Index(in[from:], []byte(escape))
		if n < 0 {
			return -1
		}
		from += n
		before := 0
		for from-before > 0 && in[from-before-1] == '\\' {
			before++
		}
		if before%2 == 0 {
			return from
		}
		from += len(escape)
	}
}

// OpenTexts returns JSON with all sealed texts in it opened, wherever they are, also within other texts. It never fails: texts that
// cannot be opened are shown as Redacted, Unreadable or Unavailable, and the error says why they were Unavailable. keys may be nil.
func OpenTexts(ctx context.Context, keys Keys, in []byte) ([]byte, error) {
	found := sealedTexts(in)
	if len(found) == 0 {
		return in, nil
	}
	openers, err := openersOf(ctx, keys, slices.Values(found))
	out := make([]byte, 0, len(in))
	at := 0
	for _, s := range found {
		out = append(append(out, in[at:s.from]...), shownOf(s, openers, err)...)
		at = s.to
	}
	return append(out, in[at:]...), err
}

// openersOf returns what opens texts, with one question to the store. It fails with ErrNoKeys if keys is nil.
func openersOf(ctx context.Context, keys Keys, texts iter.Seq[sealedIn]) (map[KeyID]Opener, error) {
	if keys == nil {
		return nil, ErrNoKeys
	}
	var ids []KeyID
	for s := range texts {
		ids = append(ids, s.key)
	}
	slices.Sort(ids) // most texts of a list have the key of another one
	return keys.Openers(ctx, slices.Compact(ids))
}

// Opened returns what sealed texts say, by the sealed text. One that is redacted or was altered is left out, and so is what is not a sealed
// text from its beginning to its end. It fails with ErrNoKeys if keys is nil, with ErrUnknownKey, and where the store does not answer.
func Opened(ctx context.Context, keys Keys, texts []Text) (map[Text]string, error) {
	sealed := map[Text]sealedIn{}
	for _, t := range texts {
		in, err := json.Marshal(string(t))
		if err != nil {
			return nil, errors.New("a text has no JSON") // the error could show it
		}
		if found := sealedTexts(in); len(found) == 1 && found[0].from == 1 && found[0].to == len(in)-1 {
			sealed[t] = found[0]
		}
	}
	opened := make(map[Text]string, len(sealed))
	if len(sealed) == 0 {
		return opened, nil
	}
	openers, err := openersOf(ctx, keys, maps.Values(sealed))
	if err != nil {
		return nil, err
	}
	for t, s := range sealed {
		open, known := openers[s.key]
		if !known {
			return nil, ErrUnknownKey
		}
		var text string
		if plain, err := open(s.sealed, s.bound); err == nil && json.Unmarshal(plain, &text) == nil {
			opened[t] = text
		}
	}
	return opened, nil
}

// shownOf returns a text as it is shown within a string of JSON.
func shownOf(s sealedIn, openers map[KeyID]Opener, failed error) string {
	open, known := openers[s.key]
	switch {
	case failed != nil:
		return Unavailable
	case !known:
		return Unreadable
	}
	plain, err := open(s.sealed, s.bound)
	if errors.Is(err, ErrDestroyed) {
		return Redacted
	}
	text := bytes.TrimSpace(plain) // it is filled up with blanks
	if err != nil || !json.Valid(text) || text[0] != '"' {
		return Unreadable
	}
	return string(text[1 : len(text)-1])
}

// Trimmed returns the text without blanks around it.
func (t Text) Trimmed() Text { return Text(strings.TrimSpace(string(t))) }
