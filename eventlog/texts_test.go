package eventlog_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"
	"casebook/eventlog"
	"casebook/keystore"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

type remark struct {
	By   string        `json:"by"`
	Text personal.Text `json:"text,omitempty"`
}

// remarked has texts of its own, in a list, and beside a blinded value.
type remarked struct {
	Patient string                    `json:"patient"`
	Reason  personal.Text             `json:"reason,omitempty"`
	Remarks []remark                  `json:"remarks,omitempty"`
	Arm     blind.Value[domain.ArmID] `json:"arm"`
}

// reasoned has one text.
type reasoned struct {
	Patient string        `json:"patient"`
	Reason  personal.Text `json:"reason,omitempty"`
}

// textStore is a store of keys in a file.
func textStore(t *testing.T) *keystore.Store {
	t.Helper()
	keys, err := keystore.OpenFile(t.Context(), filepath.Join(t.TempDir(), "keys.db"), bytes.Repeat([]byte{7}, keystore.KeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := keys.Close(); err != nil {
			t.Error(err)
		}
	})
	return keys
}

func textLog(t *testing.T, keys personal.Keys, blinding *eventlog.BlindingKeys) *eventlog.Log {
	t.Helper()
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: eventStoreURL, PersonalKeys: keys, BlindingKeys: blinding,
		Registry: eventlog.NewRegistry(domain.StreamType{Category: "remark", Events: []domain.EventType{
			domain.Stored[remarked]("Remarked"), domain.Stored[reasoned]("Reasoned")}})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return log
}

