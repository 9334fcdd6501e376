package projections

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"casebook/domain"
	"casebook/eventlog"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// The kinds of a Difference.
const (
	// Differs is a document that is not the same in both.
	Differs = "differs"
	// Missing is a document that the fold makes and the build does not have.
	Missing = "missing"
	// Extra is a document that the build has and the fold does not make.
	Extra = "extra"
)

// Difference is a document of a build that is not what a fresh fold of the log makes.
type Difference struct {
	Kind string `json:"kind"`
	Key  string `json:"key"`
	// Fields are the fields that differ, by their paths; all fields of a document that is missing or extra.
	Fields []FieldDifference `json:"fields"`
	// By is the last event that is folded into the document.
	By *Source `json:"by,omitempty"`
}

// FieldDifference is one field of a document.
type FieldDifference struct {
	Path string `json:"path"`
	// Has is the value in the build, Makes the value that the fold makes, both as extended JSON; empty for no value.
	Has   string `json:"has,omitempty"`
	Makes string `json:"makes,omitempty"`
	// By is the event that gave the field the value that the fold makes.
	By *Source `json:"by,omitempty"`
}

// Source is the event from which a value comes.
type Source struct {
	Stream     string    `json:"stream"`
	Revision   uint64    `json:"revision"`
	Type       string    `json:"type"`
	Position   uint64    `json:"position"`
	RecordedAt time.Time `json:"recordedAt"`
}

func sourceOf(at Envelope) *Source {
	return &Source{Stream: at.Stream, Revision: at.Revision, Type: at.Type, Position: at.Position.Commit,
		RecordedAt: at.Metadata.RecordedAt}
}

// Comparison is a build compared with a fresh fold of the log.
type Comparison struct {
	View string `json:"view"`
	// Build was compared with a fold of this Version.
	Build   readmodels.Build `json:"build"`
	Version int              `json:"version"`
	// Through is the log position that both had seen.
	Through domain.Position `json:"through"`
	Events  int64           `json:"events"`
	// Documents counts those that the fold makes, Equal those of them that the build has, byte for byte.
	Documents int `json:"documents"`
	Equal     int `json:"equal"`
	Differing int `json:"differing"`
	Missing   int `json:"missing"`
	Extra     int `json:"extra"`
	// Fields counts how many documents differ in each field; all members of a list count as one field.
	Fields map[string]int `json:"fields,omitempty"`
	// Differences describes the first ones; all are counted.
	Differences []Difference `json:"differences"`
}

// Same says that there is no difference.
func (c Comparison) Same() bool { return c.Differing+c.Missing+c.Extra == 0 }

const (
	// defaultDifferences limits how many differences are described: each needs a document in memory.
	defaultDifferences = 1000
	// compareRounds is how often documents are compared again that have changed meanwhile.
	compareRounds = 20
)

// Compare folds the log afresh into a collection of its own, which it drops in the end, and compares the documents byte by
// byte with those of a build of the view. That is the active build, which may be written meanwhile, or an old build, whose
// version of the fold is then compared with this program's. maxDifferences limits how many differences are described; 0
// means 1,000. progress is called after each checkpoint; it may be nil.
func Compare(ctx context.Context, log *eventlog.Log, store *readmodels.Store, p Projection, build readmodels.Build,
	maxDifferences int, progress func(readmodels.Checkpoint),
) (c Comparison, err error) {
	if maxDifferences == 0 {
		maxDifferences = defaultDifferences
	}
	s, err := newScratch(ctx, log, store, p, progress)
	if err != nil {
		return c, err
	}
	defer func() {
		if e := s.remove(ctx); err == nil {
			err = e
		}
	}()
	c = Comparison{View: p.View.Name, Build: build, Version: p.View.Version, Fields: map[string]int{}, Differences: []Difference{}}
	held := store.CollectionNamed(build.Collection)
	at, err := store.LoadBuildCheckpoint(ctx, p.View, build.Collection)
	if err != nil {
		return c, err
	}
	if err := s.fold(ctx, Until{Position: at.Position}); err != nil {
		return c, s.explain(err)
	}
	differing := map[string]bool{} // the keys of documents that differ; true where both had seen the same events
	if err := eachPair(ctx, held, s.collection, func(key string, has, makes bson.Raw) error {
		if makes != nil {
			c.Documents++
		}
		if !bytes.Equal(has, makes) {
			differing[key] = false
		}
		return nil
	}); err != nil {
		return c, err
	}
	// Events that the build has folded meanwhile are no difference: those documents are compared again at a later position.
	for range compareRounds {
		moving, err := c.settle(ctx, s, held, differing)
		if err != nil {
			return c, err
		}
		if !moving {
			break
		}
		if at, err = store.LoadBuildCheckpoint(ctx, p.View, build.Collection); err != nil {
			return c, err
		}
		if err := s.fold(ctx, Until{Position: at.Position}); err != nil {
			return c, s.explain(err)
		}
	}
	c.Through, c.Events = s.through, s.at.Events
	return c, c.describe(ctx, s, held, slices.Sorted(maps.Keys(differing)), maxDifferences)
}

