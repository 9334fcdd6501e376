package audit

import (
	"strings"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/randomisation"
	"casebook/domain/security"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/projections"
	auditviews "casebook/readmodels/audit"
)

type audited = auditviews.AuditEvent

// AuditIndex makes one document per event of the streams, of what the log knows about it. What the event says stays out,
// but for a few words that are not blinded. All events are folded alike, whatever their type; those are left out that
// could tell of an arm by having happened.
func AuditIndex(streams []domain.StreamType) projections.Projection {
	var folds []projections.Fold[audited]
	for _, s := range streams {
		for _, event := range s.Events {
			if !event.Unlisted {
				folds = append(folds, projections.OnType(event, index))
			}
		}
	}
	return projections.New(auditviews.AuditIndex, func(at projections.Envelope) []string { return []string{auditviews.AuditKey(at.Position)} }, folds...).
		BegunBy(func(projections.Envelope) bool { return true })
}

func index(a *audited, at projections.Envelope) {
	m := at.Metadata
	a.Type, a.Stream, a.Actor, a.Role = at.Type, at.Stream, m.Actor, m.Role
	a.Study, a.Site, a.Patient, a.About = m.Study, m.Site, m.Patient, aboutOf(at.Event)
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
	category, _, _ := strings.Cut(at.Stream, "-")
	if category != randomisation.Decider.Category {
		revision := int64(at.Revision)
		a.Revision = &revision
	}
	if !reasonMayTell(at) {
		a.Reason = m.Reason
	}
	a.Trails = []domain.StudyID{m.Study}
	ofAccount(a, at)
	for _, u := range []domain.UserID{a.Actor, a.Account} {
		if u != "" && (len(a.Users) == 0 || a.Users[0] != u) {
			a.Users = append(a.Users, u)
		}
	}
}

// reasonMayTell says whether the reason given may tell of an arm: it was written down by somebody who knows arms, or it is
// about a lot, which may go with one.
func reasonMayTell(at projections.Envelope) bool {
	switch user.Role(at.Metadata.Role) {
	case user.Statistician, user.UnblindedSupplyManager:
		return true
	default:
	}
	switch e := at.Event.(type) {
	case supply.LotRecalled:
		return true
	case supply.KitsQuarantined:
		return e.Cause == supply.CauseRecall
	}
	return false
}

// ofAccount says whose account an event is about, and in which trails it is. A role is in the trail of its study too, so
// that who audits the study sees who could act in it; a refusal is in that of the study that it kept somebody from.
func ofAccount(a *audited, at projections.Envelope) {
	within := func(g user.Grant) {
		if g.Study != "" {
			a.Study, a.Site, a.Patient = g.Study, g.Site, g.Patient
			a.Trails = []domain.StudyID{auditviews.AccountTrail, g.Study}
		}
	}
	switch e := at.Event.(type) {
	case security.AccessRefused:
		a.Actor, a.Role, a.Address = e.Actor, "", e.Address
		a.Study, a.Site, a.Patient = e.Study, e.Site, e.Patient
		a.Trails = []domain.StudyID{e.Study}
	case user.RoleGranted:
		within(e.Grant)
	case user.RoleRevoked:
		within(e.Grant)
	}
	if _, is := at.Event.(user.Event); is {
		a.Account = domain.UserID(at.StreamID())
	}
}

// aboutOf names what an event is about, where that is not blinded and the metadata do not say it.
func aboutOf(event any) string {
	switch e := event.(type) {
	case diary.Submitted:
		return string(e.Instrument) + " " + e.Window.ID
	case diary.Corrected:
		return string(e.Instrument) + " " + e.Window
	case diary.WindowMissed:
		return string(e.Instrument) + " " + e.Window.ID
	case diary.RiskFlagged:
		return string(e.Instrument) + " " + e.Window
	case security.AccessRefused:
		return e.Action + ": " + e.Code
	case user.SignInFailed:
		return e.Code
	case user.RoleGranted:
		return string(e.Grant.Role)
	case user.RoleRevoked:
		return string(e.Grant.Role)
	}
	return ""
}
