package projections_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/security"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/projections"
	"casebook/readmodels"
	auditviews "casebook/readmodels/audit"
	supplyviews "casebook/readmodels/supply"
	userviews "casebook/readmodels/user"

	"github.com/google/uuid"
)

// TestAnEventChangesViewsWhereTheyShowIt checks in which scopes an event is announced: a shipment at both sites, a role
// also where it is granted, a refused access at the site that was asked for. All events are recorded at site 01.
func TestAnEventChangesViewsWhereTheyShowIt(t *testing.T) {
	w := newWorld(t)
	begun, err := w.log.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	own, other := domain.Scope{Study: w.study, Site: "01"}, domain.Scope{Study: w.study, Site: "02"}
	grant := user.Grant{Role: user.CRC, Study: w.study, Site: "02"}
	contents := blind.Of(supply.KitContents{})
	shipments, directory, audit := supplyviews.Shipments.Name, userviews.UserDirectory.Name, auditviews.AuditIndex.Name
	cases := []struct {
		event  any
		view   string
		scopes []domain.Scope
	}{
		{supply.ShipmentCreated{To: "02", Contents: contents}, shipments, []domain.Scope{own, other}},
		{supply.ShipmentDispatched{To: "02"}, shipments, []domain.Scope{own, other}},
		{supply.ShipmentReceived{From: "02", Contents: contents}, shipments, []domain.Scope{own, other}},
		{supply.ShipmentLost{From: "02"}, shipments, []domain.Scope{own, other}},
		{supply.ShipmentCancelled{}, shipments, []domain.Scope{own}},
		{user.RoleGranted{Grant: grant}, directory, []domain.Scope{own, other}},
		{user.RoleRevoked{Grant: grant}, directory, []domain.Scope{own, other}},
		{user.Locked{}, directory, []domain.Scope{own}},
		{security.AccessRefused{Study: w.study, Site: "02"}, audit, []domain.Scope{other}},
	}
	registry := contexts.Registry()
	for _, c := range cases {
		category, ok := registry.CategoryOf(c.event)
		if !ok {
			t.Fatalf("%T is no event", c.event)
		}
		w.record(category+"-"+uuid.NewString(), "", c.event)
	}
	var changes []readmodels.RecordedChange
	errEnough := errors.New("all have come")
	err = projections.NewChangeLog(w.verify(), contexts.Projections()).Follow(t.Context(), begun,
		func(_ context.Context, b readmodels.ChangeBatch) error {
			for _, e := range b.Events {
				if len(e.Scopes) > 0 && e.Scopes[0].Study == w.study { // others may write the log too
					changes = append(changes, e)
				}
			}
			if len(changes) >= len(cases) {
				return errEnough
			}
			return nil
		})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	for i, c := range cases {
		if !slices.Equal(changes[i].Scopes, c.scopes) || !slices.Contains(changes[i].Views, c.view) {
			t.Errorf("%T changes %v in %v, want %s in %v", c.event, changes[i].Views, changes[i].Scopes, c.view, c.scopes)
		}
	}
}

// TestAnUnreadableEventChangesOnlyTheAuditIndex: no other view shows what this version of the program does not know.
func TestAnUnreadableEventChangesOnlyTheAuditIndex(t *testing.T) {
	w := newWorld(t)
	begun, err := w.log.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.screen(1)
	narrow, err := eventlog.Connect(t.Context(), eventlog.Options{URL: w.url, Registry: eventlog.NewRegistry(withoutScreening()...)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = narrow.Close() }()
	errSeen := errors.New("seen")
	err = projections.NewChangeLog(verified(t, narrow), contexts.Projections()).Follow(t.Context(), begun,
		func(_ context.Context, b readmodels.ChangeBatch) error {
			for _, e := range b.Events {
				if e.Scopes[0].Study != w.study {
					continue
				}
				if !slices.Equal(e.Views, []string{auditviews.AuditIndex.Name}) {
					t.Errorf("it changes %v", e.Views)
				}
				return errSeen
			}
			return nil
		})
	if !errors.Is(err, errSeen) {
		t.Fatal(err)
	}
}

// withoutScreening returns the streams of a program that does not know the event PatientScreened.
func withoutScreening() []domain.StreamType {
	streams := contexts.Streams()
	for i := range streams {
		streams[i].Events = slices.DeleteFunc(slices.Clone(streams[i].Events),
			func(e domain.EventType) bool { return e.Name == "PatientScreened" })
	}
	return streams
}
