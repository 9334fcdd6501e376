package readmodels_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/user"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
)

// script is a log that gives out what a test writes.
type script struct {
	batches chan readmodels.ChangeBatch
	given   chan struct{}
}

// End implements readmodels.ChangeLog.
func (script) End(context.Context) (domain.Position, error) { return domain.Position{}, nil }

// Follow implements readmodels.ChangeLog.
func (s script) Follow(ctx context.Context, _ domain.Position, give func(context.Context, readmodels.ChangeBatch) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-s.batches:
			if err := give(ctx, b); err != nil {
				return err
			}
			s.given <- struct{}{}
		}
	}
}

// write returns when the feed has passed a batch on.
func (s script) write(commit uint64, events ...readmodels.RecordedChange) {
	s.batches <- readmodels.ChangeBatch{Events: events, Through: domain.Position{Commit: commit, Prepare: commit}, CaughtUp: true}
	<-s.given
}

// changed is an event about a patient that some views fold.
func changed(patient int, views ...readmodels.View) readmodels.RecordedChange {
	e := readmodels.RecordedChange{Scopes: []domain.Scope{{Study: "S", Site: "01", Patient: domain.PatientID(fmt.Sprint("S.", patient))}}}
	for _, v := range views {
		e.Views = append(e.Views, v.Name)
	}
	return e
}

// listen returns a data manager of the study S who listens to a scripted log, and a way to let a view see the log up to a
// commit position.
func listen(t *testing.T) (l *readmodels.Listener, log script, see func(v readmodels.View, commit uint64)) {
	t.Helper()
	store := connect(t, newDatabase())
	log = script{make(chan readmodels.ChangeBatch), make(chan struct{})}
	feed := readmodels.NewChangeFeed(readmodels.ChangeFeedOptions{Log: log, Store: store, Queries: contexts.Queries()})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- feed.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	manager := access.Principal{User: "manager", Grants: []user.Grant{{Role: user.DataManager, Study: "S"}}}
	l, err := feed.Listen(manager, readmodels.ChangesQuery{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Leave)
	if err := l.Begin(t.Context(), readmodels.Bookmark{}); err != nil {
		t.Fatal(err)
	}
	return l, log, func(v readmodels.View, commit uint64) {
		t.Helper()
		err := store.SaveCheckpoint(context.Background(), readmodels.Checkpoint{Collection: v.Collection(), View: v.Name,
			Position: domain.Position{Commit: commit}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestASlowListenerHearsLessOften and holds nobody up: what it has not taken is merged, and bounded.
func TestASlowListenerHearsLessOften(t *testing.T) {
	l, log, see := listen(t)
	for _, v := range contexts.Views() {
		see(v, 1<<40)
	}
	log.write(5, changed(1, diaryviews.Diaries))
	log.write(6, changed(1, patientviews.PatientLists), changed(2, diaryviews.Diaries))
	<-l.Ready()
	c, through, missed := l.Take()
	if missed || through.Commit != 6 || c.Position != 6 || len(c.Changes) != 2 ||
		!slices.Equal(c.Changes[0].Views, []string{"patient-list", "diaries"}) ||
		len(c.Behind) > 0 {
		t.Errorf("it takes %+v, missed %v", c, missed)
	}
	const most = 1000 // patients, sites and studies in one message
	for n := range most + 1 {
		log.write(uint64(10+n), changed(n, diaryviews.Diaries))
	}
	if c, through, missed = l.Take(); !missed || len(c.Changes) != 0 || through.Commit != 10+most {
		t.Errorf("it takes %+v up to %v, missed %v", c, through, missed)
	}
	log.write(5000, changed(1, diaryviews.Diaries))
	if c, _, missed = l.Take(); missed || len(c.Changes) != 1 {
		t.Errorf("after that it takes %+v, missed %v", c, missed)
	}
}

// TestAViewThatLagsIsNamedAndHoldsNobodyUp: listeners hear of what it does not show yet, as of that.
func TestAViewThatLagsIsNamedAndHoldsNobodyUp(t *testing.T) {
	l, log, see := listen(t)
	see(patientviews.PatientLists, 1<<40)
	see(diaryviews.Diaries, 5)
	for n, most := range []time.Duration{4 * time.Second, time.Second} { // it is not waited for as long once more
		begun := time.Now()
		log.write(uint64(10+n), changed(1, patientviews.PatientLists, diaryviews.Diaries))
		if took := time.Since(begun); took > most {
			t.Errorf("event %d was held up for %v", n, took)
		}
		c, _, _ := l.Take()
		if !slices.Equal(c.Behind, []string{"diaries"}) || len(c.Changes) != 1 || len(c.Changes[0].Views) != 2 {
			t.Errorf("event %d: it takes %+v", n, c)
		}
	}
	see(diaryviews.Diaries, 20)
	log.write(20, changed(1, diaryviews.Diaries))
	if c, _, _ := l.Take(); len(c.Behind) > 0 || len(c.Changes) != 1 {
		t.Errorf("back again, it takes %+v", c)
	}
}