// settle compares the documents again that may differ only because the build had seen more, and forgets those that are
// equal now. It returns whether the build has changed some of them after the position of the fold.
func (c *Comparison) settle(ctx context.Context, s *scratch, held *mongo.Collection, differing map[string]bool) (moving bool, err error) {
	for key, sure := range differing {
		if sure {
			continue
		}
		has, makes, err := pair(ctx, held, s.collection, key)
		if err != nil {
			return false, err
		}
		switch {
		case bytes.Equal(has, makes):
			delete(differing, key)
		case positionOf(has) > s.through.Commit:
			moving = true
		default:
			differing[key] = true
		}
	}
	return moving, nil
}

func positionOf(document bson.Raw) uint64 {
	position, _ := document.Lookup("_position").AsInt64OK()
	return uint64(max(position, 0))
}

// eachPair calls visit with the documents of two collections that have the same key, in the order of the keys; has or makes
// is nil where a collection has none.
func eachPair(ctx context.Context, held, made *mongo.Collection, visit func(key string, has, makes bson.Raw) error) error {
	byKey := options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(1000)
	left, err := held.Find(ctx, bson.D{}, byKey)
	if err != nil {
		return err
	}
	defer func() { _ = left.Close(ctx) }()
	right, err := made.Find(ctx, bson.D{}, byKey)
	if err != nil {
		return err
	}
	defer func() { _ = right.Close(ctx) }()
	hasLeft, hasRight := left.Next(ctx), right.Next(ctx)
	for hasLeft || hasRight {
		var has, makes bson.Raw
		leftKey, rightKey := keyOf(left.Current), keyOf(right.Current)
		key := leftKey
		if hasLeft && (!hasRight || leftKey <= rightKey) {
			has = left.Current
		}
		if hasRight && (!hasLeft || rightKey <= leftKey) {
			makes, key = right.Current, rightKey
		}
		if err := visit(key, has, makes); err != nil {
			return err
		}
		if has != nil {
			hasLeft = left.Next(ctx)
		}
		if makes != nil {
			hasRight = right.Next(ctx)
		}
	}
	return errors.Join(left.Err(), right.Err())
}

func keyOf(document bson.Raw) string {
	key, _ := document.Lookup("_id").StringValueOK()
	return key
}

func pair(ctx context.Context, held, made *mongo.Collection, key string) (has, makes bson.Raw, err error) {
	has, errHas := one(ctx, held, key)
	makes, errMakes := one(ctx, made, key)
	return has, makes, errors.Join(errHas, errMakes)
}

