package readmodels

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"golang.org/x/sync/singleflight"
)

// View names one kind of document, with the version of the fold that makes it. A new version is filled into a
// collection of its own, beside the old one.
type View struct {
	Name    string
	Version int
	// Indexes are those that the view's queries use.
	Indexes []mongo.IndexModel
}

// Collection returns the name of the view's collection.
func (v View) Collection() string { return fmt.Sprintf("%s_v%d", v.Name, v.Version) }

// Header is what every document carries: its key, and the log position that it has seen.
type Header struct {
	ID string `bson:"_id" json:"-"`
	// Position is the commit position of the last event folded into the document. It guards against folding twice.
	Position int64 `bson:"_position" json:"position" doc:"Log position that the answer has seen"`
	// Prepared is how far before its commit position that event was prepared. It is 0 on servers where the two are alike;
	// on others events may share a commit position, and this tells them apart.
	Prepared int64 `bson:"_prepared,omitempty" json:"-"`
}

// Seen says whether the document has seen the event at a position of the log.
func (h *Header) Seen(p domain.Position) bool {
	return !domain.Position{Commit: uint64(h.Position), Prepare: uint64(h.Position - h.Prepared)}.Before(p)
}

// See notes that the event at a position of the log is in the document.
func (h *Header) See(p domain.Position) {
	h.Position, h.Prepared = int64(p.Commit), int64(p.Commit)-int64(p.Prepare)
}

// Head returns the header; it makes every document with a Header a Document.
func (h *Header) Head() *Header { return h }

// Document is a pointer to a document of a view.
type Document interface{ Head() *Header }

// Store is the database of the views. It is safe for concurrent use.
type Store struct {
	client *mongo.Client
	db     *mongo.Database
	views  []View
	// majority says that writes wait for the majority of a replica set.
	majority bool
	// write writes to a server of this process without a connection; nil where there is none.
	write func(ctx context.Context, database string, command []byte) (answer []byte, err error)

	mu       sync.Mutex
	progress map[string]*progress // by collection: two builds of a view go each at its own pace
	// built holds the collections of builds that have caught up before.
	built  map[string]bool
	active activeBuilds // guarded by mu too
	// notKept are the views that no process keeps, lost the collections of builds that were made from a past that the log does not
	// have. mu guards them too.
	notKept, lost remembered
	// reading reads checkpoints and leases, each at most once at a time.
	reading singleflight.Group
}

// progress is how far a build has folded the log, as this process knows it.
type progress struct {
	commit uint64
	moved  chan struct{}
	// projectedHere says that this process projects the view, and so knows its progress without reading it.
	projectedHere bool
	// read is the checkpoint as it was read last, at readAt.
	read   Checkpoint
	readAt time.Time
}

const (
	checkpointCollection = "checkpoints"
	waitPoll             = 20 * time.Millisecond
	// waitPollHere is for a process that has projected the view, and may have left that to another.
	waitPollHere = time.Second
	storeTimeout = 15 * time.Second
	// indexTimeout is longer than any index takes to build. Without a deadline of its own a call has that of the client.
	indexTimeout = 7 * 24 * time.Hour
	// routerMessage is how a mongos, the router of a sharded cluster, says that it is one.
	routerMessage = "isdbgrid"
)

