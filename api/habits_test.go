package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/study"
	"casebook/domain/user"
)

// TestHeadIsAnsweredLikeGet: with the same headers and no body.
func TestHeadIsAnsweredLikeGet(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	caughtUp(t, tr.position)
	self, crc := c.as(tr.self), c.as(tr.crc)
	for path, who := range map[string]client{"/api/v1/me": self, "/api/v1/me/schedule": self, "/api/v1/me/instruments/pain-diary": self,
		"/api/v1/patients/" + string(tr.patient): crc, "/openapi.json": c, "/healthz": c, "/api/v1/studies/NONE": self} {
		get, head := who.get(path, "Accept-Encoding", "identity"), who.send(http.MethodHead, path, nil, "Accept-Encoding", "identity")
		if head.StatusCode != get.StatusCode || len(head.body) > 0 || head.Header.Get("Etag") != get.Header.Get("Etag") ||
			head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
			t.Errorf("%s: HEAD is answered %d %v, GET %d %v", path, head.StatusCode, head.Header, get.StatusCode, get.Header)
		}
	}
	if r := crc.send(http.MethodHead, "/api/v1/events", nil); r.StatusCode != http.StatusOK || len(r.body) > 0 {
		t.Errorf("the stream is answered %d", r.StatusCode)
	}
	if r := crc.send(http.MethodHead, "/api/v1/commands/SubmitDiary", nil); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a command is answered %d", r.StatusCode)
	}
}

// TestRefusalsNameWhatIsMissing: also where an empty value stands in the place of what is missing.
func TestRefusalsNameWhatIsMissing(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	self, crc := c.as(tr.self), c.as(tr.crc)
	submit := "/api/v1/commands/SubmitDiary"
	for body, want := range map[string][2]string{
		`{}`: {"value_missing", "patient"},
		`{"patient":"","instrument":"x","capturedAt":"2026-03-01T20:30:00+01:00","answers":{}}`: {"value_missing", "patient"},
		`{"patient":null}`:                        {"value_missing", "patient"},
		fmt.Sprintf(`{"patient":%q}`, tr.patient): {"value_missing", "instrument"},
		`null`: {"malformed_json", ""}, "\nnull\n": {"malformed_json", ""}, ``: {"malformed_json", ""},
	} {
		if p := self.post(submit, body).refused(t, http.StatusBadRequest, want[0]); p.Field != want[1] ||
			want[1] != "" && !strings.Contains(p.Detail, want[1]) || strings.Contains(p.Detail, `""`) {
			t.Errorf("%s is refused with %+v", body, p)
		}
	}
	self.post("/api/v1/commands:batch", `null`).refused(t, http.StatusBadRequest, "malformed_json")
	c.post("/api/v1/sign-in", `null`).refused(t, http.StatusBadRequest, "malformed_json")
	crc.get("/api/v1/me/schedule?patient=").refused(t, http.StatusBadRequest, "value_missing")
	visit := fmt.Sprintf(`{"patient":%q,"visit":"week-4","on":"2026-02-30"}`, tr.patient)
	if p := crc.post("/api/v1/commands/RecordVisit", visit).refused(t, http.StatusBadRequest, "malformed_date"); p.Field != "on" ||
		!strings.Contains(p.Detail, "no such day as 2026-02-30") {
		t.Errorf("a day that there is not is refused with %+v", p)
	}
}

// TestTimesThatCannotBeAskedFor: those that have not come, and those that end before they begin.
func TestTimesThatCannotBeAskedFor(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	caughtUp(t, tr.position)
	crc := c.as(tr.crc)
	diaries := "/api/v1/patients/" + string(tr.patient) + "/diaries"
	for query, status := range map[string]int{
		"?asOf=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339): http.StatusBadRequest,
		"?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z":            http.StatusBadRequest,
		"?from=2026-03-01T00:00:00Z&to=2026-03-01T00:00:00Z":            http.StatusOK,
		"?from=2026-03-01T00:00:00%2B01:00&to=2026-03-01T00:00:00Z":     http.StatusOK,
	} {
		if r := crc.get(diaries + query); r.StatusCode != status {
			t.Errorf("%s is answered %d %s", query, r.StatusCode, r.body)
		}
	}
}

// TestNoFilterIsDropped because it cannot be read: the list would be another one than was asked for.
func TestNoFilterIsDropped(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	caughtUp(t, tr.position)
	study := "/api/v1/studies/" + string(tr.study)
	for _, path := range []string{"/api/v1/patients/" + string(tr.patient) + "?asOf=%zz", study + "/patients?site=01&status=withdrawn%",
		study + "/held-diaries?site=01&patient=%G1", study + "/patients?site=01;limit=1", "/api/v1/events?study=%zz",
		"/api/v1/audit" + study[len("/api/v1"):] + "/events?patient=%zz"} {
		c.as(tr.crc).get(path).refused(t, http.StatusBadRequest, "malformed_parameter")
	}
}

// TestWhatIsNoRequestGetsAProblem: what net/http refuses before any handler.
func TestWhatIsNoRequestGetsAProblem(t *testing.T) {
	c := serve(t, nil)
	for _, first := range []string{"GET /api/v1/patients/%zz HTTP/1.1", "GET /api/v1/me?%zz HTTP/9.9", "nonsense"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "%s\r\nHost: x\r\n\r\n", first); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(first, "9.9") { // this one is answered 505 by net/http
			reply{Response: response, body: body}.refused(t, http.StatusBadRequest, "malformed_request")
		}
		_ = response.Body.Close()
		_ = conn.Close()
	}
}

