package projections_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/eventlog"
	"casebook/projections"
	"casebook/readmodels"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

var update = flag.Bool("update", false, "write golden documents for versions of views that have none")

// TestGoldenDocuments folds stored events, projections/CONTEXT/testdata/events.jsonl, and compares what comes of them with
// the golden file of the view's version, projections/CONTEXT/testdata/VIEW.vN.golden.json: the view's indexes, its
// documents as they are stored, and a digest of the documents after each event. A fold, a document or an index that is
// changed without a new version fails. New events are added at the end of their file, so that the golden files of other
// views, which name the number of events that they were made of, stay as they are.
func TestGoldenDocuments(t *testing.T) {
	kept := map[string]bool{}
	for _, p := range versions() {
		of := view{Projection: p, context: contextOf(p), document: reflect.TypeOf(p.Blank("")).Elem()}
		kept[of.file()] = true
		t.Run(fmt.Sprintf("%s.v%d", p.View.Name, p.View.Version), of.compare)
	}
	files, err := filepath.Glob("*/testdata/*.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !kept[file] {
			t.Errorf("projections/%s is of a version that this program does not fold any more: remove it", file)
		}
	}
}

// TestGoldenEventsAllCount finds golden events that prove nothing.
func TestGoldenEventsAllCount(t *testing.T) {
	files, err := filepath.Glob("*/testdata/events.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		count := map[int]bool{}
		for _, p := range versions() {
			if contextOf(p) == path.Dir(path.Dir(file)) {
				for i, step := range steps(t, p, goldenEvents(t, contextOf(p))) {
					count[i] = count[i] || len(step.changed) > 0
				}
			}
		}
		for i, at := range goldenEvents(t, path.Dir(path.Dir(file))) {
			if !count[i] {
				t.Errorf("projections/%s:%d: %s changes no document of any view of the context, and so proves nothing", file, i+1, at.Type)
			}
		}
	}
}

// versions are all projections, and the former versions that are kept beside them.
func versions() (all []projections.Projection) {
	for _, p := range contexts.Projections() {
		for ; ; p = *p.Former() {
			if all = append(all, p); p.Former() == nil {
				break
			}
		}
	}
	return all
}

// contextOf is the context of a view: the package of its document.
func contextOf(p projections.Projection) string {
	return path.Base(reflect.TypeOf(p.Blank("")).Elem().PkgPath())
}

const writeThem = "go test ./projections -run Golden -update"

// view is a version of a view, with the context that it belongs to and the type of its documents.
type view struct {
	projections.Projection
	context  string
	document reflect.Type
}

func (v view) file() string {
	return fmt.Sprintf("%s/testdata/%s.v%d.golden.json", v.context, v.View.Name, v.View.Version)
}

func (v view) events() string { return "projections/" + v.context + "/testdata/events.jsonl" }

