package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"casebook/admission"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/readmodels"

	"github.com/danielgtaylor/huma/v2"
)

const (
	// Messages to one listener are at least changesApart from each other; what happens in between is in the next.
	changesApart = 200 * time.Millisecond
	// heartbeat keeps connections open through proxies. At each heartbeat the listener's rights are checked again.
	heartbeat = 15 * time.Second
	// messageTimeout bounds how long a listener may take to receive one message.
	messageTimeout = 10 * time.Second
	// longestStream bounds a stream whose token does not say when it expires.
	longestStream = time.Hour

	lastEventID  = "Last-Event-ID"
	changesRoute = "/api/v1/events"
	mediaEvents  = "text/event-stream"
)

// What describes the stream.
const (
	changesSummary = "What changes, as it changes (server-sent events)"
	changesDoc     = "Tells which patients, sites and studies have changed in which views, once the views show it, as far as the caller may " +
		"ask these views; not what was recorded. An event change has the data of Changes. An event reset says that more has changed than " +
		"can be told, or that the caller's roles have: ask anew what is shown. An event end, with a code, comes before the server ends the " +
		"stream: token_expired, session_ended, account_deactivated, account_locked, not_allowed or server_stopping. Who comes back with the " +
		"id of the last message as Last-Event-ID is told what happened in between. The token goes into the Authorization header as everywhere. " +
		"A browser's EventSource cannot send it, and opens the stream with a ticket instead."
)

// changesParameters are those of the stream of changes.
var changesParameters = readmodels.ParametersOf[readmodels.ChangesQuery]()

// Run serves what is not done within a request: it tells of changes. It ends the streams when ctx ends, before the
// server waits for the requests under way.
func (a *API) Run(ctx context.Context) error {
	if a.changes == nil {
		<-ctx.Done()
		return nil
	}
	return a.changes.Run(ctx)
}

// getChanges tells the caller of changes until either side has enough.
func (a *API) getChanges(c *call) error {
	query, expires, err := a.listens(c)
	if err != nil {
		return err
	}
	if a.admission.Sheds(admission.Queries) { // a stream is long, so it takes no place
		return a.admission.Refused(admission.Queries)
	}
	if err := c.authenticate(); err != nil {
		return err
	}
	if a.changes == nil {
		return changesUnavailable()
	}
	if id := c.Request().Header.Get(lastEventID); id != "" {
		if err := query.After.UnmarshalText([]byte(id)); err != nil {
			return err
		}
	}
	l, err := a.changes.Listen(c.principal, query)
	if err != nil {
		if isAccess(err) {
			c.recordRefusal(c.principal.User, query.Scope(), err)
		}
		return err
	}
	defer l.Leave()
	if c.Request().Method == http.MethodHead {
		c.Response().Header().Set("Content-Type", mediaEvents)
		return c.NoContent(http.StatusOK)
	}
	if err := c.begin(l, query.After); err != nil {
		return err
	}
	s := &changeStream{call: c, control: http.NewResponseController(c.Response()), listener: l, about: query.Scope(),
		expires: expires}
	return s.serve()
}

// listens proves who listens, by the token or by a ticket, and reads what to. It also returns when the token expires.
func (a *API) listens(c *call) (query readmodels.ChangesQuery, expires time.Time, err error) {
	given := c.QueryParams()
	if ticket := given.Get(ticketParameter); ticket != "" && c.Request().Method != http.MethodHead {
		if len(given) > 1 {
			return query, expires, refuse.Malformed("malformed_parameter", "a ticket stands for what it was asked for with").At(ticketParameter).
				Do("leave the other parameters out")
		}
		of, err := a.tickets.use(ticket, a.now())
		if err != nil {
			c.recordRefusal("", noScope, err)
			return query, expires, err
		}
		c.proof = of.proof
		return of.query, of.expires, nil
	}
	if err := c.prove(); err != nil {
		return query, expires, err
	}
	return query, c.tokenExpires(), changesParameters.Read(&query, nil, given)
}

// tokenExpires returns when the caller's token does, or when a stream ends at the latest, for a token that does not say so.
func (c *call) tokenExpires() time.Time {
	if expires, ok := expiryOf(bearerToken(c.Request().Header.Get("Authorization"))); ok {
		return expires
	}
	return c.api.now().Add(longestStream)
}

func changesUnavailable() error {
	return refuse.Overload("changes_unavailable", "this process does not tell what changes").Do("ask the queries instead")
}

// begin waits until the listener hears of changes.
func (c *call) begin(l *readmodels.Listener, after readmodels.Bookmark) error {
	ctx, cancel := context.WithTimeout(c.ctx(), c.api.limits.RequestTimeout) // an election must not end it
	defer cancel()
	if l.Begin(ctx, after) == nil {
		return nil
	}
	if c.ctx().Err() != nil {
		return errClientGone
	}
	return refuse.Overload("changes_unavailable", "the log cannot be followed at present").Do("connect again in a moment")
}