// one returns a document; nil where there is none.
func one(ctx context.Context, of *mongo.Collection, key string) (bson.Raw, error) {
	raw, err := of.FindOne(ctx, bson.D{{Key: "_id", Value: key}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	return raw, err
}

// describe describes how the documents differ, and which events gave them the values that the fold makes.
func (c *Comparison) describe(ctx context.Context, s *scratch, held *mongo.Collection, keys []string, maxDifferences int) error {
	described := map[string]*Difference{}
	for _, key := range keys {
		has, makes, err := pair(ctx, held, s.collection, key)
		if err != nil {
			return err
		}
		d := &Difference{Kind: Differs, Key: key, Fields: []FieldDifference{}}
		switch {
		case has == nil:
			d.Kind = Missing
			c.Missing++
		case makes == nil:
			d.Kind = Extra
			c.Extra++
		default:
			c.Differing++
		}
		before, after := leaves(has), leaves(makes)
		inFields := map[string]bool{}
		for _, path := range slices.Sorted(maps.Keys(union(before, after))) {
			if before[path] == after[path] {
				continue
			}
			d.Fields = append(d.Fields, FieldDifference{Path: path, Has: before[path], Makes: after[path]})
			inFields[withoutIndexes(path)] = true
		}
		if len(d.Fields) == 0 { // the same fields in another order
			d.Fields = append(d.Fields, FieldDifference{Path: "(order of fields)", Has: has.String(), Makes: makes.String()})
		}
		for field := range inFields {
			c.Fields[field]++
		}
		if len(described) < maxDifferences {
			described[key] = d
		}
	}
	c.Equal = c.Documents - c.Differing - c.Missing
	if len(described) > 0 {
		if err := s.attribute(ctx, described); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(described)) {
		c.Differences = append(c.Differences, *described[key])
	}
	return nil
}

// attribute folds the described documents once more, event by event, to find the event that each field comes from.
func (s *scratch) attribute(ctx context.Context, described map[string]*Difference) error {
	documents, was, by := map[string]readmodels.Document{}, map[string]map[string]string{}, map[string]map[string]*Source{}
	end := Until{Position: s.through}
	errEnd := errors.New("at the end")
	subscription := eventlog.Subscription{Types: s.types}
	if s.alike {
		subscription.Types = nil
	}
	err := pipe(ctx, s.engine, subscription, s.engine.verifier.Follow, func(ctx context.Context, b eventlog.Batch, _ <-chan eventlog.Batch) error {
		b = end.cut(b)
		all, err := s.documentsOf(ctx, b.Events)
		if err != nil {
			return err
		}
		for i, at := range b.Events {
			for _, key := range all[i] {
				d := described[key]
				if d == nil {
					continue
				}
				if documents[key] == nil {
					documents[key], by[key] = s.Blank(key), map[string]*Source{}
				}
				if _, err := s.Apply(documents[key], at); err != nil {
					return err
				}
				raw, err := s.encode(nil, documents[key], at)
				if err != nil {
					return err
				}
				d.By = sourceOf(at)
				is := leaves(raw)
				for path := range union(was[key], is) {
					if was[key][path] != is[path] {
						by[key][path] = d.By
					}
				}
				was[key] = is
			}
		}
		if b.Live {
			return errEnd
		}
		return nil
	})
	if !errors.Is(err, errEnd) {
		return err
	}
	for key, d := range described {
		for i := range d.Fields {
			d.Fields[i].By = by[key][d.Fields[i].Path]
		}
	}
	return nil
}

func union(a, b map[string]string) map[string]bool {
	all := make(map[string]bool, len(a)+len(b))
	for path := range a {
		all[path] = true
	}
	for path := range b {
		all[path] = true
	}
	return all
}

// leaves returns the values of a document that contain no others, as extended JSON, by their paths.
func leaves(document bson.Raw) map[string]string {
	all := map[string]string{}
	var walk func(path string, v bson.RawValue)
	walk = func(path string, v bson.RawValue) {
		var inside bson.Raw
		switch v.Type {
		case bson.TypeEmbeddedDocument:
			inside = v.Document()
		case bson.TypeArray:
			inside = bson.Raw(v.Array())
		default:
		}
		elements, err := inside.Elements()
		if len(elements) == 0 || err != nil {
			all[path] = v.String()
			return
		}
		for _, e := range elements {
			walk(path+"."+e.Key(), e.Value())
		}
	}
	elements, err := document.Elements()
	if err != nil {
		return all
	}
	for _, e := range elements {
		walk(e.Key(), e.Value())
	}
	return all
}

// withoutIndexes returns a path without the indexes of lists.
func withoutIndexes(path string) string {
	var kept []byte
	for i, part := range bytes.Split([]byte(path), []byte{'.'}) {
		if _, err := strconv.Atoi(string(part)); err == nil && i > 0 {
			continue
		}
		if len(kept) > 0 {
			kept = append(kept, '.')
		}
		kept = append(kept, part...)
	}
	return string(kept)
}