func (v view) compare(t *testing.T) {
	all := goldenEvents(t, v.context)
	if len(all) == 0 {
		t.Fatalf("%s has no golden events: write some that it folds to %s, one to a line", v.View.Name, v.events())
	}
	want, err := os.ReadFile(v.file())
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		t.Fatal(err)
	}
	events := all
	if !missing {
		var made struct{ Events int }
		if err := json.Unmarshal(want, &made); err != nil {
			t.Fatalf("%s: %v", v.file(), err)
		}
		events = all[:min(made.Events, len(all))]
	}
	v.complete(t, events, all)
	got := v.render(t, events)
	switch {
	case t.Failed():
	case missing && *update:
		if err := os.WriteFile(v.file(), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	case missing:
		t.Errorf("there are no golden documents of version %d of %s: write them with %s, and read them",
			v.View.Version, v.View.Name, writeThem)
	case string(want) != got:
		t.Errorf("what version %d of %s makes of the golden events is not what it made before (-before +now): a fold, a field of the "+
			"document or an index has changed. Stored documents would stay as they are, so give the view version %d, and run %s. "+
			"If this version was never released, delete its file instead and write it again. "+
			"If the lines of %s have changed instead, put them back: new events go to the end.\n%s",
			v.View.Version, v.View.Name, v.View.Version+1, writeThem, v.events(),
			cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")))
	}
}

// complete holds the golden events to showing all that the view does: each type of event that it folds changes a document,
// and each field of a document is filled somewhere.
func (v view) complete(t *testing.T, events, all []projections.Envelope) {
	t.Helper()
	changed, filled := map[string]bool{}, map[string]bool{}
	for _, step := range steps(t, v.Projection, events) {
		if step.folded && len(step.keys) == 0 && !v.Sparse() {
			t.Errorf("%s folds %s, and names no document of %s@%d: say in its keys which one it is about", v.View.Name, step.at.Type,
				step.at.Stream, step.at.Revision)
		}
		changed[step.at.Type] = changed[step.at.Type] || len(step.changed) > 0
		for _, doc := range step.changed {
			fill(filled, reflect.ValueOf(doc).Elem())
		}
	}
	among := func(events []projections.Envelope, name string) bool {
		return slices.ContainsFunc(events, func(at projections.Envelope) bool { return at.Type == name })
	}
	for _, schema := range registry.Schemas() {
		switch {
		case !v.Folds(schema.Go) || v.Alike() || changed[schema.Name]:
		case among(events, schema.Name):
			t.Errorf("%s folds %s, and no golden event of it changes a document: add one that does at the end of %s", v.View.Name,
				schema.Name, v.events())
		case among(all, schema.Name):
			t.Errorf("version %d of %s did not fold %s when its golden documents were made: give the view version %d", v.View.Version,
				v.View.Name, schema.Name,
				v.View.Version+1)
		default:
			t.Errorf("%s folds %s, which is not among the golden events: add one at the end of %s", v.View.Name, schema.Name, v.events())
		}
	}
	for _, field := range fields(v.document, map[reflect.Type]bool{}) {
		if !filled[field] && !cannotBeFilled[field] {
			t.Errorf("no golden event of %s fills the field %s: add one that does at the end of %s", v.View.Name, field, v.events())
		}
	}
}

// cannotBeFilled are fields that golden events do not reach, each for a reason.
var cannotBeFilled = map[string]bool{
	// Only some servers give several events the same commit position; see TestR25_AnySequenceFoldsOnce.
	"readmodels.Header.Prepared": true,
	// It is filled after 4,000 days; see TestDaysAreBoundedAndNoneIsForgotten.
	"enrollment.SiteEnrollment.Before": true,
}

// fields are the stored fields of a document's types, as package.Type.Field.
func fields(t reflect.Type, seen map[reflect.Type]bool) (all []string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return fields(t.Elem(), seen)
	case reflect.Struct:
		if seen[t] || !strings.HasPrefix(t.PkgPath(), "casebook/readmodels") {
			return nil
		}
		seen[t] = true
		for i := range t.NumField() {
			if t.Field(i).Tag.Get("bson") == "-" {
				continue // no document has it
			}
			all = append(all, t.String()+"."+t.Field(i).Name)
			all = append(all, fields(t.Field(i).Type, seen)...)
		}
	default:
	}
	return all
}

// fill notes the fields that are not zero.
func fill(filled map[string]bool, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fill(filled, v.Elem())
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			fill(filled, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Field(i).IsZero() && v.Type().Field(i).IsExported() {
				filled[v.Type().String()+"."+v.Type().Field(i).Name] = true
				fill(filled, v.Field(i))
			}
		}
	default:
	}
}

// step is a golden event, with the documents that a view has changed for it.
type step struct {
	at      projections.Envelope
	folded  bool
	keys    []string
	changed []readmodels.Document
	// digest is that of all documents that it is about.
	digest string
}

// steps folds events one by one. A document counts as changed where more differs than how new it is.
func steps(t *testing.T, p projections.Projection, events []projections.Envelope) (all []step) {
	t.Helper()
	documents := map[string]readmodels.Document{}
	for _, at := range events {
		s := step{at: at, folded: p.Folds(reflect.TypeOf(at.Event))}
		before := map[string]bson.Raw{}
		for key, doc := range documents {
			before[key] = extended(t, facts(doc))
		}
		s.keys = apply(t, p, documents, []projections.Envelope{at})
		digest := sha256.New()
		for _, key := range s.keys {
			if key == "" {
				t.Errorf("%s folds %s into a document without a key", p.View.Name, at.Type)
			}
			raw, err := readmodels.Encode(documents[key])
			if err != nil {
				t.Fatal(err)
			}
			digest.Write(raw)
			if !bytes.Equal(before[key], extended(t, facts(documents[key]))) {
				s.changed = append(s.changed, documents[key])
			}
		}
		s.digest = fmt.Sprintf("%x", digest.Sum(nil)[:4])
		all = append(all, s)
	}
	return all
}

// render writes the golden file of what the view makes of events.
func (v view) render(t *testing.T, events []projections.Envelope) string {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "{\n  \"view\": %q,\n  \"version\": %d,\n  \"events\": %d,\n  \"indexes\": [", v.View.Name, v.View.Version,
		len(events))
	list := func(n int, write func(i int)) {
		for i := range n {
			if i > 0 {
				text.WriteString(",")
			}
			text.WriteString("\n    ")
			write(i)
		}
		text.WriteString("\n  ]")
	}
	list(len(v.View.Indexes), func(i int) {
		index := bson.D{{Key: "keys", Value: v.View.Indexes[i].Keys}}
		if lister := v.View.Indexes[i].Options; lister != nil {
			var set options.IndexOptions
			for _, apply := range lister.List() {
				if err := apply(&set); err != nil {
					t.Fatal(err)
				}
			}
			index = append(index, bson.E{Key: "options", Value: set})
		}
		text.WriteString(extended(t, index).String())
	})
	text.WriteString(",\n  \"steps\": [")
	var folded []step
	for i, s := range steps(t, v.Projection, events) {
		if s.folded {
			s.digest = fmt.Sprintf("%d %s %s", i+1, s.at.Type, s.digest)
			folded = append(folded, s)
		}
	}
	list(len(folded), func(i int) { fmt.Fprintf(&text, "%q", folded[i].digest) })
	text.WriteString(",\n  \"documents\": [")
	documents := fold(t, v.Projection, events)
	keys := slices.Sorted(maps.Keys(documents))
	list(len(keys), func(i int) { indent(&text, bson.TypeEmbeddedDocument, extended(t, documents[keys[i]]), "    ") })
	text.WriteString("\n}\n")
	return text.String()
}