// TestEveryExampleHasItsOwnKey: two commands with one key are refused.
func TestEveryExampleHasItsOwnKey(t *testing.T) {
	text, err := OpenAPI("test", contexts.Commands(), contexts.Queries(), contexts.Streams())
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]struct {
			Parameters  []struct{ Name, Example string }
			RequestBody struct {
				Content map[string]struct {
					Example struct {
						Commands []struct{ IdempotencyKey string }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(text, &document); err != nil && len(document.Paths) == 0 {
		t.Fatal(err)
	}
	seen, keys := map[string]string{}, 0
	add := func(path, key string) {
		keys++
		if other, known := seen[key]; known || key == "" {
			t.Errorf("%s has the key %q of %s", path, key, other)
		}
		seen[key] = path
	}
	for path, operations := range document.Paths {
		for _, o := range operations {
			for _, p := range o.Parameters {
				if p.Name == keyHeader {
					add(path, p.Example)
				}
			}
			for _, content := range o.RequestBody.Content {
				for _, command := range content.Example.Commands {
					add(path, command.IdempotencyKey)
				}
			}
		}
	}
	if keys < 50 {
		t.Errorf("only %d keys were found", keys)
	}
}

// TestPagesOfNamedOriginsMayCall: the pages of others may not, and none may unless it is named.
func TestPagesOfNamedOriginsMayCall(t *testing.T) {
	const ours, theirs = "https://diary.example.org", "https://elsewhere.example.org"
	named := serve(t, func(o *options) { o.Origins = []string{ours} })
	tr := newTrial(t)
	preflight := []string{"Access-Control-Request-Method", http.MethodPost, "Access-Control-Request-Headers", "authorization,idempotency-key"}
	asks := func(c client, origin string) (before, answer reply) {
		before = c.send(http.MethodOptions, "/api/v1/commands/SubmitDiary", nil, append([]string{"Origin", origin}, preflight...)...)
		return before, c.as(tr.self).get("/api/v1/me/schedule", "Origin", origin)
	}
	before, answer := asks(named, ours)
	if before.StatusCode != http.StatusNoContent || before.Header.Get("Access-Control-Allow-Origin") != ours ||
		!strings.Contains(before.Header.Get("Access-Control-Allow-Headers"), keyHeader) {
		t.Errorf("the preflight is answered %d %v", before.StatusCode, before.Header)
	}
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Access-Control-Allow-Origin") != ours ||
		!strings.Contains(answer.Header.Get("Access-Control-Expose-Headers"), "Etag") {
		t.Errorf("it is answered %d %v", answer.StatusCode, answer.Header)
	}
	for _, r := range []reply{before, answer} {
		if r.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Error("a page may send the browser's credentials")
		}
	}
	for _, c := range []client{named, serve(t, nil)} {
		before, answer := asks(c, theirs)
		if before.Header.Get("Access-Control-Allow-Origin") != "" || answer.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("a page of another origin is told %v, %v", before.Header, answer.Header)
		}
	}
	for _, wrong := range []string{"*", "diary.example.org", "https://diary.example.org/", "ftp://diary.example.org", ""} {
		if err := checkOrigins([]string{wrong}); err == nil {
			t.Errorf("%q is taken for an origin", wrong)
		}
	}
}

// TestABrowserOpensTheStreamWithATicket: once, within its time, for its owner and for what it was asked for.
func TestABrowserOpensTheStreamWithATicket(t *testing.T) {
	var later time.Duration
	c := serve(t, func(o *options) { o.Now = func() time.Time { return time.Now().Add(later) } })
	tr := newTrial(t)
	manager, stranger := account(t, "manager", user.Grant{Role: user.DataManager, Study: tr.study}), account(t, "stranger")
	ask := func(who client, body string) string {
		t.Helper()
		r := who.post(ticketRoute, body)
		if r.StatusCode != http.StatusOK {
			t.Fatalf("the ticket is answered %d %s", r.StatusCode, r.body)
		}
		return read[IssuedTicket](t, r).Ticket
	}
	filter := fmt.Sprintf(`{"study":%q,"views":["study-overview"]}`, tr.study)
	c.post(ticketRoute, filter).refused(t, http.StatusUnauthorized, "token_missing")
	c.as(stranger).post(ticketRoute, filter).refused(t, http.StatusForbidden, "not_allowed")
	c.as(manager).post(ticketRoute, `{"views":["nothing"]}`).refused(t, http.StatusNotFound, "view_not_found")
	c.as(manager).post(ticketRoute, `{"study":"a b"}`).refused(t, http.StatusBadRequest, "malformed_id")

	ticket := ask(c.as(manager), filter)
	c.get("/api/v1/events?ticket="+ticket+"&study=PAIN1").refused(t, http.StatusBadRequest, "malformed_parameter")
	heard := c.hear("?ticket=" + ticket)
	c.get("/api/v1/events?ticket="+ticket).refused(t, http.StatusUnauthorized, "ticket_used")
	do(t, study.AddSite{AtSite: domain.ForSite(tr.study, "77"), Name: "Hospital", Country: "DE", Zone: "UTC"})
	if got := heard.next(); got.event != "change" {
		t.Errorf("it hears %+v", got)
	} else {
		for _, change := range got.changes(t).Changes {
			if change.Study != tr.study || len(change.Views) != 1 || change.Views[0] != "study-overview" {
				t.Errorf("it hears of %+v", change)
			}
		}
	}
	late := ask(c.as(manager), filter)
	later = ticketLifetime
	c.get("/api/v1/events?ticket="+late).refused(t, http.StatusUnauthorized, "ticket_used")
	for range ticketsOfUser {
		ask(c.as(manager), `{}`)
	}
	c.as(manager).post(ticketRoute, `{}`).refused(t, http.StatusTooManyRequests, "too_many_streams")
	ask(c.as(tr.crc), `{}`) // others are not held up
}