// changeStream is a listener's connection.
type changeStream struct {
	*call
	control  *http.ResponseController
	listener *readmodels.Listener
	// about is what the client listens to.
	about domain.Scope
	// expires is when the listener's token does.
	expires time.Time
}

// serve writes messages until the client goes, the process stops, or the client may not listen any more.
func (s *changeStream) serve() error {
	header := s.Response().Header()
	header.Set("Content-Type", mediaEvents)
	header.Set("X-Accel-Buffering", "no") // proxies that keep answers back would keep every message back
	// The bounds of short requests do not hold here; each message has its own.
	if err := s.control.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("stream changes: %w", err)
	}
	s.Response().WriteHeader(http.StatusOK)
	if s.write(": changes are told from here on\n\n") != nil {
		return nil
	}
	expiry, beat := time.NewTimer(s.remaining()), time.NewTicker(heartbeat)
	defer expiry.Stop()
	defer beat.Stop()
	ready, pause := s.listener.Ready(), make(<-chan time.Time)
	for {
		var err error
		select {
		case <-s.ctx().Done():
			return nil
		case <-s.listener.Stopped():
			s.end("server_stopping")
			return nil
		case <-expiry.C:
			s.end("token_expired")
			return nil
		case <-pause:
			ready = s.listener.Ready()
			continue
		case <-beat.C:
			if code := s.recheck(); code != "" {
				s.end(code)
				return nil
			}
			err = s.write(": still here\n\n")
		case <-ready:
			if code := s.recheck(); code != "" {
				s.end(code)
				return nil
			}
			err = s.tell()
			ready, pause = nil, time.After(changesApart)
		}
		if err != nil {
			return nil // the client has gone, or takes nothing any more
		}
	}
}

// remaining is how long the token is good.
func (s *changeStream) remaining() time.Duration { return max(s.expires.Sub(s.api.now()), 0) }

// recheck looks whether the caller may still listen (21 CFR 11.10(g)), and returns the code why not.
func (s *changeStream) recheck() string {
	ctx, cancel := context.WithTimeout(s.ctx(), s.api.limits.RequestTimeout) // an election must not end it
	defer cancel()
	p, err := s.api.handler.Authenticated(ctx, s.proof)
	if err == nil {
		err = s.listener.Recheck(p)
	}
	if err != nil {
		if isAccess(err) {
			s.recordRefusal(s.principal.User, s.about, err)
		}
		return problemOf(ctx, err).Code
	}
	return ""
}

// tell writes what there is to tell.
func (s *changeStream) tell() error {
	changes, through, missed := s.listener.Take()
	if missed {
		return s.write(fmt.Sprintf("id: %s\nevent: reset\ndata: {\"position\":%d}\n\n", readmodels.BookmarkAt(through), through.Commit))
	}
	if len(changes.Changes) == 0 {
		return nil
	}
	data, err := json.Marshal(changes)
	if err != nil {
		return err
	}
	return s.write(fmt.Sprintf("id: %s\nevent: change\ndata: %s\n\n", readmodels.BookmarkAt(through), data))
}

// end says why the stream ends; nobody has to hear it.
func (s *changeStream) end(code string) {
	s.code = code
	_ = s.write(fmt.Sprintf("event: end\ndata: {\"code\":%q}\n\n", code))
}

func (s *changeStream) write(text string) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(messageTimeout)); err != nil {
		return err
	}
	if _, err := s.Response().Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}

// changes describes the stream.
func (d *description) changes() {
	var parameters []*huma.Param
	for _, p := range changesParameters {
		parameters = append(parameters, describedParameter(p))
	}
	parameters = append(parameters, &huma.Param{Name: lastEventID, In: "header", Schema: &huma.Schema{Type: huma.TypeString},
		Description: "The id of the last message that was received: what happened since is told first"})
	parameters = append(parameters, &huma.Param{Name: ticketParameter, In: "query", Schema: &huma.Schema{Type: huma.TypeString},
		Description: "A ticket in the place of the header Authorization and of all other parameters (see " + ticketRoute + ")"})
	answer := &huma.Response{Description: "Messages, as long as both sides want", Headers: traceHeader(),
		Content: map[string]*huma.MediaType{mediaEvents: {Schema: &huma.Schema{Type: huma.TypeString,
			Description: "Events change, reset and end; the data of change are of the schema",
			Extensions:  map[string]any{"contentSchema": d.schemas.Schema(reflect.TypeFor[readmodels.Changes](), true, "")}}}}}
	d.document.AddOperation(&huma.Operation{
		OperationID: readmodels.ChangesName, Method: http.MethodGet, Path: changesRoute, Tags: []string{tagQueries}, Summary: changesSummary,
		Description: changesDoc + " " + openToAll, Parameters: parameters,
		Responses: d.responses(answer, append([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
			http.StatusTooManyRequests}, always...)...),
	})
}
