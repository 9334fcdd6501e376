package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/security"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/projections"
	"casebook/readmodels"

	"github.com/google/uuid"
)

// client speaks to a running API over HTTP.
type client struct {
	t      testing.TB
	api    *API
	tokens *access.Tokens
	url    string
	http   *http.Client
	// token is sent with every request; none when empty.
	token string
}

// options are the options of an API in a test, and of the engine and the change feed that it uses.
type options struct {
	Options
	engine  readmodels.EngineOptions
	changes *readmodels.ChangeFeedOptions
}

// serve starts an API over the shared world, on a port of its own, until the test ends.
func serve(t testing.TB, change func(*options)) client {
	t.Helper()
	tokens, err := access.NewTokens(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	o := options{Options: Options{Handler: the.handler, Tokens: tokens, Ready: the.log.Ping, Build: "test"},
		engine: readmodels.EngineOptions{Store: the.store, Queries: contexts.Queries(), ScopeOf: the.handler.PatientScope,
			RecordRefusal: the.handler.RecordRefusal, States: the.handler.StateOf, FirstAfter: the.blinded.FirstAfter,
			Record: projections.Record(the.blinded, the.log.PersonalKeys())},
		changes: &readmodels.ChangeFeedOptions{Log: projections.NewChangeLog(the.verifier, contexts.Projections()), Store: the.store,
			Queries: contexts.Queries()}}
	if change != nil {
		change(&o)
	}
	o.Queries = readmodels.NewEngine(o.engine)
	if o.changes != nil {
		o.Changes = readmodels.NewChangeFeed(*o.changes)
	}
	a, err := New(o.Options)
	if err != nil {
		t.Fatal(err)
	}
	c := listen(t, a, a.Handler())
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return c
}

func listen(t testing.TB, a *API, handler http.Handler) client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, listener, handler) }()
	c := client{t: t, api: a, tokens: a.tokens, url: "http://" + listener.Addr().String(), http: &http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(func() {
		c.http.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return c
}

// as returns the client with the user's token.
func (c client) as(u domain.UserID) client {
	c.t.Helper()
	token, err := c.tokens.Sign(u, time.Now(), time.Hour)
	if err != nil {
		c.t.Fatal(err)
	}
	c.token = token
	return c
}

// reply is an answer with its body read.
type reply struct {
	*http.Response
	body []byte
}

// send sends a request; headers are names and values in turn.
func (c client) send(method, path string, body io.Reader, headers ...string) reply {
	c.t.Helper()
	request, err := http.NewRequest(method, c.url+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.http.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply{Response: response, body: text}
}

func (c client) get(path string, headers ...string) reply {
	c.t.Helper()
	return c.send(http.MethodGet, path, nil, headers...)
}

func (c client) post(path, body string, headers ...string) reply {
	c.t.Helper()
	return c.send(http.MethodPost, path, strings.NewReader(body), headers...)
}

// command sends a command given as a Go value, under the name of its type.
func (c client) command(command any, headers ...string) reply {
	c.t.Helper()
	body, err := json.Marshal(command)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.post("/api/v1/commands/"+nameOf(command), string(body), headers...)
}

func nameOf(command any) string {
	name := fmt.Sprintf("%T", command)
	return name[strings.LastIndex(name, ".")+1:]
}

// accepted sends a command that has to be accepted.
func (c client) accepted(command any) commands.Answer {
	c.t.Helper()
	r := c.command(command)
	if r.StatusCode != http.StatusOK {
		c.t.Fatalf("%T is answered %d: %s", command, r.StatusCode, r.body)
	}
	return read[commands.Answer](c.t, r)
}

func read[T any](t testing.TB, r reply) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(r.body, &value); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
	return value
}

// refused checks that the answer is a proper problem with this status and code.
func (r reply) refused(t testing.TB, status int, code string) Problem {
	t.Helper()
	if r.StatusCode != status {
		t.Fatalf("answered %d, want %d %s: %s", r.StatusCode, status, code, r.body)
	}
	if media := r.Header.Get("Content-Type"); media != problemType {
		t.Errorf("the problem is sent as %q", media)
	}
	p := read[Problem](t, r)
	if p.Code != code || p.Status != status || p.Type != "urn:casebook:problem:"+code || p.Title == "" || p.Detail == "" {
		t.Fatalf("the problem is %+v, want %d %s", p, status, code)
	}
	if p.TraceID == "" || p.TraceID != r.Header.Get("Trace-Id") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("trace ids are %q and %q; headers are %v", p.TraceID, r.Header.Get("Trace-Id"), r.Header)
	}
	if status == http.StatusUnauthorized && r.Header.Get("Www-Authenticate") == "" {
		t.Error("a 401 does not say how to sign in")
	}
	if (status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests) && r.Header.Get("Retry-After") == "" {
		t.Errorf("a %d does not say when to come back", status)
	}
	return p
}

// recordsNothing checks that what is done in between appends no event, the security log aside.
func recordsNothing(t testing.TB, act func()) {
	t.Helper()
	var before uuid.UUID
	for r := range lastRecorded(t, 1) {
		before = r.ID
	}
	act()
	for _, count := range []uint64{200, 10_000} { // an act has few refusals, and the log of all acts has many
		for r := range lastRecorded(t, count) {
			if r.ID == before {
				return
			}
			if !strings.HasPrefix(r.Stream, security.Decider.Category+"-") {
				t.Errorf("%T was recorded", r.Event)
				return
			}
		}
	}
}

// lastRecorded are the last events of the log, the newest first.
func lastRecorded(t testing.TB, count uint64) iter.Seq[eventlog.Recorded] {
	t.Helper()
	return func(yield func(eventlog.Recorded) bool) {
		for r, err := range the.log.ReadLast(context.Background(), count) {
			if err != nil {
				t.Fatal(err)
			}
			if !yield(r) {
				return
			}
		}
	}
}

var made atomic.Int64

// unique makes ids that no other test has.
func unique(prefix string) string {
	return fmt.Sprintf("%s%d", prefix, made.Add(1))
}

// do sends a command as somebody who may do everything in the study that it is about.
func do(t testing.TB, command any) commands.Answer {
	t.Helper()
	body, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	var about struct {
		Study   domain.StudyID   `json:"study"`
		Patient domain.PatientID `json:"patient"`
	}
	if err := json.Unmarshal(body, &about); err != nil {
		t.Fatal(err)
	}
	if about.Study == "" {
		about.Study = about.Patient.Study()
	}
	everybody := access.Process("test")
	everybody.Grants = append(everybody.Grants, user.Grant{Role: user.DataManager, Study: about.Study},
		user.Grant{Role: user.CRC, Study: about.Study},
		user.Grant{Role: user.UnblindedSupplyManager, Study: about.Study})
	return doAs(t, everybody, command)
}

// doAs sends a command that has to be accepted.
func doAs(t testing.TB, who access.Principal, command any) commands.Answer {
	t.Helper()
	body, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := the.handler.Do(context.Background(), commands.Request{Name: nameOf(command), Body: body, Principal: who})
	if err != nil {
		t.Fatalf("%T: %v", command, err)
	}
	return answer
}

// account registers a user with grants, without a password. Two administrators do it together.
func account(t testing.TB, name string, grants ...user.Grant) domain.UserID {
	t.Helper()
	id := domain.UserID(unique(name))
	doAs(t, administrator("first.admin"), user.RegisterUser{OfUser: domain.ForUser(id), Name: string(id)})
	doAs(t, administrator("second.admin"), user.ConfirmAccount{OfUser: domain.ForUser(id)})
	for _, g := range grants {
		give(t, id, g)
	}
	return id
}

// give gives a role: two administrators do it together.
func give(t testing.TB, id domain.UserID, g user.Grant) {
	t.Helper()
	of := domain.ForUser(id)
	first := administrator("first.admin")
	doAs(t, first, user.GrantRole{OfUser: of, Grant: g})
	if g.Role.NeedsSecond(first.User) {
		doAs(t, administrator("second.admin"), user.ConfirmRole{OfUser: of, Grant: g})
	}
}

func administrator(id domain.UserID) access.Principal {
	return access.Principal{User: id, Grants: []user.Grant{{Role: user.Admin}}}
}
