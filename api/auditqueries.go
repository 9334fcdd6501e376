package api

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/readmodels"
	auditviews "casebook/readmodels/audit"
)

// trailParameters narrow a trail. What narrows it to a place or a patient is the study's alone.
func trailParameters(more ...Parameter) []Parameter {
	return slices.Concat(more, []Parameter{
		{Name: "user", In: inQuery, Doc: "Only what this user has done, and what is about the user's account", Example: "nurse.one", check: func(v string) error {
			return domain.At("user", domain.UserID(v).Validate())
		}},
		{Name: "type", In: inQuery, Doc: "Only events of this type, or of several with commas between them", Example: "DiarySubmitted,DiaryCorrected", check: eventTypes},
		timeParameter("from", "Only what was recorded then or later"), timeParameter("to", "Only what was recorded before"),
		positionParameter("first", "The first log position; with the sort by position"), positionParameter("last", "The last log position; with the sort by position"),
		sorting(auditviews.AuditSorts, "By when it was recorded, or by the position in the log, as programs follow it;"),
	}, paging)
}

// maxEventTypes bounds the types that a list is narrowed to.
const maxEventTypes = 20

func eventTypes(value string) error {
	names := commaSeparated(value)
	if len(names) > maxEventTypes {
		return refuse.Malformed("malformed_parameter", "%d types are too many", len(names)).At("type").Do("name at most 20, or leave it out")
	}
	for _, name := range names {
		if name == "" || len(name) > 100 {
			return refuse.Malformed("malformed_parameter", "a type's name has %d characters", len(name)).At("type").Do("name types as /openapi.json does, with commas between them")
		}
	}
	return nil
}

func commaSeparated(value string) []string {
	if value == "" {
		return nil
	}
	return strings.Split(value, ",")
}

func (q asked) trail(ctx context.Context, a *API, trail domain.StudyID) (readmodels.List[auditviews.AuditEvent], error) {
	return auditviews.ListAuditEvents(ctx, a.store, trail, auditviews.AuditFilter{
		Patient: domain.PatientID(q.values["patient"]), User: domain.UserID(q.values["user"]), Site: q.site(), Types: commaSeparated(q.values["type"]),
		From: q.time("from"), To: q.time("to"), First: q.position("first"), Last: q.position("last"),
	}, q.page())
}

var studyTrail = Query{
	Name: "StudyTrail", Path: "/api/v1/audit/studies/{study}/events", Summary: "What was recorded of a study, by whom and when", Reach: ReachStudy,
	OpenTo: access.To(access.Monitors, access.DataManagers, access.Auditors),
	Doc: "The audit index: every event of the study with who recorded it, in which role, when, from where, by which command and why, the newest in front. What an event says is not in it. " +
		"Roles given in the study and access that was refused are in it too (21 CFR 11.10(e)).",
	Parameters: trailParameters(studyParameter, siteParameter,
		Parameter{Name: "patient", In: inQuery, Doc: "Only what is about this patient", Example: "PAIN1.S-0001", Pattern: patientPattern, check: patientParameter.check}),
	Answer: reflect.TypeFor[readmodels.List[auditviews.AuditEvent]](), view: &auditviews.AuditIndex,
	read: func(ctx context.Context, a *API, ask asked) (any, error) { return ask.trail(ctx, a, ask.study) },
}

var accountTrail = Query{
	Name: "AccountTrail", Path: "/api/v1/audit/accounts/events", Summary: "What was recorded of accounts, by whom and when", Reach: ReachAnywhere, OpenTo: access.Admins,
	Doc:        "The audit index of what belongs to no study: accounts, grants, sign-ins and their failures, and access that was refused outside of studies, the newest in front.",
	Parameters: trailParameters(), Answer: reflect.TypeFor[readmodels.List[auditviews.AuditEvent]](), view: &auditviews.AuditIndex,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		return ask.trail(ctx, a, auditviews.AccountTrail)
	},
}