// Connect returns the store of views in a database of a MongoDB, embedded or real. Against a replica set or a sharded
// cluster, writes wait for the majority and reads see what the majority has. An address that reads from secondaries is
// refused, because what a view has written must be seen by its next read.
func Connect(ctx context.Context, url, database string, views []View, more ...*options.ClientOptions) (*Store, error) {
	own := options.Client().ApplyURI(url).SetAppName("casebook").SetTimeout(storeTimeout)
	if p := own.ReadPreference; p != nil && p.Mode() != readpref.PrimaryMode {
		return nil, fmt.Errorf("read models: the address asks for readPreference=%s, but views have to be read where they are written; "+
			"leave it out, or give primary", p.Mode())
	}
	client, err := mongo.Connect(append([]*options.ClientOptions{own}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("read models: %w", err) // the address may hold a password
	}
	s := &Store{client: client, views: views, progress: map[string]*progress{}}
	db := options.Database()
	var hello struct {
		SetName string `bson:"setName"`
		Message string `bson:"msg"`
	}
	if err := client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
		if refused := Refusal(err); refused != nil {
			return nil, errors.Join(refused, client.Disconnect(ctx))
		}
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrAway, err), client.Disconnect(context.WithoutCancel(ctx)))
	}
	if hello.SetName != "" || hello.Message == routerMessage {
		s.majority = true
		db.SetWriteConcern(writeconcern.Majority()).SetReadConcern(readconcern.Majority())
	}
	s.db = client.Database(database, db)
	return s, nil
}

// WriteWith has documents written by a function, which runs the same commands as the connection: that of an embedded server in this
// process. Everything else uses the connection. It is called before the store is used.
func (s *Store) WriteWith(write func(ctx context.Context, database string, command []byte) (answer []byte, err error)) {
	s.write = write
}

// ErrAway means that the store of the read models does not answer, or answers with an error that may pass.
var ErrAway = errors.New("the store of the read models does not answer")

// awaitPause is how long Await waits before it tries again.
const awaitPause = time.Second

// Await is Connect that waits for the store, until ctx ends. It fails at once with what no waiting changes: an address that is
// wrong, and an ErrRefused.
func Await(ctx context.Context, logger *slog.Logger, url, database string, views []View) (*Store, error) {
	for {
		s, err := Connect(ctx, url, database, views)
		if err == nil || ctx.Err() != nil || !errors.Is(err, ErrAway) {
			return s, err
		}
		logger.Warn("waits for the store of the read models", "error", err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(awaitPause):
		}
	}
}

// Views returns the views that the store holds, in the order in which they were given.
func (s *Store) Views() []View { return slices.Clone(s.views) }

// Close ends the connection.
func (s *Store) Close(ctx context.Context) error { return s.client.Disconnect(ctx) }

// DropAll drops all views with everything that is known about them. Nothing may build them meanwhile.
func (s *Store) DropAll(ctx context.Context) error {
	if err := s.db.Drop(ctx); err != nil {
		return fmt.Errorf("drop the views: %w", err)
	}
	return nil
}

// Ping asks whether the store answers.
func (s *Store) Ping(ctx context.Context) error { return s.client.Ping(ctx, nil) }

// Collection returns the collection of the view's active build.
func (s *Store) Collection(v View) *mongo.Collection { return s.db.Collection(s.activeCollection(v)) }

// CollectionNamed returns the collection of any build of a view.
func (s *Store) CollectionNamed(name string) *mongo.Collection { return s.db.Collection(name) }

// EnsureIndexes makes the indexes that the views declare, in the collections of the active builds.
func (s *Store) EnsureIndexes(ctx context.Context) error {
	for _, v := range s.views {
		if err := s.IndexBuild(ctx, v, s.activeCollection(v)); err != nil {
			return err
		}
	}
	return nil
}

// IndexBuild makes the indexes of a view in the collection of one of its builds. It waits as long as that takes.
func (s *Store) IndexBuild(ctx context.Context, v View, collection string) error {
	if len(v.Indexes) == 0 {
		return nil
	}
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, indexTimeout)
		defer cancel()
	}
	if _, err := s.db.Collection(collection).Indexes().CreateMany(ctx, v.Indexes); err != nil {
		return fmt.Errorf("make the indexes of %s: %w", v.Name, err)
	}
	return nil
}

// State says what a projection is doing.
type State string

