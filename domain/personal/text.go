package personal

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
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

// HoldsSealedText says whether JSON holds a sealed text. Nobody but a process of this program may send one.
func HoldsSealedText(body []byte) bool { return bytes.Contains(body, []byte(sealedFromJSON)) }

// sealedIn is a sealed text that was found in JSON.
type sealedIn struct {
	from, to int // in the JSON
	key      KeyID
	sealed   []byte
	bound    []byte
}

// sealedTexts returns the sealed texts in JSON. What only looks like one has no key.
func sealedTexts(in []byte) (found []sealedIn) {
	for at := 0; ; {
		begin := bytes.Index(in[at:], []byte(sealedFromJSON))
		if begin < 0 {
			return found
		}
		begin += at
		length := bytes.Index(in[begin:], []byte(sealedToJSON))
		if length < 0 {
			return append(found, sealedIn{from: begin, to: begin + len(sealedFromJSON)})
		}
		s := sealedIn{from: begin, to: begin + length + len(sealedToJSON)}
		at = s.to
		parts := strings.Split(string(in[begin+len(sealedFromJSON):begin+length]), ":")
		if len(parts) == 3 {
			sealed, err := base64.StdEncoding.DecodeString(parts[1])
			bound, errBound := base64.StdEncoding.DecodeString(parts[2])
			if err == nil && errBound == nil {
				s.key, s.sealed, s.bound = KeyID(parts[0]), sealed, bound
			}
		}
		found = append(found, s)
	}
}

// OpenTexts returns JSON with all sealed texts in it opened, wherever they are, also within other texts. It never fails: texts that
// cannot be opened are shown as Redacted, Unreadable or Unavailable, and the error says why they were Unavailable. keys may be nil.
func OpenTexts(ctx context.Context, keys Keys, in []byte) ([]byte, error) {
	if !HoldsSealedText(in) {
		return in, nil
	}
	found := sealedTexts(in)
	var openers map[KeyID]Opener
	err := ErrNoKeys
	if keys != nil {
		var ids []KeyID
		for _, s := range found {
			ids = append(ids, s.key)
		}
		openers, err = keys.Openers(ctx, ids)
	}
	out := make([]byte, 0, len(in))
	at := 0
	for _, s := range found {
		out = append(append(out, in[at:s.from]...), shownOf(s, openers, err)...)
		at = s.to
	}
	return append(out, in[at:]...), err
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
	var text string
	if err != nil || json.Unmarshal(plain, &text) != nil {
		return Unreadable
	}
	var shown bytes.Buffer
	encoder := json.NewEncoder(&shown)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(text) != nil {
		return Unreadable
	}
	return strings.Trim(shown.String(), "\n")[1 : shown.Len()-2]
}

// Trimmed returns the text without blanks around it.
func (t Text) Trimmed() Text { return Text(strings.TrimSpace(string(t))) }
