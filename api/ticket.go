package api

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"time"

	"casebook/access"
	"casebook/admission"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/readmodels"

	"github.com/danielgtaylor/huma/v2"
)

const (
	ticketRoute = changesRoute + "/ticket"
	// ticketLifetime is how long a ticket may take from the answer to the page's next request.
	ticketLifetime = 30 * time.Second
	// maxTickets bounds the tickets that are not used yet, and ticketsOfUser those of one user.
	maxTickets, ticketsOfUser = 4096, 16
	// ticketParameter carries a ticket, because a browser's EventSource cannot send a header.
	ticketParameter = "ticket"
)

// Ticket asks for a ticket to the stream of changes. Empty fields do not narrow it.
type Ticket struct {
	Study   domain.StudyID   `json:"study,omitempty" doc:"Only this study"`
	Site    domain.SiteID    `json:"site,omitempty" doc:"Only this site"`
	Patient domain.PatientID `json:"patient,omitempty" doc:"Only this patient"`
	Views   []string         `json:"views,omitempty" maxItems:"50" doc:"Only these views"`
	After   string           `json:"after,omitempty" maxLength:"100" doc:"Begin with what was recorded after this id of a message"`
}

// IssuedTicket opens the stream of changes once.
type IssuedTicket struct {
	Ticket    string    `json:"ticket" doc:"Opens the stream once: /api/v1/events?ticket=..."`
	ExpiresAt time.Time `json:"expiresAt" doc:"Until when it does"`
}

// tickets are those that were issued and not used. They are in the memory of this process: a page opens the stream where it has the ticket
// from. It is safe for concurrent use.
type tickets struct {
	mu  sync.Mutex
	all map[string]issued
}

// issued is what a ticket stands for: a person, what the person's token proves and until when, and what is listened to.
type issued struct {
	proof   access.Proof
	expires time.Time // of the token
	until   time.Time
	query   readmodels.ChangesQuery
}

// issue makes a ticket. It refuses too_many_streams, and overloaded while there are too many of all users.
func (t *tickets) issue(of issued, now time.Time) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := 0
	for ticket, old := range t.all {
		if !now.Before(old.until) {
			delete(t.all, ticket)
		} else if old.proof.User == of.proof.User {
			own++
		}
	}
	if own >= ticketsOfUser {
		return "", refuse.Overload("too_many_streams", "%s has %d tickets that are not used", of.proof.User, own).
			Do("use one of these, or wait until they expire")
	}
	if len(t.all) >= maxTickets {
		return "", overloaded()
	}
	if t.all == nil {
		t.all = map[string]issued{}
	}
	ticket := rand.Text()
	t.all[ticket] = of
	return ticket, nil
}

// use takes a ticket out. It refuses ticket_used for one that is not there any more, or never was.
func (t *tickets) use(ticket string, now time.Time) (issued, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of, ok := t.all[ticket]
	delete(t.all, ticket)
	if !ok || !now.Before(of.until) {
		return issued{}, refuse.Unauthenticated("ticket_used", "the ticket was used, has expired, or was issued by another server").
			At(ticketParameter).Do("get another one with POST " + ticketRoute + ", and open the stream with it once")
	}
	return of, nil
}

// postTicket issues a ticket to the stream of changes, for those who may listen to it.
func (a *API) postTicket(c *call) error {
	if err := c.prove(); err != nil {
		return err
	}
	body, err := c.body(a.limits.CommandBytes)
	if err != nil {
		return err
	}
	defer returnBuffer(body)
	if err := c.enter(admission.Queries); err != nil {
		return err
	}
	if err := c.authenticate(); err != nil {
		return err
	}
	var ask Ticket
	if err := commands.Decode(body.Bytes(), &ask); err != nil {
		return err
	}
	query, err := ask.query()
	if err != nil {
		return err
	}
	if a.changes == nil {
		return changesUnavailable()
	}
	if err := a.changes.MayListen(c.principal, query); err != nil {
		if isAccess(err) {
			c.recordRefusal(c.principal.User, query.Scope(), err)
		}
		return err
	}
	now := a.now()
	of := issued{proof: c.proof, expires: c.tokenExpires(), until: now.Add(ticketLifetime), query: query}
	ticket, err := a.tickets.issue(of, now)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, IssuedTicket{Ticket: ticket, ExpiresAt: of.until.UTC()})
}

// query is what a ticket lets listen to.
func (t Ticket) query() (q readmodels.ChangesQuery, err error) {
	q = readmodels.ChangesQuery{Study: t.Study, Site: t.Site, Patient: t.Patient, Views: t.Views}
	if t.Study != "" {
		err = domain.First(err, t.Study.Validate())
	}
	if t.Site != "" {
		err = domain.First(err, t.Site.Validate())
	}
	if t.Patient != "" {
		err = domain.First(err, t.Patient.Validate())
	}
	if t.After != "" {
		err = domain.First(err, q.After.UnmarshalText([]byte(t.After)))
	}
	return q, err
}

// ticket describes how a ticket is got.
func (d *description) ticket() {
	d.document.AddOperation(&huma.Operation{
		OperationID: "Ticket", Method: http.MethodPost, Path: ticketRoute, Tags: []string{tagQueries},
		Summary: "A ticket with which a browser opens the stream of changes",
		Description: fmt.Sprintf("For a page's EventSource, which cannot send the header Authorization. A ticket opens the stream once, within "+
			"%d seconds, at the server that has issued it, for the caller and for what the body asks for. The stream ends when the caller's token "+
			"does. A page whose stream has ended gets another ticket, with the id of the last message as after. ",
			int(ticketLifetime.Seconds())) + openToAll,
		RequestBody: d.jsonBody(reflect.TypeFor[Ticket](), map[string]any{"study": "PAIN1", "site": "DE-01", "views": []string{"alerts"}}),
		Responses: d.responses(d.jsonAnswer(reflect.TypeFor[IssuedTicket](), "The ticket"), append([]int{http.StatusBadRequest,
			http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge,
			http.StatusUnsupportedMediaType, http.StatusTooManyRequests}, always...)...),
	})
}
