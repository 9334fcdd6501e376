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

// Build is one filling of a view with what the log says: a collection of its own.
type Build struct {
	Collection string `bson:"collection" json:"collection" doc:"Its collection"`
	Version    int    `bson:"version" json:"version" doc:"Version of the fold that makes it"`
	// Request is the number of the rebuild that it answers; 0 is none.
	Request int       `bson:"request" json:"-"`
	Begun   time.Time `bson:"begun" json:"begun" doc:"When it was begun"`
}

// Builds says which builds a view has. It is one document, so that a new build is put in the place of the old one in one
// step.
type Builds struct {
	View string `bson:"_id" json:"view" doc:"The view"`
	// Token is that of the lease under which it was written.
	Token int64 `bson:"token" json:"-"`
	Live  Build `bson:"live" json:"live" doc:"The build that is asked"`
	// Building is nil where none is made.
	Building *Build `bson:"building,omitempty" json:"building,omitempty" doc:"The build that is made beside it"`
	// Kept are old ones, which stay until they are dropped.
	Kept []Build `bson:"kept" json:"kept" doc:"Old builds, until they are dropped"`
	// Count is how many builds there have been; Request is the last rebuild that was carried out.
	Count   int       `bson:"count" json:"-"`
	Request int       `bson:"request" json:"-"`
	Since   time.Time `bson:"since" json:"since" doc:"Since when the live build is asked"`
}

// Next returns the builds with one more that is to be made.
func (b Builds) Next(v View, request int, at time.Time) Builds {
	b.Count++
	b.Building = &Build{Collection: fmt.Sprintf("%s_b%d", v.Collection(), b.Count), Version: v.Version, Request: request, Begun: at}
	return b
}

// Switched returns the builds with the one that was made in the place of the one that was asked, which is kept.
func (b Builds) Switched(at time.Time) Builds {
	b.Kept = append(slices.Clone(b.Kept), b.Live)
	b.Live, b.Building, b.Since = *b.Building, nil, at
	b.Request = max(b.Request, b.Live.Request)
	return b
}

const (
	buildCollection = "builds"
	// liveFor is how long this process asks a build without looking whether another has taken its place.
	liveFor = time.Second
	// KeptAtLeast is how long an old build is kept in any case: others may still ask it.
	KeptAtLeast = 10 * liveFor
)

// asked are the collections that this process asks, by view.
type asked struct {
	live    map[string]string
	looked  time.Time
	looking bool
}

// BuildsOf returns the builds of a view. A view that was never built anew has one, in the collection named for its
// version; or, where only older versions have been filled, the newest of those.
func (s *Store) BuildsOf(ctx context.Context, v View) (Builds, error) {
	b := Builds{View: v.Name}
	err := s.db.Collection(buildCollection).FindOne(ctx, bson.D{{Key: "_id", Value: v.Name}}).Decode(&b)
	if !errors.Is(err, mongo.ErrNoDocuments) {
		return b, err
	}
	b.Kept = []Build{}
	for version := v.Version; version > 0; version-- {
		older := View{Name: v.Name, Version: version}
		c, err := s.LoadBuildCheckpoint(ctx, older, older.Collection())
		if err != nil {
			return b, err
		}
		if !c.At.IsZero() {
			b.Live, b.Count = Build{Collection: older.Collection(), Version: version}, 1
			return b, nil
		}
	}
	b.Live, b.Count = Build{Collection: v.Collection(), Version: v.Version}, 1
	return b, nil
}

// SaveBuilds notes which builds a view has. It fails with ErrLeaseLost where a later holder of the lease has written
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
	s.asksLocked(b.View, b.Live.Collection)
	return nil
}

// DropBuild drops the collection of a build, and what is known of how far it has come.
func (s *Store) DropBuild(ctx context.Context, collection string) error {
	if err := s.db.Collection(collection).Drop(ctx); err != nil {
		return fmt.Errorf("drop %s: %w", collection, err)
	}
	_, err := s.db.Collection(checkpointCollection).DeleteOne(ctx, bson.D{{Key: "_id", Value: collection}})
	return err
}

// asksLocked is called with s.mu held. Who waits on the build that was asked looks again.
func (s *Store) asksLocked(view, collection string) {
	if s.asked.live == nil {
		s.asked.live = map[string]string{}
	}
	if before := s.asked.live[view]; before != collection {
		s.asked.live[view] = collection
		if p := s.progress[before]; p != nil {
			p.told = false
			close(p.moved)
			p.moved = make(chan struct{})
		}
	}
}

// live returns the collection of the view that is asked. Whether that is still so is looked up once in a while; when the
// store does not answer, what was known holds.
func (s *Store) live(v View) string {
	s.mu.Lock()
	name, known := s.asked.live[v.Name]
	if !s.asked.looking && time.Since(s.asked.looked) > liveFor {
		s.asked.looking = true
		s.mu.Unlock()
		s.lookForBuilds()
		s.mu.Lock()
		s.asked.looking, s.asked.looked = false, time.Now()
		name, known = s.asked.live[v.Name]
	}
	s.mu.Unlock()
	if !known {
		return v.Collection()
	}
	return name
}

func (s *Store) lookForBuilds() {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
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
		s.asksLocked(b.View, b.Live.Collection)
	}
}
