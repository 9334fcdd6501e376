package projections

import (
	"context"
	"reflect"
	"sync"

	"casebook/domain"
	"casebook/eventlog"
	"casebook/readmodels"
)

// changeBatch is the maximum number of events of which listeners hear together.
const changeBatch = 5000

// ChangeLog is the log as the feed of changes follows it: for each event the views that fold it, and the scopes in which
// they show it.
type ChangeLog struct {
	log *eventlog.Verifier
	all []Projection
	// views holds the names of the views that fold each type of event.
	views sync.Map
}

// NewChangeLog returns the log for a feed of the views that the projections make. The log needs no blinding keys.
func NewChangeLog(log *eventlog.Verifier, all []Projection) *ChangeLog {
	return &ChangeLog{log: log, all: all}
}

var _ readmodels.ChangeLog = (*ChangeLog)(nil)

// End implements readmodels.ChangeLog.
func (c *ChangeLog) End(ctx context.Context) (domain.Position, error) { return c.log.Log().End(ctx) }

// Follow implements readmodels.ChangeLog. An event that cannot be read changes only the view of all
// events, and so does a damaged one.
func (c *ChangeLog) Follow(ctx context.Context, after domain.Position, give func(context.Context, readmodels.ChangeBatch) error) error {
	subscription := eventlog.Subscription{After: after, MaxBatch: changeBatch}
	return c.log.Follow(ctx, subscription, func(ctx context.Context, b eventlog.Batch) error {
		changes := readmodels.ChangeBatch{Events: make([]readmodels.RecordedChange, len(b.Events)), Through: b.Through, CaughtUp: b.Live}
		for i, at := range b.Events {
			changes.Events[i] = readmodels.RecordedChange{Views: c.viewsOf(at.Event), Scopes: scopesOf(at)}
			if _, damaged := at.Event.(eventlog.Damaged); damaged {
				changes.Events[i] = readmodels.RecordedChange{} // its scope is not to be believed
			}
		}
		return give(ctx, changes)
	})
}

// viewsOf returns the names of the views that fold events of the event's type.
func (c *ChangeLog) viewsOf(event any) (names []string) {
	of := reflect.TypeOf(event)
	if known, ok := c.views.Load(of); ok {
		return known.([]string) //nolint:forcetypeassert // nothing else is stored
	}
	for _, p := range c.all {
		if p.Folds(of) {
			names = append(names, p.View.Name)
		}
	}
	c.views.Store(of, names)
	return names
}

// scopesOf returns the scopes in which views show an event.
func scopesOf(at Envelope) []domain.Scope {
	recorded := domain.Scope{Study: at.Metadata.Study, Site: at.Metadata.Site, Patient: at.Metadata.Patient}
	if e, ok := at.Event.(domain.ShownElsewhere); ok {
		return e.ShownIn(recorded)
	}
	return []domain.Scope{recorded}
}
