package api

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/security"
	"casebook/domain/user"
	"casebook/eventlog"
)

// serveAlone serves an API with a handler of its own. stop ends the handler, which then has recorded all refusals.
func serveAlone(t *testing.T) (c client, stop func()) {
	t.Helper()
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: the.eventStoreURL, Registry: contexts.Registry()})
	if err != nil {
		t.Fatal(err)
	}
	h := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(), Now: func() time.Time { return now }})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	if err := h.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return serve(t, func(o *options) {
			o.Handler, o.engine.ScopeOf, o.engine.RecordRefusal = h, h.PatientScope, h.RecordRefusal
		}), func() {
			t.Helper()
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
}

// recordedRefusals returns the refusals of a user in the security log, in full. It waits for the first one: a request is answered
// before its refusal is recorded when that takes long.
func recordedRefusals(t *testing.T, who domain.UserID) (all []security.AccessRefused) {
	t.Helper()
	for ; len(all) == 0; time.Sleep(5 * time.Millisecond) {
		for r, err := range the.log.ReadStream(t.Context(), security.Decider.Stream(string(domain.DateOf(now))), 0) {
			if err != nil {
				t.Fatal(err)
			}
			if e, is := r.Event.(security.AccessRefused); is && e.Actor == who {
				all = append(all, e)
			}
		}
	}
	return all
}

// refusalsOf returns the refusals of a user, those in full and those that are counted, by action and code.
func refusalsOf(t *testing.T, who domain.UserID) (full, counted map[string]int) {
	t.Helper()
	full, counted = map[string]int{}, map[string]int{}
	for r, err := range the.log.ReadStream(t.Context(), security.Decider.Stream(string(domain.DateOf(now))), 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch e := r.Event.(type) {
		case security.AccessRefused:
			if e.Actor == who {
				full[e.Action+" "+e.Code]++
			}
		case security.RefusalsRepeated:
			if e.Actor == who {
				counted[e.Action+" "+e.Code] += e.Count
			}
		}
	}
	return full, counted
}

func asBody(t *testing.T, command any) json.RawMessage {
	t.Helper()
	body, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestR9_AfterALockEveryRefusedCommandCounts locks an account. Its commands are counted one by one, also those of a batch that is
// refused as a whole.
func TestR9_AfterALockEveryRefusedCommandCounts(t *testing.T) {
	c, stop := serveAlone(t)
	tr := newTrial(t)
	p := newPerson(t, c, user.Grant{Role: user.CRC, Study: tr.study, Site: "01"})
	_, signedIn := p.signIn("")
	signedIn.accepted(tr.transcription(4))
	doAs(t, administrator("first.admin"), user.LockUser{OfUser: domain.ForUser(p.id), Reasoned: domain.Because("stolen")})
	for signedIn.get("/api/v1/me").StatusCode == http.StatusOK {
		time.Sleep(time.Millisecond) // another handler has recorded the lock
	}
	for range 3 {
		signedIn.command(tr.transcription(5)).refused(t, http.StatusUnauthorized, "account_locked")
	}
	entry := BatchCommand{Command: "TranscribeDiary", Body: asBody(t, tr.transcription(5))}
	batch := asBody(t, Batch{Commands: []BatchCommand{entry, entry, {Command: "NoCommand", Body: entry.Body}, entry}})
	for range 2 {
		signedIn.post("/api/v1/commands:batch", string(batch)).refused(t, http.StatusUnauthorized, "account_locked")
	}
	stop()
	full, counted := refusalsOf(t, p.id)
	const diary, whole = "TranscribeDiary account_locked", "Batch account_locked"
	if full[diary] != 1 || counted[diary] != 2+2*3 || full[whole] != 1 || counted[whole] != 1 {
		t.Errorf("recorded in full %v, counted %v", full, counted)
	}
}

// TestR9_CommandsBehindTheEndOfASessionCount: what a batch is refused because its session has ended meanwhile is recorded.
func TestR9_CommandsBehindTheEndOfASessionCount(t *testing.T) {
	c, stop := serveAlone(t)
	tr := newTrial(t)
	p := newPerson(t, c, user.Grant{Role: user.CRC, Study: tr.study, Site: "01"})
	_, signedIn := p.signIn("")
	entry := BatchCommand{Command: "TranscribeDiary", Key: "a", Body: asBody(t, tr.transcription(5))}
	signOut := BatchCommand{Command: "SignOut", Key: "b", Body: asBody(t, user.SignOut{OfUser: domain.ForUser(p.id)})}
	answer := signedIn.batch(Batch{Commands: []BatchCommand{signOut, entry, entry}})
	for i, item := range answer.Items {
		if want := []int{http.StatusOK, http.StatusUnauthorized, http.StatusUnauthorized}[i]; item.Status != want {
			t.Errorf("item %d is answered %d: %+v", i, item.Status, item.Problem)
		}
	}
	stop()
	const diary = "TranscribeDiary session_ended"
	if full, counted := refusalsOf(t, p.id); full[diary] != 1 || counted[diary] != 1 {
		t.Errorf("recorded in full %v, counted %v", full, counted)
	}
}
