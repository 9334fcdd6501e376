package readmodels

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Build is one fold of the log into the documents of a view. It has a collection of its own.
type Build struct {
	Collection string `bson:"collection" json:"collection" doc:"Its collection"`
	Version    int    `bson:"version" json:"version" doc:"Version of the fold that makes it"`
	// Request is the number of the rebuild that asked for it; 0 if none did.
	Request int       `bson:"request" json:"-"`
	Begun   time.Time `bson:"begun" json:"begun" doc:"When it was begun"`
	// Until is when another build took its place; zero in what earlier programs stored.
	Until time.Time `bson:"until,omitempty" json:"until,omitzero" doc:"When another build took its place"`
}

// Builds says which builds a view has. It is one document, so that a new build takes the place of the active one in one
// step.
type Builds struct {
	View string `bson:"_id" json:"view" doc:"The view"`
	// Token is the token of the lease under which the document was written.
	Token  int64 `bson:"token" json:"-"`
	Active Build `bson:"live" json:"live" doc:"The build that answers queries"`
	// Building is nil while no new build is made.
	Building *Build `bson:"building,omitempty" json:"building,omitempty" doc:"The build that is made beside it"`
	// Kept are former builds, until they are dropped.
	Kept []Build `bson:"kept" json:"kept" doc:"Old builds, until they are dropped"`
	// Count is the number of names that builds have had so far. Request is the number of the last rebuild that was carried out.
	Count   int       `bson:"count" json:"-"`
	Request int       `bson:"request" json:"-"`
	Since   time.Time `bson:"since" json:"since" doc:"Since when the live build answers queries"`
}

// Next returns the builds with one more that is to be made. Its collection has none of the names of builds that people have
// dropped: such a name may come again after all views were lost.
func (b Builds) Next(v View, request int, dropped []string, at time.Time) Builds {
	collection := b.next(v, dropped)
	b.Building = &Build{Collection: collection, Version: v.Version, Request: request, Begun: at}
	return b
}

// Fresh returns the builds of a view of which nothing is stored: its first build counts as all rebuilds that were asked for
// so far.
func (b Builds) Fresh(v View, requests int, dropped []string) Builds {
	b.Request = requests
	if slices.Contains(dropped, b.Active.Collection) {
		b.Active.Collection = b.next(v, dropped)
	}
	return b
}

// next counts one more build, and returns the name of its collection.
func (b *Builds) next(v View, dropped []string) (collection string) {
	for collection == "" || slices.Contains(dropped, collection) {
		b.Count++
		collection = fmt.Sprintf("%s_b%d", v.Collection(), b.Count)
	}
	return collection
}

// Switched returns the builds with the new build as the active one. The former active build is kept.
func (b Builds) Switched(at time.Time) Builds {
	former := b.Active
	former.Until = at
	b.Kept = append(slices.Clone(b.Kept), former)
	b.Active, b.Building, b.Since = *b.Building, nil, at
	b.Request = max(b.Request, b.Active.Request)
	return b
}

// Outlived returns those kept builds that nobody needs any more. Of each version one former build is kept, the last. It is kept for
// some time after another build has taken its place, and as long as a process of its version has been seen within that time. seen says
// when one was seen last, by version.
func (b Builds) Outlived(now time.Time, seen map[int]time.Time, keptFor time.Duration) (outlived []Build) {
	for i, old := range b.Kept {
		replaced := old.Until
		if replaced.IsZero() {
			replaced = b.Since
		}
		again := slices.ContainsFunc(b.Kept[i+1:], func(later Build) bool { return later.Version == old.Version })
		used := old.Version != b.Active.Version && now.Sub(seen[old.Version]) < keptFor
		if again || !used && now.Sub(replaced) >= keptFor {
			outlived = append(outlived, old)
		}
	}
	return outlived
}

const (
	buildCollection = "builds"
	// activeFor is how long this process reads a build without checking whether another one has taken its place.
	activeFor = time.Second
	// activeTimeout bounds how long a query waits for that check.
	activeTimeout = 2 * time.Second
	// KeptAtLeast is how long a former build is kept in any case, because other processes may still read it.
	KeptAtLeast = 10 * activeFor
	// KeptFor is how long the last former build of a version is kept after another one has taken its place, and after a process of
	// that version was seen last.
	KeptFor = 7 * 24 * time.Hour
)