// The states of a projection.
const (
	CatchingUp State = "catching-up"
	Live       State = "live"
	Stopped    State = "stopped"
	// OtherPast says that the log has another past than the one from which the view was made, as after the restore of an older
	// backup. The view stands still until somebody has it rebuilt, or puts the right log back.
	OtherPast State = "other-past"
	// NotKept is never stored: it says that no process keeps the view.
	NotKept State = "not-kept"
)

// Schema implements domain.HasSchema.
func (State) Schema() domain.Schema {
	return domain.OneOf(CatchingUp, Live, Stopped, OtherPast, NotKept)
}

// Checkpoint is how far a build has folded the log. It is written after the documents, so that after a crash in between
// some events are folded again, which changes nothing.
type Checkpoint struct {
	Collection string          `bson:"_id" json:"-"`
	View       string          `bson:"view" json:"view" doc:"Name of the view"`
	Version    int             `bson:"version" json:"version" doc:"Version of its fold"`
	Position   domain.Position `bson:"position" json:"position" doc:"Log position up to which it has folded"`
	State      State           `bson:"state" json:"state" doc:"What it is doing"`
	// Last is the mark of the last event of the log up to Position; zero where it is not known. By it the log is recognised
	// later.
	Last domain.Mark `bson:"last,omitempty" json:"-"`
	// Lost is set while the log has another past than the one that was folded.
	Lost *Lost `bson:"lost,omitempty" json:"-"`
	// Reason says why it stopped: the event, and what went wrong.
	Reason string `bson:"reason,omitempty" json:"reason,omitempty" doc:"Why it stopped"`
	Events int64  `bson:"events" json:"events" doc:"Events folded so far"`
	Batch  int    `bson:"batch" json:"batch" doc:"Events folded in the last batch"`
	// LastEventAt is nil until there was an event.
	LastEventAt *time.Time `bson:"lastEventAt,omitempty" json:"lastEventAt,omitempty" doc:"When the last event that it shows was recorded"`
	// LagMillis is how long after an event was recorded the last batch's views showed it.
	LagMillis int64     `bson:"lagMillis" json:"lagMillis" doc:"Milliseconds from recorded to visible, at the last batch"`
	At        time.Time `bson:"at" json:"at" doc:"When this was noted"`
	// Token is that of the lease under which it was written.
	Token int64 `bson:"token" json:"-"`
	// FailedAt is the event at which it has stopped.
	FailedAt *FailedAt `bson:"failedAt,omitempty" json:"failedAt,omitempty" doc:"The event at which it has stopped"`
	// Complete is true once the build has caught up with the log for the first time.
	Complete bool `bson:"complete,omitempty" json:"-"`
	// LeftOut are the streams that it leaves out, in the order of their names.
	LeftOut []LeftOut `bson:"leftOut,omitempty" json:"leftOut,omitempty" doc:"Streams that it leaves out from an event on that it cannot show"`
	// Rate and RemainingMillis are those of a build that catches up; 0 is not known.
	Rate            float64 `bson:"rate,omitempty" json:"rate,omitempty" doc:"Events folded a second, while it catches up"`
	RemainingMillis int64   `bson:"remainingMillis,omitempty" json:"remainingMillis,omitempty" doc:"Milliseconds until it has caught up, at this pace"`
	// End is the log's end as it was known last.
	End uint64 `bson:"end,omitempty" json:"end,omitempty" doc:"Position of the log's end, as it was known last"`
}

// Lost says that a view was made from a past that the log does not have.
type Lost struct {
	// Since is when this was found.
	Since time.Time `bson:"since"`
	// Requests is how many rebuilds of the view the log held then. A later one makes the view anew.
	Requests int `bson:"requests"`
}

// FailedAt names an event that a projection cannot get past.
type FailedAt struct {
	Study    domain.StudyID  `bson:"study,omitempty" json:"study,omitempty" doc:"Its study"`
	Stream   string          `bson:"stream" json:"stream" doc:"Its stream"`
	Revision uint64          `bson:"revision" json:"revision" doc:"Its revision there"`
	Type     string          `bson:"type" json:"type" doc:"Its type"`
	Position domain.Position `bson:"position" json:"position" doc:"Its log position"`
}

