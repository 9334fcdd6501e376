package readmodels

import (
	"cmp"
	"context"
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

// ChangesQuery says of which changes a listener wants to hear. Empty fields do not narrow them.
type ChangesQuery struct {
	Study   domain.StudyID   `query:"study" doc:"Only this study"`
	Site    domain.SiteID    `query:"site" doc:"Only this site"`
	Patient domain.PatientID `query:"patient" doc:"Only this patient"`
	Views   ViewNames        `query:"view" doc:"Only this view, or several with commas between them"`
	After   Bookmark         `query:"after" doc:"Begin with what was recorded after this position; the header Last-Event-ID takes precedence"`
}

// Scope is the scope of the changes.
func (q ChangesQuery) Scope() domain.Scope {
	return domain.Scope{Study: q.Study, Site: q.Site, Patient: q.Patient}
}

// ViewNames are names of views.
type ViewNames []string

// Schema implements domain.HasSchema.
func (ViewNames) Schema() domain.Schema { return domain.Schema{Example: "alerts,patient-list"} }

// UnmarshalText reads names that are separated by commas.
func (v *ViewNames) UnmarshalText(text []byte) error {
	if len(text) > 0 {
		*v = strings.Split(string(text), ",")
	}
	return nil
}

// Bookmark is a position in the log from which a listener continues. The zero Bookmark is none.
type Bookmark struct {
	domain.Position
	isSet bool
}

// BookmarkAt returns the bookmark of a position.
func BookmarkAt(p domain.Position) Bookmark { return Bookmark{Position: p, isSet: true} }

// Schema implements domain.HasSchema.
func (Bookmark) Schema() domain.Schema { return domain.Schema{Example: "48210"} }

// String writes the bookmark in the form that UnmarshalText reads.
func (b Bookmark) String() string {
	if b.Prepare == b.Commit {
		return strconv.FormatUint(b.Commit, 10)
	}
	return fmt.Sprint(b.Commit, "-", b.Prepare)
}

// UnmarshalText reads a bookmark, or the position of a command's answer. It refuses malformed_position.
func (b *Bookmark) UnmarshalText(text []byte) (err error) {
	var p domain.Position
	commit, prepare, two := strings.Cut(string(text), "-")
	if p.Commit, err = strconv.ParseUint(commit, 10, 63); err == nil && two {
		p.Prepare, err = strconv.ParseUint(prepare, 10, 63)
	}
	if err != nil || p.Prepare > p.Commit {
		return refuse.Malformed("malformed_position", "%q is not a position to go on from", shortened(string(text))).At("after").
			Do("give the id of the last message, or the position of a command's answer")
	}
	if !two {
		p.Prepare = p.Commit
	}
	*b = BookmarkAt(p)
	return nil
}

// Changes says which views have changed and what the changes are about. It does not hold what was recorded: for that, the
// listener asks the views.
type Changes struct {
	Position uint64   `json:"position" doc:"Log position that this message covers; a query that names it as Casebook-Position shows all of it"`
	Changes  []Change `json:"changes" doc:"What has changed since the previous message"`
	Behind   []string `json:"behind,omitempty" doc:"Those of the views that do not show it yet"`
}

// Change is a patient, site, study or account about which views have changed.
type Change struct {
	Study   domain.StudyID   `json:"study,omitempty" doc:"The study; left out for accounts"`
	Site    domain.SiteID    `json:"site,omitempty" doc:"The site or depot; left out for the study as a whole"`
	Patient domain.PatientID `json:"patient,omitempty" doc:"The patient"`
	Views   []string         `json:"views" doc:"The views to ask again, by the names at /api/v1/projections"`
}

// Listener hears of changes. Changes that it has not taken yet are merged, so that a slow listener hears less often and does
// not delay others.
type Listener struct {
	feed *ChangeFeed
	// only narrows the changes to a scope, and of narrows them to some views.
	only domain.Scope
	of   viewSet
	// ready holds one signal that there is something to take. stopped is closed when the feed ends.
	ready, stopped chan struct{}

	mu        sync.Mutex
	principal access.Principal
	known     map[scopeKind]viewSet
	pending   map[domain.Scope]viewSet
	behind    viewSet
	through   domain.Position
	missed    bool
}

// scopeKind identifies scopes about which the listener may ask the same views. The patient is left out if the listener has
// no role that is bound to a patient.
type scopeKind struct {
	domain.Scope
	aboutPatient bool
}

func newListener(f *ChangeFeed, p access.Principal, only domain.Scope, of viewSet) *Listener {
	return &Listener{feed: f, principal: p, only: only, of: of, ready: make(chan struct{}, 1), stopped: make(chan struct{}),
		known: map[scopeKind]viewSet{}, pending: map[domain.Scope]viewSet{}}
}

// Ready receives when there is something to take.
func (l *Listener) Ready() <-chan struct{} { return l.ready }

// Stopped is closed when the feed ends.
func (l *Listener) Stopped() <-chan struct{} { return l.stopped }

// Leave ends the listening.
func (l *Listener) Leave() { l.feed.leave(l) }

// Begin waits until the listener hears of changes. If there is a bookmark, the listener also hears what was recorded after
// it. Begin fails if ctx ends before.
func (l *Listener) Begin(ctx context.Context, after Bookmark) error {
	to, err := l.feed.began(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	if l.through.Before(to) {
		l.through = to
	}
	l.mu.Unlock()
	if !after.isSet {
		return nil
	}
	if err := l.feed.replay(ctx, l, after.Position, to); err != nil {
		l.miss(to)
	}
	return nil
}

// Recheck refuses if the principal may not listen any more with the present roles (21 CFR 11.10(g)). If the roles have
// changed, the listener has missed changes, because it may now hear of others.
func (l *Listener) Recheck(p access.Principal) error {
	if err := l.allowed(p); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Equal(l.principal.Grants, p.Grants) {
		return nil
	}
	l.principal.Grants = p.Grants
	clear(l.known)
	l.forget()
	l.wake()
	return nil
}

// allowed refuses a principal who could never hear of a change in the scope.
func (l *Listener) allowed(p access.Principal) error {
	only := l.only
	if only.Study == "" {
		only.Study = only.Patient.Study()
	}
	if only.Study == "" || p.WorksIn(only.Study) {
		return nil
	}
	_, err := p.Authorize(ChangesName, nil, only)
	return err
}

// ChangesName is the name of the stream of changes in the description, in logs and in the security log.
const ChangesName = "Changes"

// add adds changes, as far as the listener may hear of them and wants to.
func (l *Listener) add(changed map[domain.Scope]viewSet, behind viewSet, through domain.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.through.Before(through) {
		l.through = through
	}
	added := viewSet(0)
	for scope, of := range changed {
		scope = l.principal.Masked(scope)
		if of &= l.of & l.may(scope); of == 0 || !l.wants(scope) {
			continue
		}
		added |= of
		if !l.missed {
			l.pending[scope] |= of
		}
	}
	if added == 0 {
		return
	}
	l.behind = l.behind&^added | behind&added
	if len(l.pending) > maxPending {
		l.forget()
	}
	l.wake()
}

// miss records that the listener has missed changes.
func (l *Listener) miss(through domain.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.through = through
	l.forget()
	l.wake()
}

func (l *Listener) forget() { l.missed, l.pending, l.behind = true, map[domain.Scope]viewSet{}, 0 }

func (l *Listener) wake() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

func (l *Listener) wants(s domain.Scope) bool {
	return (l.only.Study == "" || l.only.Study == s.Study) && (l.only.Site == "" || l.only.Site == s.Site) &&
		(l.only.Patient == "" || l.only.Patient == s.Patient)
}

// maxKnown bounds the scopes whose views a listener remembers.
const maxKnown = 10_000

func (l *Listener) may(s domain.Scope) viewSet {
	kind := scopeKind{s, s.Patient != ""}
	if !slices.ContainsFunc(l.principal.Grants, func(g user.Grant) bool { return g.Patient != "" }) {
		kind.Patient = ""
	}
	of, ok := l.known[kind]
	if !ok {
		of = l.feed.allowed(l.principal, s)
		if len(l.known) >= maxKnown {
			clear(l.known)
		}
		l.known[kind] = of
	}
	return of
}

// Take returns what has changed since the last call, and up to which position. missed says that the listener has missed
// changes.
func (l *Listener) Take() (c Changes, through domain.Position, missed bool) {
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
	l.missed, l.pending, l.behind = false, map[domain.Scope]viewSet{}, 0
	return c, l.through, missed
}