func extended(t *testing.T, v any) bson.Raw {
	t.Helper()
	raw, err := bson.Marshal(v)
	if doc, is := v.(readmodels.Document); is {
		raw, err = readmodels.Encode(doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// indent writes a document or a list as extended JSON, one value to a line. Numbers are canonical, which tells their types
// apart; dates are readable.
func indent(text *strings.Builder, of bson.Type, raw bson.Raw, margin string) {
	open, end := "{", "}"
	if of == bson.TypeArray {
		open, end = "[", "]"
	}
	text.WriteString(open)
	elements, _ := raw.Elements()
	for i, e := range elements {
		if i > 0 {
			text.WriteString(",")
		}
		text.WriteString("\n  " + margin)
		if of != bson.TypeArray {
			fmt.Fprintf(text, "%q: ", e.Key())
		}
		switch v := e.Value(); v.Type {
		case bson.TypeEmbeddedDocument:
			indent(text, v.Type, v.Document(), margin+"  ")
		case bson.TypeArray:
			indent(text, v.Type, bson.Raw(v.Array()), margin+"  ")
		case bson.TypeDateTime:
			fmt.Fprintf(text, `{"$date":%q}`, v.Time().UTC().Format(time.RFC3339Nano))
		default:
			text.WriteString(v.String())
		}
	}
	if len(elements) > 0 {
		text.WriteString("\n" + margin)
	}
	text.WriteString(end)
}

// goldenLine is a golden event: where it lies in the log, who recorded it when and about whom, and its stored bytes.
type goldenLine struct {
	Stream string `json:"stream"`
	Type   string `json:"type"`
	eventlog.Metadata
	Data json.RawMessage `json:"data"`
	// Damaged says what is wrong with an event that is no part of the record.
	Damaged string `json:"damaged"`
	// Unreadable says that the program cannot read what the event says.
	Unreadable bool `json:"unreadable"`
}

// goldenEvents reads the golden events of a context through the registry, as the log does, without the keys of blinded
// values. The n-th line lies at position 100 n.
func goldenEvents(t testing.TB, context string) (all []projections.Envelope) {
	t.Helper()
	file := context + "/testdata/events.jsonl"
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	revisions := map[string]uint64{}
	for i, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		var g goldenLine
		if err := strictly(line, &g); err != nil {
			t.Fatalf("projections/%s:%d: %v", file, i+1, err)
		}
		event, err := registry.Decode(g.Type, g.Schema, g.Data, eventlog.Keys{}, eventlog.Origin{Study: g.Study})
		if err != nil {
			t.Fatalf("projections/%s:%d: %v", file, i+1, err)
		}
		if schema, _ := registry.Named(g.Type); g.Schema == schema.Version {
			if err := strictly(string(g.Data), reflect.New(schema.Go).Interface()); err != nil {
				t.Fatalf("projections/%s:%d: %s: %v", file, i+1, g.Type, err)
			}
		}
		if category, _, _ := strings.Cut(g.Stream, "-"); category != categoryOf(event) {
			t.Fatalf("projections/%s:%d: %s is in the stream %s", file, i+1, g.Type, g.Stream)
		}
		position := uint64(100 * (i + 1))
		at := projections.Envelope{Stream: g.Stream, Revision: revisions[g.Stream], Type: g.Type, Event: event, Data: g.Data,
			Metadata: g.Metadata, StoredAt: g.RecordedAt,
			Position: domain.Position{Commit: position, Prepare: position}}
		if g.Damaged != "" {
			at.Event = eventlog.Damaged{Damage: domain.Damage{Stream: at.Stream, Revision: at.Revision, Reason: g.Damaged}}
		}
		if g.Unreadable {
			at.Event = eventlog.Unreadable{Err: domain.ErrUnknownVersion}
		}
		all = append(all, at)
		revisions[g.Stream]++
	}
	return all
}

func categoryOf(event any) string {
	category, _ := registry.CategoryOf(event)
	return category
}

// strictly reads JSON in which every field is known.
func strictly(text string, into any) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}
