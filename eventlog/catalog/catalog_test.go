// Package catalog_test checks the stored form of all events that the contexts declare. The golden files below testdata
// are stored events as each schema version wrote them.
package catalog_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/domain/blind"
	"casebook/domain/personal"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/eventlog"

	jsonv1 "github.com/goccy/go-json"
	"github.com/goccy/go-json/jsontext"
	jsonv2 "github.com/goccy/go-json/v2"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files that are missing for the events' current versions")

// TestGoldenFilesAreWritten writes the golden file of each event's current version, with every field filled. It writes
// only with -update, and never replaces a file.
func TestGoldenFilesAreWritten(t *testing.T) {
	if !*update {
		t.Skip("only with -update")
	}
	registry := contexts.Registry()
	for _, s := range registry.Schemas() {
		file := fmt.Sprintf("testdata/golden/%s.v%d.stored.json", s.Name, s.Version)
		if _, err := os.Stat(file); err == nil {
			continue
		}
		value := reflect.New(s.Go).Elem()
		scenario.Fill(value, s.Name)
		_, _, data, err := registry.Encode(value.Interface(), goldenKeys(t), goldenOrigin)
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if err := json.Indent(&text, data, "", "  "); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(text.Bytes(), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStoredBytesStillRead decodes each golden file (Name.vN.stored.json), and compares the event with the file beside
// it that says how it has to read today (Name.vN.meaning.json). Existing files are never rewritten.
func TestStoredBytesStillRead(t *testing.T) {
	registry := contexts.Registry()
	files, err := filepath.Glob("testdata/golden/*.stored.json")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		name, version := nameAndVersion(t, file)
		seen[fmt.Sprintf("%s.v%d", name, version)] = true
		t.Run(filepath.Base(file), func(t *testing.T) {
			stored, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			event, err := registry.Decode(name, version, stored, goldenKeys(t), goldenOrigin)
			if err != nil {
				t.Fatal(err)
			}
			got, err := jsonv2.Marshal(event, jsonv1.DefaultOptionsV1(), jsontext.WithIndent("  "), openly)
			if err != nil {
				t.Fatal(err)
			}
			meaning := strings.TrimSuffix(file, ".stored.json") + ".meaning.json"
			want, err := os.ReadFile(meaning)
			if os.IsNotExist(err) && *update {
				if err := os.WriteFile(meaning, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
				t.Errorf("the stored bytes decode to another event (-want +got):\n%s", diff)
			}
		})
	}
	meanings, err := filepath.Glob("testdata/golden/*.meaning.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range meanings {
		if !seen[strings.TrimSuffix(filepath.Base(file), ".meaning.json")] {
			t.Errorf("%s has no stored bytes beside it: remove it", file)
		}
	}
	for _, s := range registry.Schemas() {
		for v := 1; v <= s.Version; v++ {
			if key := fmt.Sprintf("%s.v%d", s.Name, v); !seen[key] {
				t.Errorf("there is no golden file of %s; make one with go test ./eventlog/catalog -update", key)
			}
		}
	}
}

// TestRegisteredEventsKeepAllFields encodes and decodes every event with all fields filled. A field that the stored
// form lacks would be lost for ever.
func TestRegisteredEventsKeepAllFields(t *testing.T) {
	registry := contexts.Registry()
	for _, s := range registry.Schemas() {
		value := reflect.New(s.Go).Elem()
		scenario.Fill(value, s.Name)
		name, version, data, err := registry.Encode(value.Interface(), goldenKeys(t), goldenOrigin)
		if err != nil {
			t.Fatal(err)
		}
		back, err := registry.Decode(name, version, data, goldenKeys(t), goldenOrigin)
		if err != nil {
			t.Fatal(err)
		}
		before, after := value.Interface(), back
		if s.Personal() { // what is read is sealed
			before, after = inTheOpen(t, before), inTheOpen(t, after)
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s changed when it was encoded and decoded (-encoded +decoded):\n%s", name, diff)
		}
	}
}

// inTheOpen returns the JSON of an event in which nothing is sealed.
func inTheOpen(t *testing.T, event any) any {
	t.Helper()
	text, err := jsonv2.Marshal(event, jsonv1.DefaultOptionsV1(), openly)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestUnknownTypesAndVersionsAreRefused(t *testing.T) {
	registry := contexts.Registry()
	for _, c := range []struct {
		name    string
		version int
	}{{"DiarySubmitted", 99}, {"DiarySubmitted", 0}, {"SomethingNew", 1}} {
		if _, err := registry.Decode(c.name, c.version, []byte(`{}`), eventlog.Keys{}, eventlog.Origin{}); err == nil {
			t.Errorf("%s version %d was decoded, and this program does not know it", c.name, c.version)
		}
	}
}

// TestR21_EveryEventHasARegisteredCategory shows that nothing can be stored outside the streams that the audit trail
// covers.
func TestR21_EveryEventHasARegisteredCategory(t *testing.T) {
	registry := contexts.Registry()
	for _, s := range registry.Schemas() {
		if s.Category == "" || strings.Contains(s.Category, "-") {
			t.Errorf("%s has the category %q", s.Name, s.Category)
		}
	}
	if _, _, _, err := registry.Encode(struct{ X int }{1}, eventlog.Keys{}, eventlog.Origin{}); err == nil {
		t.Error("an unregistered event was encoded")
	}
}

// A version that changes nothing leaves the bytes alone: what a study stored as a form's definition is read as it came.
func TestAnUnchangedVersionKeepsTheBytes(t *testing.T) {
	const definition = `{"b": "<", "a": 1.0}`
	stored := `{"study":"S","protocol":{"version":1,"consentVersion":"1","forms":[{"id":"f","title":"F","definition":` +
		definition + `}]}}`
	event, err := contexts.Registry().Decode("ProtocolVersionPublished", 1, []byte(stored), eventlog.Keys{}, eventlog.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	if got := event.(study.ProtocolVersionPublished).Protocol.Forms[0].Definition; string(got) != definition {
		t.Errorf("the definition %s is read as %s", definition, got)
	}
}

func TestUpcastRefusesWhatItCannotRead(t *testing.T) {
	registry := contexts.Registry()
	for _, stored := range []string{`{"scores":[1]}`, `{"scores":"x"}`, `[`, `7`} {
		if event, err := registry.Decode("DiarySubmitted", 1, []byte(stored), eventlog.Keys{}, eventlog.Origin{}); err == nil {
			t.Errorf("%s was read as %v", stored, event)
		}
	}
}

func nameAndVersion(t *testing.T, file string) (string, int) {
	t.Helper()
	parts := strings.Split(filepath.Base(file), ".")
	if len(parts) != 4 || !strings.HasPrefix(parts[1], "v") {
		t.Fatalf("%s is not named Name.vN.stored.json", file)
	}
	version, err := strconv.Atoi(parts[1][1:])
	if err != nil {
		t.Fatal(err)
	}
	return parts[0], version
}

// goldenOrigin is where the golden files' events are recorded.
var goldenOrigin = eventlog.Origin{Study: "GOLDEN", Stream: "golden", CommandID: "golden"}

// goldenKeys returns the keys with which the golden files' blinded values are sealed.
func goldenKeys(t *testing.T) eventlog.Keys {
	t.Helper()
	keys, err := eventlog.NewBlindingKeys([]byte("the golden files' blinding secret"[:eventlog.BlindingKeyBytes]))
	if err != nil {
		t.Fatal(err)
	}
	return eventlog.Keys{Blinding: keys, Personal: goldenPersonalKeys{}}
}

// goldenPersonalKeys are personal.Keys with one key, which is never destroyed.
type goldenPersonalKeys struct{ personal.Keys }

func (goldenPersonalKeys) cipher() cipher.AEAD {
	block, err := aes.NewCipher([]byte("the golden files' key of persons"))
	if err != nil {
		panic(err)
	}
	c, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return c
}

func (k goldenPersonalKeys) Seal(_ context.Context, _ personal.KeyID, plain, bound []byte) ([]byte, error) {
	return k.cipher().Seal(nil, nil, plain, bound), nil
}

func (k goldenPersonalKeys) Open(_ context.Context, _ personal.KeyID, sealed, bound []byte) ([]byte, error) {
	return k.cipher().Open(nil, nil, sealed, bound)
}

// openly encodes blinded and personal values as what they hold, not sealed.
var openly = jsonv2.WithMarshalers(jsonv2.JoinMarshalers(jsonv2.MarshalToFunc(func(enc *jsontext.Encoder, v revealer) error {
	plain, err := v.RevealJSON(context.Background(), goldenPersonalKeys{})
	if err != nil {
		return err
	}
	return enc.WriteValue(jsontext.Value(bytes.TrimSpace(plain)))
}), jsonv2.MarshalToFunc(func(enc *jsontext.Encoder, v blind.Sealer) error {
	plain, err := v.SealWith(func(plain []byte) (string, error) { return string(plain), nil })
	if err != nil {
		return err
	}
	return enc.WriteValue(jsontext.Value(plain))
})))

// revealer is a personal.Value of any type.
type revealer interface {
	RevealJSON(ctx context.Context, keys personal.Keys) ([]byte, error)
}

// TestEventsAreReadAsTheStandardLibraryReadsThem reads the events of today, and what damage or another program may make of them, by
// encoding/json and by the library that reads the log. Both find the same event, or refuse.
func TestEventsAreReadAsTheStandardLibraryReadsThem(t *testing.T) {
	for _, s := range contexts.Registry().Schemas() {
		if s.Blinded() || s.Personal() {
			continue // only one library can open what is sealed
		}
		stored, err := os.ReadFile(fmt.Sprintf("testdata/golden/%s.v%d.stored.json", s.Name, s.Version))
		if err != nil {
			t.Fatal(err)
		}
		readAlike(t, s.Name, stored, s.Read)
	}
	var filled eventlog.Metadata
	scenario.Fill(reflect.ValueOf(&filled).Elem(), "metadata")
	stored, err := json.Marshal(filled)
	if err != nil {
		t.Fatal(err)
	}
	readAlike(t, "metadata", stored, func(decode func(any) error) (any, error) {
		var m eventlog.Metadata
		err := decode(&m)
		return m, err
	})
}

// readAlike has two libraries read a text, and what may become of each of its members.
func readAlike(t *testing.T, name string, stored []byte, read func(decode func(into any) error) (any, error)) {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(stored, &members); err != nil {
		t.Fatal(err)
	}
	variants := [][]byte{stored, []byte(`null`), []byte(`[]`), []byte(`{}`), stored[:len(stored)/2]}
	for member, value := range members {
		rest := fmt.Sprintf(`{%q:%s,"unknown":[1,{"a":null}]`, member, value)
		for _, other := range []string{`null`, `"text"`, `""`, `3`, `-0.5e3`, `1e400`, `true`, `[]`, `[null]`, `{}`, `{"a":1}`,
			`"2026-11-29T09:00:00.123+01:00"`, `"\ud800"`, "\"\xff\"", string(value)} {
			variants = append(variants, fmt.Appendf(nil, `{%q:%s}`, member, other), fmt.Appendf(nil, `%s,%q:%s}`, rest, member, other),
				fmt.Appendf(nil, `{%q:%s}`, strings.ToUpper(member), other))
		}
	}
	for _, text := range variants {
		want, refused := read(func(into any) error { return json.Unmarshal(text, into) })
		got, err := read(func(into any) error { return jsonv1.Unmarshal(text, into) })
		if (refused == nil) != (err == nil) || refused == nil && !reflect.DeepEqual(want, got) {
			t.Errorf("%s in %.300s: encoding/json finds %+v, %v, and the other %+v, %v", name, text, want, refused, got, err)
		}
	}
}
