package readmodels_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// seenAll is the end of a log that has nothing behind any position.
func seenAll(context.Context, domain.Position) (time.Time, bool, error) {
	return time.Time{}, false, nil
}

// statusOf returns what becomes of the active build of the patient list.
func statusOf(t *testing.T, s *readmodels.Store, after readmodels.FirstAfter) readmodels.BuildStatus {
	t.Helper()
	all, err := s.Status(t.Context(), after)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(contexts.Views()) {
		t.Errorf("the status has %d builds of %d views", len(all), len(contexts.Views()))
	}
	for _, b := range all {
		if b.View == patientviews.PatientLists.Name {
			return b
		}
	}
	t.Fatal("the view is missing")
	return readmodels.BuildStatus{}
}

// TestStatusIsFoundOutWhenItIsAsked: the process that kept a view has noted that it is live, and a lag of 11 ms. What is shown
// follows from the lease and the end of the log at the moment of the question.
func TestStatusIsFoundOutWhenItIsAsked(t *testing.T) {
	const lasts = 300 * time.Millisecond
	s, view := connect(t, newDatabase()), patientviews.PatientLists
	check := func(when string, after readmodels.FirstAfter, want readmodels.State, kept bool) readmodels.BuildStatus {
		t.Helper()
		b := statusOf(t, s, after)
		if b.State != want || b.Kept != kept || kept && !b.NotKeptSince.IsZero() {
			t.Errorf("%s, it is %s, kept %v, not kept since %s, by %+v", when, b.State, b.Kept, b.NotKeptSince, b.Keeper)
		}
		return b
	}
	if b := check("when no process has ever taken it", seenAll, readmodels.NotKept, false); !b.NotKeptSince.IsZero() {
		t.Errorf("it was kept until %s", b.NotKeptSince)
	}
	lease, err := s.TakeLease(t.Context(), readmodels.Lease{View: view.Name}, readmodels.HolderName("machine", 17, "x"), lasts)
	if err != nil {
		t.Fatal(err)
	}
	at := readmodels.Checkpoint{Collection: view.Collection(), View: view.Name, Version: view.Version, State: readmodels.Live,
		Position: domain.Position{Commit: 5, Prepare: 5}, LagMillis: 11, At: time.Now(), Token: lease.Token}
	if err := s.SaveCheckpoint(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	b := check("when it is kept and has seen all", seenAll, readmodels.Live, true)
	if k := b.Keeper; k == nil || k.Host != "machine" || k.PID != 17 || k.Since.IsZero() || k.Renewed.Before(k.Since) || b.Lag != 0 {
		t.Errorf("it is kept by %+v and lags %s", k, b.Lag)
	}
	behind := func(ago time.Duration) readmodels.FirstAfter {
		return func(_ context.Context, position domain.Position) (time.Time, bool, error) {
			return time.Now().Add(-ago), position == at.Position, nil
		}
	}
	if b := check("when an event has just been stored", behind(time.Second), readmodels.Live, true); b.Lag < time.Second {
		t.Errorf("it lags %s", b.Lag)
	}
	if b := check("when it has not seen an event for a minute", behind(time.Minute), readmodels.CatchingUp, true); b.Lag < time.Minute {
		t.Errorf("it lags %s", b.Lag)
	}
	time.Sleep(lasts + 100*time.Millisecond)
	if b := check("when its keeper is silent", behind(time.Minute), readmodels.NotKept, false); b.Keeper == nil || b.Lag < time.Minute ||
		!b.NotKeptSince.Equal(b.Keeper.Renewed) {
		t.Errorf("it lags %s, and was kept until %s by %+v", b.Lag, b.NotKeptSince, b.Keeper)
	}
	if err := s.KeepLease(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	check("when its keeper is back", seenAll, readmodels.Live, true)
	at.State = readmodels.Stopped
	if err := errors.Join(s.LeaveLease(t.Context(), lease), s.SaveCheckpoint(t.Context(), at)); err != nil {
		t.Fatal(err)
	}
	check("when its keeper has just left it", seenAll, readmodels.Stopped, true)
	time.Sleep(lasts + 100*time.Millisecond)
	if b := check("when nobody has taken it since", seenAll, readmodels.Stopped, false); b.NotKeptSince.IsZero() || b.Keeper != nil {
		t.Errorf("it was kept until %s by %+v", b.NotKeptSince, b.Keeper)
	}
	if _, err := s.Status(t.Context(), func(context.Context, domain.Position) (time.Time, bool, error) {
		return time.Time{}, false, context.DeadlineExceeded
	}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("when the log does not answer: %v", err)
	}
}

// TestTheLeaseOfAnEarlierProgramHolds: earlier programs do not note when they renew a lease.
func TestTheLeaseOfAnEarlierProgramHolds(t *testing.T) {
	database := newDatabase()
	s := connect(t, database)
	client, err := driver.Connect(options.Client().ApplyURI(mongoURL))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(t.Context()) }()
	if _, err := client.Database(database).Collection("leases").InsertOne(t.Context(), bson.D{
		{Key: "_id", Value: patientviews.PatientLists.Name}, {Key: "holder", Value: "machine/17/x"}, {Key: "token", Value: int64(7)},
		{Key: "beat", Value: int64(19)}}); err != nil {
		t.Fatal(err)
	}
	if b := statusOf(t, s, seenAll); !b.Kept || b.Keeper.PID != 17 || b.State != readmodels.CatchingUp {
		t.Errorf("it is %s, kept %v by %+v", b.State, b.Kept, b.Keeper)
	}
}
