package catalog_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/study"
	"casebook/eventlog"
	"casebook/eventlog/catalog"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files for events that have none for their present version")

// TestGoldenFilesAreWritten makes the golden file of each event's present version, with every field filled. It only
// writes where it is asked to, and never over a file.
func TestGoldenFilesAreWritten(t *testing.T) {
	if !*update {
		t.Skip("only with -update")
	}
	registry := catalog.New()
	for _, s := range registry.Schemas() {
		file := fmt.Sprintf("testdata/golden/%s.v%d.stored.json", s.Name, s.Version)
		if _, err := os.Stat(file); err == nil {
			continue
		}
		value := reflect.New(s.GoType()).Elem()
		fill(value, s.Name, 0)
		_, _, data, err := registry.Encode(value.Interface(), goldenKeys(t), goldenStudy)
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

// TestStoredBytesStillRead holds every golden file to what it reads as. The golden files are stored events as they were
// written by each schema version; beside each lies what it means today. A file that is there is never rewritten.
func TestStoredBytesStillRead(t *testing.T) {
	registry := catalog.New()
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
			event, err := registry.Decode(name, version, stored, goldenKeys(t), goldenStudy)
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
				t.Errorf("the stored bytes read as something else (-want +got):\n%s", diff)
			}
		})
	}
	for _, s := range registry.Schemas() {
		for v := 1; v <= s.Version; v++ {
			if key := fmt.Sprintf("%s.v%d", s.Name, v); !seen[key] {
				t.Errorf("there is no golden file of %s; make one with go test ./eventlog/catalog -update", key)
			}
		}
	}
}

// TestRegisteredEventsKeepAllFields writes and reads every event with all fields filled: a field that is lost on the
// way would be lost for ever.
func TestRegisteredEventsKeepAllFields(t *testing.T) {
	registry := catalog.New()
	for _, s := range registry.Schemas() {
		value := reflect.New(s.GoType()).Elem()
		fill(value, s.Name, 0)
		name, version, data, err := registry.Encode(value.Interface(), goldenKeys(t), goldenStudy)
		if err != nil {
			t.Fatal(err)
		}
		back, err := registry.Decode(name, version, data, goldenKeys(t), goldenStudy)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(value.Interface(), back); diff != "" {
			t.Errorf("%s changed on its way through the log (-written +read):\n%s", name, diff)
		}
	}
}

func TestTheFutureIsNotGuessed(t *testing.T) {
	registry := catalog.New()
	for _, c := range []struct {
		name    string
		version int
	}{{"DiarySubmitted", 99}, {"DiarySubmitted", 0}, {"SomethingNew", 1}} {
		if _, err := registry.Decode(c.name, c.version, []byte(`{}`), nil, ""); err == nil {
			t.Errorf("%s version %d was read by a program that cannot know it", c.name, c.version)
		}
	}
}

// TestR21_EveryEventHasARegisteredCategory: nothing can be stored outside the streams that the trail covers.
func TestR21_EveryEventHasARegisteredCategory(t *testing.T) {
	registry := catalog.New()
	for _, s := range registry.Schemas() {
		if s.Category == "" || strings.Contains(s.Category, "-") {
			t.Errorf("%s has the category %q", s.Name, s.Category)
		}
	}
	if _, _, _, err := registry.Encode(struct{ X int }{1}, nil, ""); err == nil {
		t.Error("an unregistered event was encoded")
	}
}

// A version that changes nothing leaves the bytes alone: what a study stored as a form's definition is read as it came.
func TestAnUnchangedVersionKeepsTheBytes(t *testing.T) {
	const definition = `{"b": "<", "a": 1.0}`
	event, err := catalog.New().Decode("ProtocolVersionPublished", 1,
		[]byte(`{"study":"S","protocol":{"version":1,"consentVersion":"1","forms":[{"id":"f","title":"F","definition":`+definition+`}]}}`), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := event.(study.ProtocolVersionPublished).Protocol.Forms[0].Definition; string(got) != definition {
		t.Errorf("the definition %s is read as %s", definition, got)
	}
}

func TestUpcastRefusesWhatItCannotRead(t *testing.T) {
	registry := catalog.New()
	for _, stored := range []string{`{"scores":[1]}`, `{"scores":"x"}`, `[`, `7`} {
		if event, err := registry.Decode("DiarySubmitted", 1, []byte(stored), nil, ""); err == nil {
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

const goldenStudy = domain.StudyID("GOLDEN")

// goldenKeys are those of the golden files.
func goldenKeys(t *testing.T) *eventlog.BlindingKeys {
	t.Helper()
	keys, err := eventlog.NewBlindingKeys([]byte("the golden files' blinding secret"[:eventlog.BlindingKeyBytes]))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// openly shows what blinded values hold.
var openly = jsonv2.WithMarshalers(jsonv2.MarshalToFunc(func(enc *jsontext.Encoder, v blind.Sealer) error {
	plain, err := v.SealWith(func(plain []byte) (string, error) { return string(plain), nil })
	if err != nil {
		return err
	}
	return enc.WriteValue(jsontext.Value(plain))
}))

// fill sets every field to a value of its own, so that none is left out or taken for another.
func fill(v reflect.Value, path string, depth int) {
	if b, ok := v.Addr().Interface().(blind.Unsealer); ok {
		holds, _ := v.Type().MethodByName("Open")
		plain := reflect.New(holds.Type.Out(0)).Elem()
		fill(plain, path, depth)
		text, err := json.Marshal(plain.Interface())
		if err != nil {
			panic(err)
		}
		if err := b.UnsealFrom(text); err != nil {
			panic(err)
		}
		return
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 3, 1, 20, 30, len(path)%60, 0, time.UTC)))
		return
	case v.Type() == reflect.TypeFor[json.RawMessage]():
		v.Set(reflect.ValueOf(json.RawMessage(`{"any":1}`)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
				fill(v.Field(i), path+"."+f.Name, depth+1)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), path, depth)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), path+"[0]", depth+1)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), fmt.Sprintf("%s[%d]", path, i), depth+1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, path+".key", depth+1)
		fill(value, path+".value", depth+1)
		v.SetMapIndex(key, value)
	case reflect.Interface:
		v.Set(reflect.ValueOf("any of " + path))
	case reflect.String:
		v.SetString(path)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(int64(len(path)))
	case reflect.Uint64:
		v.SetUint(uint64(len(path)))
	case reflect.Float64:
		v.SetFloat(float64(len(path)) + 0.5)
	default:
		panic(fmt.Sprintf("%s: cannot fill a %s", path, v.Type()))
	}
}
