package api

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
)

// Changes tells what was recorded, by what it is about and which views show it. What was recorded is not in it: the views
// are asked for that, by those who may.
type Changes struct {
	Position uint64   `json:"position" doc:"Log position up to which this tells; a query that names it as Casebook-Position has seen all"`
	Changes  []Change `json:"changes" doc:"What has changed since the message before"`
	Behind   []string `json:"behind,omitempty" doc:"Views among them that do not show it yet"`
}

// Change is a patient, a site, a study or an account of which views have changed.
type Change struct {
	Study   domain.StudyID   `json:"study,omitempty" doc:"The study; left out for accounts"`
	Site    domain.SiteID    `json:"site,omitempty" doc:"The site or depot; left out for the study as a whole"`
	Patient domain.PatientID `json:"patient,omitempty" doc:"The patient"`
	Views   []string         `json:"views" doc:"The views to ask again, by the names at /api/v1/projections"`
}

// listener is one who is told of changes. What it has not been told yet is merged, so that one who reads slowly is told
// less often rather than holds up anybody.
type listener struct {
	feed *changeFeed
	// only narrows what is told to a scope, and of to some views.
	only domain.Scope
	of   views
	// ready has a place for one word that there is something to tell; stopped is closed when the process stops.
	ready, stopped chan struct{}

	mu        sync.Mutex
	principal access.Principal
	known     map[scopeKind]views
	pending   map[domain.Scope]views
	behind    views
	through   domain.Position
	missed    bool
}

// scopeKind is what scopes have in common that the same views may be asked about; the patient is left out where the
// listener holds no role that is bound to one.
type scopeKind struct {
	domain.Scope
	aboutPatient bool
}

func newListener(f *changeFeed, p access.Principal, only domain.Scope, of views) *listener {
	return &listener{feed: f, principal: p, only: only, of: of, ready: make(chan struct{}, 1), stopped: make(chan struct{}),
		known: map[scopeKind]views{}, pending: map[domain.Scope]views{}}
}

// add notes what has changed, as far as the listener may know it and wants to.
func (l *listener) add(changed map[domain.Scope]views, behind views, through domain.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.through.Before(through) {
		l.through = through
	}
	told := views(0)
	for scope, of := range changed {
		if of &= l.of & l.may(scope); of == 0 || !l.wants(scope) {
			continue
		}
		told |= of
		if !l.missed {
			l.pending[scope] |= of
		}
	}
	if told == 0 {
		return
	}
	l.behind = l.behind&^told | behind&told
	if len(l.pending) > maxPending {
		l.forget()
	}
	l.tell()
}

// miss notes that something has happened that the listener is not told of.
func (l *listener) miss(through domain.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.through = through
	l.forget()
	l.tell()
}

func (l *listener) forget() { l.missed, l.pending, l.behind = true, map[domain.Scope]views{}, 0 }

func (l *listener) tell() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

func (l *listener) wants(s domain.Scope) bool {
	return (l.only.Study == "" || l.only.Study == s.Study) && (l.only.Site == "" || l.only.Site == s.Site) && (l.only.Patient == "" || l.only.Patient == s.Patient)
}

// maxKnown bounds the scopes whose views a listener remembers.
const maxKnown = 10_000

func (l *listener) may(s domain.Scope) views {
	kind := scopeKind{s, s.Patient != ""}
	if !slices.ContainsFunc(l.principal.Grants, func(g user.Grant) bool { return g.Patient != "" }) {
		kind.Patient = ""
	}
	of, ok := l.known[kind]
	if !ok {
		of = l.feed.may(l.principal, s)
		if len(l.known) >= maxKnown {
			clear(l.known)
		}
		l.known[kind] = of
	}
	return of
}

// regrant takes note of the roles that the listener holds now. Where they have changed, what it was to be told is another.
func (l *listener) regrant(p access.Principal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Equal(l.principal.Grants, p.Grants) {
		return
	}
	l.principal.Grants = p.Grants
	clear(l.known)
	l.forget()
	l.tell()
}

// take returns what there is to tell, and up to where; missed says that there was more than can be told.
func (l *listener) take() (c Changes, through domain.Position, missed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c = Changes{Position: l.through.Commit, Changes: []Change{}}
	for s, of := range l.pending {
		c.Changes = append(c.Changes, Change{Study: s.Study, Site: s.Site, Patient: s.Patient, Views: l.feed.names(of)})
	}
	slices.SortFunc(c.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Study, b.Study), cmp.Compare(a.Site, b.Site), cmp.Compare(a.Patient, b.Patient))
	})
	if l.behind != 0 {
		c.Behind = l.feed.names(l.behind)
	}
	missed = l.missed
	l.missed, l.pending, l.behind = false, map[domain.Scope]views{}, 0
	return c, l.through, missed
}

// eventID writes a position as the id of a message, by which a listener that comes back says where it was.
func eventID(p domain.Position) string {
	if p.Prepare == p.Commit {
		return strconv.FormatUint(p.Commit, 10)
	}
	return fmt.Sprint(p.Commit, "-", p.Prepare)
}

// positionOf reads what eventID has written, and the position of a command's answer. It refuses malformed_position.
func positionOf(id string) (p domain.Position, err error) {
	commit, prepare, two := strings.Cut(id, "-")
	if p.Commit, err = strconv.ParseUint(commit, 10, 63); err == nil && two {
		p.Prepare, err = strconv.ParseUint(prepare, 10, 63)
	}
	if err != nil || p.Prepare > p.Commit {
		return p, refuse.Malformed("malformed_position", "%q is not a position to go on from", shortened(id)).At("after").
			Do("give the id of the last message, or the position of a command's answer")
	}
	if !two {
		p.Prepare = p.Commit
	}
	return p, nil
}