// activeBuilds are the collections of the active builds, as this process knows them.
type activeBuilds struct {
	// collections holds the names of the collections, by view.
	collections map[string]string
	checked     time.Time
	checking    bool
}

// BuildsOf returns the builds of a view. A view that was never rebuilt has one build, in the collection of its version. If
// only older versions of the view have been folded, it is the newest of those.
func (s *Store) BuildsOf(ctx context.Context, v View) (Builds, error) {
	b := Builds{View: v.Name}
	err := s.db.Collection(buildCollection).FindOne(ctx, bson.D{{Key: "_id", Value: v.Name}}).Decode(&b)
	if !errors.Is(err, mongo.ErrNoDocuments) {
		return b, err
	}
	return firstBuilds(v, func(older View) (Checkpoint, error) { return s.LoadBuildCheckpoint(ctx, older, older.Collection()) })
}

// firstBuilds returns the builds of a view of which nothing is stored but checkpoints.
func firstBuilds(v View, checkpoint func(View) (Checkpoint, error)) (Builds, error) {
	b := Builds{View: v.Name, Kept: []Build{}, Count: 1}
	for version := v.Version; version > 0; version-- {
		older := View{Name: v.Name, Version: version}
		c, err := checkpoint(older)
		if err != nil {
			return b, err
		}
		if !c.At.IsZero() {
			b.Active = Build{Collection: older.Collection(), Version: version}
			return b, nil
		}
	}
	b.Active = Build{Collection: v.Collection(), Version: v.Version}
	return b, nil
}

// SaveBuilds records which builds a view has. It fails with ErrLeaseLost if a later holder of the lease has written
// meanwhile.
func (s *Store) SaveBuilds(ctx context.Context, b Builds) error {
	_, err := s.db.Collection(buildCollection).ReplaceOne(ctx, fenced(b.View, b.Token), b, options.Replace().SetUpsert(true))
	if mongo.IsDuplicateKeyError(err) {
		return fmt.Errorf("note the builds of %s: %w", b.View, ErrLeaseLost)
	}
	if err != nil {
		return fmt.Errorf("note the builds of %s: %w", b.View, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setActiveLocked(b.View, b.Active.Collection)
	return nil
}

// DropBuild drops the collection of a build and its checkpoint.
func (s *Store) DropBuild(ctx context.Context, collection string) error {
	if err := s.db.Collection(collection).Drop(ctx); err != nil {
		return fmt.Errorf("drop %s: %w", collection, err)
	}
	_, err := s.db.Collection(checkpointCollection).DeleteOne(ctx, bson.D{{Key: "_id", Value: collection}})
	return err
}

// setActiveLocked changes the active build of a view. Callers that wait for the former one check again. s.mu is held.
func (s *Store) setActiveLocked(view, collection string) {
	if s.active.collections == nil {
		s.active.collections = map[string]string{}
	}
	if before := s.active.collections[view]; before != collection {
		s.active.collections[view] = collection
		if p := s.progress[before]; p != nil {
			p.projectedHere = false
			close(p.moved)
			p.moved = make(chan struct{})
		}
	}
}

// activeCollection returns the collection of a view's active build. It reads which one that is at most once a second, and
// keeps what it knows if the store does not answer.
func (s *Store) activeCollection(v View) string {
	s.mu.Lock()
	name, known := s.active.collections[v.Name]
	if !s.active.checking && time.Since(s.active.checked) > activeFor {
		s.active.checking = true
		s.mu.Unlock()
		s.checkActive()
		s.mu.Lock()
		s.active.checking, s.active.checked = false, time.Now()
		name, known = s.active.collections[v.Name]
	}
	s.mu.Unlock()
	if !known {
		return v.Collection()
	}
	return name
}

func (s *Store) checkActive() {
	ctx, cancel := context.WithTimeout(context.Background(), activeTimeout)
	defer cancel()
	found, err := s.db.Collection(buildCollection).Find(ctx, bson.D{},
		options.Find().SetProjection(bson.D{{Key: "live.collection", Value: 1}}))
	if err != nil {
		return
	}
	var all []Builds
	if found.All(ctx, &all) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range all {
		s.setActiveLocked(b.View, b.Active.Collection)
	}
}