// LeftOut is a stream that a build leaves out from an event on, because the event cannot be read, or not be folded. All
// other streams go on.
type LeftOut struct {
	FailedAt `bson:",inline"`
	Reason   string    `bson:"reason" json:"reason" doc:"Why the event cannot be shown"`
	Since    time.Time `bson:"since" json:"since" doc:"When this was noticed"`
	// Unreadable is true if the event cannot be decoded. A program that can decode it builds the view anew.
	Unreadable bool `bson:"unreadable,omitempty" json:"-"`
	// Reconsidered is how often people had decided to skip an event of the view, or to try again. After the next such
	// decision the view is built anew.
	Reconsidered int `bson:"reconsidered,omitempty" json:"-"`
}

// LoadCheckpoint returns the checkpoint of the view's active build; its Position is zero if the build has not begun.
func (s *Store) LoadCheckpoint(ctx context.Context, v View) (Checkpoint, error) {
	return s.LoadBuildCheckpoint(ctx, v, s.activeCollection(v))
}

// LoadBuildCheckpoint returns the checkpoint of one of the builds of a view.
func (s *Store) LoadBuildCheckpoint(ctx context.Context, v View, collection string) (Checkpoint, error) {
	c := Checkpoint{Collection: collection, View: v.Name, Version: v.Version, State: CatchingUp}
	err := s.db.Collection(checkpointCollection).FindOne(ctx, bson.D{{Key: "_id", Value: collection}}).Decode(&c)
	if errors.Is(err, mongo.ErrNoDocuments) {
		err = nil
	}
	return c, err
}

// HasCaughtUp says whether the build has ever caught up with the log. Earlier programs noted only whether it has now.
func (c Checkpoint) HasCaughtUp() bool { return c.Complete || c.State == Live }

// Begun returns the checkpoint with which a fold goes on from c: it catches up, and tries again what it had stopped at.
func (c Checkpoint) Begun() Checkpoint {
	c.Complete = c.HasCaughtUp()
	c.State, c.Reason, c.FailedAt, c.Lost = CatchingUp, "", nil, nil
	return c
}