// shown returns what somebody sees of events and their reasons.
func shown(t *testing.T, keys personal.Keys, events []eventlog.Recorded) string {
	t.Helper()
	var all []any
	for _, e := range events {
		all = append(all, e.Event, e.Metadata.Reason)
	}
	var answer bytes.Buffer
	encoder := json.NewEncoder(&answer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(all); err != nil {
		t.Fatal(err)
	}
	opened, err := personal.OpenTexts(t.Context(), keys, answer.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return string(opened)
}

// TestTextsAreSealedAndOpenedWhereTheyAreShown writes texts, and looks for them in what is stored and in what programs without keys
// read.
func TestTextsAreSealedAndOpenedWhereTheyAreShown(t *testing.T) {
	keys, blinding := textStore(t), keysOf(t, 1)
	log := textLog(t, keys, blinding)
	name, other := stream("remark"), stream("remark")
	const why, said, more = "Anna Beispielhuber rang <twice> & \"asked\"\nfor more", "Mrs. Beispielhuber", "her son Karl-Heinz"
	words := []string{"Beispielhuber", "Karl-Heinz", "twice"}
	by := eventlog.Metadata{Actor: "crc.one", Role: "crc", Study: "S1", Reason: why}
	of := remarked{Patient: "P1", Reason: why, Remarks: []remark{{By: "a", Text: said}, {By: "b"}, {By: "c", Text: more}},
		Arm: blind.Of(domain.ArmID("A"))}
	appended, err := log.Append(t.Context(), name, eventlog.EmptyTail, uuid.New(), by, of, reasoned{Patient: "P1", Reason: why})
	if err != nil {
		t.Fatal(err)
	}
	stored := readAll(t, log, name)
	for _, e := range append(stored, appended.Events...) {
		mustNotHold(t, "what is stored", append(bytes.Clone(e.Data), e.RawMetadata...), words)
	}
	blindRead := readAll(t, textLog(t, nil, nil), name)
	for _, read := range [][]eventlog.Recorded{stored, blindRead, appended.Events} {
		for _, e := range read {
			plain, err := json.Marshal([]any{e.Event, e.Metadata})
			if err != nil {
				t.Fatal(err)
			}
			mustNotHold(t, "what is read", plain, words)
		}
		if got, want := shown(t, keys, read), shown(t, nil, []eventlog.Recorded{{Event: of, Metadata: by},
			{Event: reasoned{Patient: "P1", Reason: why}, Metadata: by}}); got != want {
			t.Errorf("it shows\n%s, want\n%s", got, want)
		}
	}

	// A process hands a text on. It stays the same sealed text, also within another one, and opens in its new place.
	first := stored[0].Event.(remarked) //nolint:forcetypeassert // it was compared
	process := eventlog.Metadata{Actor: "process.x", Role: "system", Study: "S1", Reason: "for: " + first.Reason}
	if _, err := log.Append(t.Context(), other, eventlog.EmptyTail, uuid.New(), process, reasoned{Patient: "P1", Reason: first.Reason},
		reasoned{Patient: "P1", Reason: "what a program wrote"}); err != nil {
		t.Fatal(err)
	}
	copied := readAll(t, log, other)
	if !bytes.Contains(copied[1].Data, []byte("what a program wrote")) {
		t.Errorf("what a program wrote is stored as %s", copied[1].Data)
	}
	whyJSON, err := json.Marshal(why)
	if err != nil {
		t.Fatal(err)
	}
	asShown := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(strings.Trim(string(whyJSON), `"`))
	if got := shown(t, keys, copied[:1]); strings.Count(got, asShown) != 2 || !strings.Contains(got, "for: Anna") {
		t.Errorf("the text that was handed on is shown as %s", got)
	}

	// A text that is put into another place does not open.
	moved := personal.Text(strings.Replace(string(first.Reason), ":", ":"+string(first.Remarks[0].Text)[1:5], 1))
	for _, wrong := range []personal.Text{moved, first.Reason[:len(first.Reason)-9] + "\x03", "\x02\x03", "\x02a:b:c\x03", "\x02"} {
		got := shown(t, keys, []eventlog.Recorded{{Event: wrong}})
		if !strings.Contains(got, personal.Unreadable) || strings.Contains(got, "u0002") {
			t.Errorf("%q is shown as %s", wrong, got)
		}
	}
	if answer, err := personal.OpenTexts(t.Context(), nil, []byte(shownSealed(t, first.Reason))); err == nil ||
		!strings.Contains(string(answer), personal.Unavailable) {
		t.Errorf("without keys it is shown as %s, %v", answer, err)
	}

	// All texts of one append have one key. Where it is destroyed, they are gone everywhere, and nothing else is.
	key, _, _ := strings.Cut(string(first.Reason)[1:], ":")
	if err := keys.Destroy(t.Context(), personal.KeyID(key)); err != nil {
		t.Fatal(err)
	}
	redacted := shown(t, keys, append(readAll(t, log, name), readAll(t, log, other)...))
	mustNotHold(t, "after the redaction", []byte(redacted), words)
	if n := strings.Count(redacted, personal.Redacted); n != 9 {
		t.Errorf("%d texts are redacted in %s", n, redacted)
	}
	for _, kept := range []string{`"P1"`, `"by":"c"`, "what a program wrote"} {
		if !strings.Contains(redacted, kept) {
			t.Errorf("%s is gone from %s", kept, redacted)
		}
	}
}

// shownSealed returns the JSON of a text.
func shownSealed(t *testing.T, text personal.Text) string {
	t.Helper()
	answer, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func mustNotHold(t *testing.T, where string, text []byte, words []string) {
	t.Helper()
	for _, word := range words {
		if bytes.Contains(text, []byte(word)) {
			t.Errorf("%s has %q: %s", where, word, text)
		}
	}
}

// TestTextsOfFormerProgramsStayReadable reads texts that were recorded before texts were sealed, and by a log without keys.
func TestTextsOfFormerProgramsStayReadable(t *testing.T) {
	log, name := textLog(t, nil, nil), stream("remark")
	of := []any{reasoned{Patient: "P1", Reason: "text:1 is not sealed"}, reasoned{Patient: "P1"},
		reasoned{Patient: "P1", Reason: "text:1:"}, reasoned{Patient: "P1", Reason: "text:1:a:b"}}
	by := eventlog.Metadata{Actor: "crc.one", Role: "crc", Study: "S1", Reason: "sealed?"}
	if _, err := log.Append(t.Context(), name, eventlog.EmptyTail, uuid.New(), by, of...); err != nil {
		t.Fatal(err)
	}
	for i, e := range readAll(t, textLog(t, textStore(t), keysOf(t, 1)), name) {
		if diff := cmp.Diff(of[i], e.Event); diff != "" || e.Metadata.Reason != "sealed?" {
			t.Errorf("event %d (-want +got):\n%s%s", i, diff, e.Metadata.Reason)
		}
	}
}
