package projections_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/embedded/mongo"
	"casebook/projections"
	patientprojections "casebook/projections/patient"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// logged holds what a logger wrote.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// runRefused runs an engine of one view on the world's store until the test ends.
func runRefused(t *testing.T, w *world) (*projections.Engine, *logged) {
	t.Helper()
	written := &logged{}
	e := projections.NewEngine(projections.Options{Log: w.log, Store: w.store, Logger: slog.New(slog.NewTextHandler(written, nil)),
		Projections: []projections.Projection{patientprojections.PatientList}})
	e.AskAgainAfter(200 * time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the engine ended with %v", err)
		}
	})
	return e, written
}

func awaitStopped(t *testing.T, e *projections.Engine, reason string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		at := e.Status()[0]
		if at.State == readmodels.Stopped && strings.Contains(at.Reason, reason) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the view is %s: %q", at.State, at.Reason)
		}
	}
}

// TestAnAccountWithoutRightsStopsTheView gives the engine an account that may only read.
func TestAnAccountWithoutRightsStopsTheView(t *testing.T) {
	reader := mongo.User{Name: "reader", Password: "only reads", Role: mongo.Read}
	store, err := mongo.Open(t.Context(), mongo.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Users: []mongo.User{reader}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	w := newWorld(t)
	url := "mongodb://reader:only%20reads@" + store.Addr() + "/?directConnection=true"
	if w.store, err = readmodels.Connect(t.Context(), url, "db", contexts.Views()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close(context.Background()) })
	e, written := runRefused(t, w)
	awaitStopped(t, e, "grant it readWrite")
	if strings.Contains(written.String(), "wait for the store") || !strings.Contains(written.String(), "grant it readWrite") {
		t.Errorf("the log says %s", written)
	}

	_, err = readmodels.Connect(t.Context(), strings.Replace(url, "only", "never", 1), "db", contexts.Views())
	if err == nil || !strings.Contains(err.Error(), "password") {
		t.Errorf("with a wrong password: %v", err)
	}
}

// TestAConflictingIndexStopsTheView has somebody make an index of a view's name with another key. The view goes on when it
// is dropped.
func TestAConflictingIndexStopsTheView(t *testing.T) {
	w := newWorld(t)
	view := patientviews.PatientLists
	client, err := driver.Connect(options.Client().ApplyURI(mongoURL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	collection := client.Database(w.database).Collection(view.Collection())
	// What the view's first index is called becomes known by making it.
	name, err := collection.Indexes().CreateOne(t.Context(), view.Indexes[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := collection.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	foreign := driver.IndexModel{Keys: bson.D{{Key: "somethingElse", Value: 1}}, Options: options.Index().SetName(name)}
	if _, err := collection.Indexes().CreateOne(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	w.screen(0)
	e, written := runRefused(t, w)
	awaitStopped(t, e, "drop that index")
	if strings.Contains(written.String(), "wait for the store") {
		t.Errorf("the log says %s", written)
	}
	// The store has the reason, by which readiness tells of it.
	all, err := w.store.Checkpoints(t.Context())
	if err != nil || len(all) != 1 || all[0].State != readmodels.Stopped || !strings.Contains(all[0].Reason, name) {
		t.Errorf("the checkpoints are %+v, %v", all, err)
	}
	if err := collection.Indexes().DropOne(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	w.wait(view)
	for deadline := time.Now().Add(20 * time.Second); e.Status()[0].State != readmodels.Live; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the view does not go on: %+v", e.Status()[0])
		}
	}
}