// Built refuses (code view_building) while the view's first build has not caught up with the log: what it shows is not all
// that there is, and what it does not show may exist.
func (s *Store) Built(ctx context.Context, v View) error {
	collection := s.activeCollection(v)
	s.mu.Lock()
	built := s.built[collection]
	s.mu.Unlock()
	if built {
		return nil
	}
	c, err := s.LoadBuildCheckpoint(ctx, v, collection)
	if err != nil {
		return err
	}
	if !c.HasCaughtUp() {
		left := "it has not begun"
		switch {
		case c.RemainingMillis > 0:
			left = fmt.Sprintf("it has come to position %d of %d, and takes about %d s more", c.Position.Commit, c.End,
				1+c.RemainingMillis/1000)
		case !c.At.IsZero():
			left = fmt.Sprintf("it has come to position %d", c.Position.Commit)
		}
		if len(s.NotKept(ctx, v)) > 0 {
			left += ", and no process keeps it"
		}
		return refuse.Overload("view_building", "the view %s is being built for the first time: %s", v.Name, left).
			Do("ask again later; the list of projections shows the progress")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.built == nil {
		s.built = map[string]bool{}
	}
	s.built[collection] = true
	return nil
}

// TakeCheckpoint returns the checkpoint of a build after it has put the token of a lease on it. From then on the former
// holder can no longer move it, so that the new one goes on from what it has read. TakeCheckpoint fails with ErrLeaseLost
// if a later holder was here before.
func (s *Store) TakeCheckpoint(ctx context.Context, v View, collection string, token int64) (Checkpoint, error) {
	c := Checkpoint{Collection: collection, View: v.Name, Version: v.Version, State: CatchingUp}
	begun := bson.D{{Key: "view", Value: v.Name}, {Key: "version", Value: v.Version}, {Key: "state", Value: CatchingUp}}
	err := s.db.Collection(checkpointCollection).FindOneAndUpdate(ctx, fenced(collection, token),
		bson.D{{Key: "$set", Value: bson.D{{Key: "token", Value: token}}}, {Key: "$setOnInsert", Value: begun}},
		options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&c)
	if mongo.IsDuplicateKeyError(err) {
		err = ErrLeaseLost
	}
	if err != nil {
		return c, fmt.Errorf("take the checkpoint of %s: %w", collection, err)
	}
	return c, nil
}

// SaveCheckpoint records how far a build has folded the log, and wakes the callers that wait for it. It fails with
// ErrLeaseLost if a later holder of the lease has written meanwhile.
func (s *Store) SaveCheckpoint(ctx context.Context, c Checkpoint) error {
	filter, err := bson.Marshal(fenced(c.Collection, c.Token))
	if err != nil {
		return err
	}
	checkpoint, err := bson.Marshal(c)
	if err != nil {
		return fmt.Errorf("note how far %s has come: %w", c.View, err)
	}
	later, err := s.send(ctx, "update", checkpointCollection, "updates", 1, len(checkpoint), func(dst []byte, _ int) []byte {
		return appendReplacement(dst, func(dst []byte) []byte { return append(dst, filter...) }, checkpoint)
	})
	if err == nil && later > 0 {
		err = ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("note how far %s has come: %w", c.View, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if lost := c.State == OtherPast; lost != s.lost.names[c.Collection] {
		s.lost.note(c.Collection, lost)
	}
	p := s.progressOf(c.Collection)
	p.commit, p.projectedHere = c.Position.Commit, true
	close(p.moved)
	p.moved = make(chan struct{})
	return nil
}

// WaitFor waits until the view has folded the log up to a commit position. It refuses if ctx ends before: with the code
// view_not_kept where no process keeps the view, and with view_behind otherwise. A process that projects the view itself continues
// at once; others read the checkpoint every 20 milliseconds.
func (s *Store) WaitFor(ctx context.Context, v View, commit uint64) error {
	read := false
	for {
		collection := s.activeCollection(v) // it may be another by the time
		s.mu.Lock()
		p := s.progressOf(collection)
		reached, moved, poll := p.commit, p.moved, waitPoll
		if p.projectedHere {
			poll = waitPollHere
		} else {
			read = true
		}
		s.mu.Unlock()
		if reached >= commit {
			return nil
		}
		if read {
			c, err := s.recentCheckpoint(ctx, v, collection)
			if err == nil && c.Position.Commit >= commit {
				return nil
			}
			if err == nil && c.State == OtherPast {
				return refuseLost(v)
			}
			if err == nil && c.State == Stopped {
				return refuse.Overload("view_stopped", "the view %s has stopped, and will not see position %d before it is mended", v.Name, commit).
					Do("ask without Casebook-Position for what it knows; those who run the system have been told")
			}
		}
		read = false
		select {
		case <-ctx.Done():
			if len(s.NotKept(context.WithoutCancel(ctx), v)) > 0 {
				return refuse.Overload("view_not_kept", "no process keeps the view %s, so that it has not seen position %d", v.Name, commit).
					Do("ask without Casebook-Position for what it knows; those who run the system see this in its readiness")
			}
			return refuse.Overload("view_behind", "the view %s has not seen position %d yet", v.Name, commit).
				Do("ask again in a moment, or without Casebook-Position for what is known now")
		case <-moved:
		case <-time.After(poll):
			read = true
		}
	}
}

// progressOf is called with s.mu held.
func (s *Store) progressOf(collection string) *progress {
	p := s.progress[collection]
	if p == nil {
		p = &progress{moved: make(chan struct{})}
		s.progress[collection] = p
	}
	return p
}
