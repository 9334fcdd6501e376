package audit

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/projections"
	auditviews "casebook/readmodels/audit"
)

type audited = auditviews.AuditEvent

// AuditIndex makes one document per event of the streams: what the log knows about the event, but not what the event says,
// apart from a few words and from the values that it has replaced, none of which are blinded. What the processes record whose
// instances are named after patients, ofPatients, is also about the patient. Events of all types are folded alike. An event that
// needs more implements domain.Described or one of its neighbours. Events are left out where it could tell of an arm that they
// happened. An event that is no part of the record is marked as damaged, without what it claims. One that this program cannot read,
// such as one of a newer program, is shown without what it says.
func AuditIndex(streams []domain.StreamType, ofPatients ...string) projections.Projection {
	var folds []projections.Fold[audited]
	known := map[string]domain.StreamType{} // by category
	listed := map[string]bool{}             // by the names of the events
	for _, stream := range streams {
		known[stream.Category] = stream
		for _, event := range stream.Events {
			listed[event.Name] = !event.Unlisted
			if !event.Unlisted {
				site := siteOf(event.Go)
				folds = append(folds, projections.OnEventType(event, func(a *audited, at projections.Envelope) {
					index(a, stream, at)
					if a.Site == "" {
						a.Site = site(at.Event)
					}
					if e, is := at.Event.(process.AboutInstance); is && slices.Contains(ofPatients, e.AboutInstance().Process) {
						a.Patient = domain.PatientID(e.AboutInstance().Of)
					}
				}))
			}
		}
	}
	folds = append(folds, projections.On(func(a *audited, e eventlog.Damaged, at projections.Envelope) { indexDamaged(a, streams, e, at) }))
	folds = append(folds, projections.On(func(a *audited, _ eventlog.Unreadable, at projections.Envelope) {
		category, _, _ := strings.Cut(at.Stream, "-")
		indexUnreadable(a, known[category], listed[at.Type], at)
	}))
	key := projections.KeysOf(func(e any, at projections.Envelope) []string {
		if shown, named := listed[at.Type]; named && !shown {
			if _, unreadable := e.(eventlog.Unreadable); unreadable {
				return nil
			}
		}
		return []string{auditviews.AuditKey(at.Position)}
	})
	return projections.New(auditviews.AuditIndex, key, folds...).BegunBy(func(projections.Envelope) bool { return true })
}

// siteOf returns where events of a type say which site they are about. It is for events of commands about the whole study,
// whose metadata name no site.
func siteOf(event reflect.Type) func(any) domain.SiteID {
	for _, field := range reflect.VisibleFields(event) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "site" && field.Type == reflect.TypeFor[domain.SiteID]() {
			return func(e any) domain.SiteID { return domain.SiteID(reflect.ValueOf(e).FieldByIndex(field.Index).String()) }
		}
	}
	return func(any) domain.SiteID { return "" }
}

func index(a *audited, stream domain.StreamType, at projections.Envelope) {
	m := at.Metadata
	a.Type, a.Stream, a.Actor, a.Role = at.Type, at.Stream, m.Actor, m.Role
	a.Study, a.Site, a.Patient = m.Study, m.Site, m.Patient
	a.RecordedAt, a.CapturedZone, a.Command, a.CommandID = m.RecordedAt, m.CapturedZone, m.Command, m.CommandID
	a.Address, a.App = m.Address, m.App
	if m.CapturedAt != nil {
		captured := m.CapturedAt.UTC()
		a.CapturedAt = &captured
	}
	if m.CorrelationID != m.CommandID {
		a.CorrelationID = m.CorrelationID
	}
	if m.CausationID != m.CommandID {
		a.CausationID = m.CausationID
	}
	if !stream.HidesRevisions {
		revision := int64(at.Revision)
		a.Revision = &revision
	}
	if e, is := at.Event.(domain.Described); is {
		a.About = e.About()
	}
	if e, is := at.Event.(domain.KeptFromSite); is {
		a.KeptFromSite = e.KeptFromSite()
	}
	if e, is := at.Event.(domain.Changing); is {
		for _, c := range e.Changed() {
			a.Changes = append(a.Changes, auditviews.ValueChange{Field: c.Field, Old: c.Old, New: c.New})
		}
	}
	a.Hash = eventlog.Hash(at.ID, at.Type, at.Data, at.RawMetadata)
	if e, is := at.Event.(domain.ArmRevealing); !user.Role(m.Role).KnowsArms() && !(is && e.ReasonRevealsArm()) {
		a.Reason = string(m.Reason)
	}
	if e, is := at.Event.(domain.Scoped); is {
		of := e.Scope()
		a.Study, a.Site, a.Patient = of.Study, of.Site, of.Patient
	}
	if e, is := at.Event.(domain.Attributed); is {
		a.Actor, a.Address = e.DoneBy()
		a.Role = ""
	}
	a.Trails = []domain.StudyID{a.Study}
	if stream.Accounts {
		a.Account = domain.UserID(at.StreamID())
		if a.Study != auditviews.AccountTrail {
			a.Trails = []domain.StudyID{auditviews.AccountTrail, a.Study}
		}
	}
	for _, u := range []domain.UserID{a.Actor, a.Account} {
		if u != "" && (len(a.Users) == 0 || a.Users[0] != u) {
			a.Users = append(a.Users, u)
		}
	}
}

// indexUnreadable shows that there is an event, and who recorded it when. Its reason could tell of an arm, and so could its
// type where no revisions are shown, or where this program does not know it.
func indexUnreadable(a *audited, stream domain.StreamType, known bool, at projections.Envelope) {
	index(a, stream, at)
	a.Unreadable, a.Reason = true, ""
	if stream.HidesRevisions || !known {
		a.Type = ""
	}
}

// indexDamaged shows that there is a damaged event, with its place in the log. Who it names as its author, when and why is
// left out: nobody may be shown to have done what they did not.
func indexDamaged(a *audited, streams []domain.StreamType, e eventlog.Damaged, at projections.Envelope) {
	a.Type, a.Stream, a.RecordedAt, a.Damaged = at.Type, at.Stream, at.StoredAt.UTC().Truncate(time.Millisecond), e.Damage.Reason
	if at.Revision != e.Damage.Revision {
		a.Damaged = fmt.Sprintf("the stream is damaged from its event %d on", e.Damage.Revision)
	}
	category, id, _ := strings.Cut(at.Stream, "-")
	study, _, _ := strings.Cut(id, ".")
	a.Trails = []domain.StudyID{auditviews.AccountTrail, domain.StudyID(study)}
	for _, stream := range streams {
		switch {
		case stream.Category != category:
			continue
		case stream.HidesRevisions: // what the type and the revision tell is left out as in sound events
			a.Type = ""
			return
		case stream.Accounts:
			a.Account, a.Users, a.Trails = domain.UserID(id), []domain.UserID{domain.UserID(id)}, a.Trails[:1]
		}
	}
	revision := int64(at.Revision)
	a.Revision = &revision
}
