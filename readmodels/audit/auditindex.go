// Package audit holds the index of the audit trail.
package audit

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"casebook/access"
	"casebook/admission"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// AuditIndex is the view by which events are found, with one document per event: who, in which role, when, from where, by
// which command and why, and which values it has replaced. What else the event says is only in the log. Documents never change, so
// each index costs one entry per event. A list uses the index of one of its filters, and checks the other filters in the documents
// that it finds.
var AuditIndex = readmodels.View{Name: "audit-index", Version: 5, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("trails", "recordedAt", "_id"),
	readmodels.IndexOn("trails", "type", "recordedAt", "_id"),
	readmodels.IndexOn("trails", "site", "recordedAt", "_id"),
	readmodels.IndexOn("patient", "recordedAt", "_id"), // a patient belongs to one study
	readmodels.IndexOn("users", "recordedAt", "_id"),
}}

// AccountTrail is the trail of what belongs to no study: accounts, sign-ins, and refusals of access outside of studies.
const AccountTrail domain.StudyID = ""

// AuditEvent is an event as the audit index shows it (21 CFR 11.10(e); ICH E6(R3) 4.2.2).
type AuditEvent struct {
	readmodels.Header `bson:",inline"`
	Type              string `bson:"type" json:"type" doc:"Name of the event"`
	Stream            string `bson:"stream" json:"stream" doc:"Its stream"`
	// Revision is nil in the streams of randomisation, where a gap would reveal that a draw passed over an arm.
	Revision *int64           `bson:"revision,omitempty" json:"revision,omitempty" doc:"Its number in the stream, from 0; left out where gaps could tell of an arm"`
	Actor    domain.UserID    `bson:"actor,omitempty" json:"actor,omitempty" doc:"Who did it, or was refused; none where nobody had proven an identity"`
	Role     string           `bson:"role,omitempty" json:"role,omitempty" doc:"In which role"`
	Account  domain.UserID    `bson:"account,omitempty" json:"account,omitempty" doc:"The account that it is about"`
	Study    domain.StudyID   `bson:"study,omitempty" json:"study,omitempty" doc:"The study"`
	Site     domain.SiteID    `bson:"site,omitempty" json:"site,omitempty" doc:"The site or depot"`
	Patient  domain.PatientID `bson:"patient,omitempty" json:"patient,omitempty" doc:"The patient"`
	// Damaged is set where the event is no part of the record.
	Damaged string `bson:"damaged,omitempty" json:"damaged,omitempty" doc:"What is wrong if the event does not belong to the record; then nobody is named as its author, and the time is the store's"`
	// Unreadable is true for an event of a newer program, or of one that is at fault.
	Unreadable bool `bson:"unreadable,omitempty" json:"unreadable,omitempty" doc:"Whether this program cannot read what the event says; it is part of the record all the same"`
	// KeptFromSite is true for an event of which the patient's site must not hear.
	KeptFromSite bool `bson:"keptFromSite,omitempty" json:"-"`
	// About is a few words of the event that are not blinded.
	About        string     `bson:"about,omitempty" json:"about,omitempty" doc:"What it is about, such as the window of a diary, a role, or what was refused and why"`
	RecordedAt   time.Time  `bson:"recordedAt" json:"recordedAt" doc:"When the server recorded it"`
	CapturedAt   *time.Time `bson:"capturedAt,omitempty" json:"capturedAt,omitempty" doc:"When it was captured, by the device's clock"`
	CapturedZone string     `bson:"capturedZone,omitempty" json:"capturedZone,omitempty" doc:"The device's time zone"`
	Command      string     `bson:"command,omitempty" json:"command,omitempty" doc:"The command that recorded it"`
	CommandID    string     `bson:"commandId,omitempty" json:"commandId,omitempty" doc:"The command's id"`
	// CorrelationID and CausationID are only stored if they differ from the command's id, which is rare.
	CorrelationID string `bson:"correlationId,omitempty" json:"correlationId,omitempty" doc:"The same for everything that one request caused; left out if it is the command's id"`
	CausationID   string `bson:"causationId,omitempty" json:"causationId,omitempty" doc:"The event that made a process send the command; left out where nothing did"`
	Reason        string `bson:"reason,omitempty" json:"reason,omitempty" doc:"Why, where a reason was given; left out where it could tell of an arm"`
	// Changes are told by the event (see domain.Changing). Hash is that of eventlog.Hash.
	Changes []ValueChange `bson:"changes,omitempty" json:"changes,omitempty" doc:"Recorded values that it has replaced; left out if it replaces none, if they are blinded or about a person, and in events of earlier programs that do not hold the former value"`
	Hash    string        `bson:"hash,omitempty" json:"hash,omitempty" doc:"SHA-256 of the stored event, in base64, which the next event of the stream holds; left out where the event does not belong to the record"`
	Address string        `bson:"address,omitempty" json:"address,omitempty" doc:"Network address of the client"`
	App     string        `bson:"app,omitempty" json:"app,omitempty" doc:"Program of the client"`
	// Trails are the studies in whose trail the event is, and AccountTrail for an event of an account. An event about a
	// role in a study is in both. Users are the actor and the account.
	Trails []domain.StudyID `bson:"trails" json:"-"`
	Users  []domain.UserID  `bson:"users,omitempty" json:"-"`
}

// ValueChange is a recorded value that an event has replaced.
type ValueChange struct {
	Field string `bson:"field" json:"field" example:"ageYears" doc:"The value: an item of the diary, or as commands and views name it"`
	Old   any    `bson:"old" json:"old" kinds:"number boolean string null" doc:"What was recorded until then; null for nothing"`
	New   any    `bson:"new" json:"new" kinds:"number boolean string null" doc:"What is recorded since; null for nothing"`
}

// AuditKey returns the key of an event's document. Keys have the order of the log. On servers where the events of one append
// share a commit position, their prepare positions distinguish them; the last one is prepared at the commit position.
func AuditKey(p domain.Position) string {
	if p.Prepare == p.Commit {
		return fmt.Sprintf("%016x~", p.Commit)
	}
	return fmt.Sprintf("%016x-%016x", p.Commit, p.Prepare)
}

// The orders of the audit index.
const (
	AuditNewest = "newest"
	AuditOldest = "oldest"
	// AuditByPosition is the order of the log, in which programs follow it.
	AuditByPosition = "position"
)

var auditOrders = []readmodels.Order[AuditEvent]{
	readmodels.Descending(AuditNewest, func(e AuditEvent) []any { return []any{e.RecordedAt.UTC(), e.ID} }, "recordedAt", "_id"),
	readmodels.Ascending(AuditOldest, func(e AuditEvent) []any { return []any{e.RecordedAt.UTC(), e.ID} }, "recordedAt", "_id"),
	readmodels.Ascending(AuditByPosition, func(e AuditEvent) []any { return []any{e.ID} }, "_id"),
}

// accountOrders are those of an account's trail.
var accountOrders = auditOrders[:2]

// trailSort names the orders of both trails. A range of log positions is only allowed in the order of positions.
var trailSort = readmodels.SortBy(auditOrders, "By when it was recorded, or by the position in the log, as programs follow it;")

// Queries are those of this context. types are the names of all events: a trail is asked for no others.
func Queries(types []string) []readmodels.Query {
	return []readmodels.Query{studyTrail(types), accountTrail(types), studyAccountTrail(types)}
}

func studyTrail(types []string) readmodels.Query {
	return readmodels.Declare(readmodels.Query{
		Name: "StudyTrail", Path: "/api/v1/audit/studies/{study}/events", Summary: "What was recorded of a study, by whom and when",
		Doc: "The audit index: every event of the study with who recorded it, in which role, when, from where, by which command and why, the " +
			"newest in front, with its hash and the recorded values that it has replaced. What else an event says is not in it. " +
			"Investigators read the trail of their own site. Roles given in the study and access that was refused are in it too " +
			"(21 CFR 11.10(e)).",
		OpenTo: access.To(access.Investigators, access.Monitors, access.DataManagers, access.Auditors), Reach: readmodels.ReachStudy,
		Views: []readmodels.View{AuditIndex}, Class: admission.Exports, Sort: trailSort,
	}, func(ctx context.Context, r readmodels.Request, q StudyTrailQuery) (list readmodels.List[AuditEvent], err error) {
		if err := q.Types.mustBe(types); err != nil {
			return list, err
		}
		return ListStudyTrail(ctx, r, q)
	})
}

func accountTrail(types []string) readmodels.Query {
	return readmodels.Declare(readmodels.Query{
		Name: "AccountTrail", Path: "/api/v1/audit/accounts/events", Summary: "What was recorded of accounts, by whom and when",
		Doc: "The audit index of what belongs to no study: accounts, grants, sign-ins and their failures, and access that was refused outside " +
			"of studies, the newest in front.",
		OpenTo: access.Admins, Reach: readmodels.ReachAnywhere, Views: []readmodels.View{AuditIndex}, Class: admission.Exports,
		Sort: trailSort,
	}, func(ctx context.Context, r readmodels.Request, q TrailQuery) (list readmodels.List[AuditEvent], err error) {
		if err := q.Types.mustBe(types); err != nil {
			return list, err
		}
		return ListAccountTrail(ctx, r, q)
	})
}

// studyAccountTrail is for auditors, who are bound to a study: an account may work in others.
func studyAccountTrail(types []string) readmodels.Query {
	return readmodels.Declare(readmodels.Query{
		Name: "StudyAccountTrail", Path: "/api/v1/audit/studies/{study}/accounts/{account}/events",
		Summary: "What was recorded of an account that has, or had, a role in a study",
		Doc: "The audit index of one account: its roles in the study, its sign-ins and their failures, its devices, what administrators did " +
			"with it, the newest in front. Roles in other studies are left out. The study's trail names the accounts, in the events of " +
			"the type RoleGranted.",
		OpenTo: access.Auditors, Reach: readmodels.ReachStudy, Views: []readmodels.View{AuditIndex}, Class: admission.Exports,
		Sort: readmodels.SortBy(accountOrders, "By when it was recorded;"),
	}, func(ctx context.Context, r readmodels.Request, q StudyAccountTrailQuery) (list readmodels.List[AuditEvent], err error) {
		if err := q.Types.mustBe(types); err != nil {
			return list, err
		}
		return ListStudyAccountTrail(ctx, r, q)
	})
}

// mustBe refuses a name that no event has (code unknown_event_type): an empty trail would look as if nothing had happened. It names
// events that share a word with it.
func (e EventTypes) mustBe(known []string) error {
	for _, name := range e {
		if slices.Contains(known, name) {
			continue
		}
		var near []string
		for _, other := range known {
			if slices.ContainsFunc(words.FindAllString(name, -1), func(w string) bool { return len(w) > 2 && strings.Contains(other, w) }) {
				near = append(near, other)
			}
		}
		remedy := "name types as /openapi.json does, with commas between them"
		if len(near) > 0 {
			remedy = "use " + domain.Either(near...)
		}
		return refuse.Malformed("unknown_event_type", "no event is called %.80q", name).At("type").Do(remedy)
	}
	return nil
}

// words finds the words of an event's name.
var words = regexp.MustCompile(`[A-Z][a-z]+`)

// StudyTrailQuery asks for the trail of a study; empty fields do not narrow it.
type StudyTrailQuery struct {
	Study   domain.StudyID   `path:"study" doc:"The study"`
	Site    domain.SiteID    `query:"site" doc:"Only this site"`
	Patient domain.PatientID `query:"patient" doc:"Only what is about this patient"`
	TrailQuery
}

// TrailQuery asks for a trail; empty fields do not narrow it.
type TrailQuery struct {
	User  domain.UserID `query:"user" example:"nurse.one" pattern:"" doc:"Only what this user has done, and what is about the user's account"`
	Types EventTypes    `query:"type" doc:"Only events of this type, or of several with commas between them"`
	From  time.Time     `query:"from" doc:"Only what was recorded then or later"`
	// To is the first moment that is not included.
	To time.Time `query:"to" doc:"Only what was recorded before"`
	// First and Last are only allowed in the order AuditByPosition.
	First uint64 `query:"first" doc:"The first log position; with the sort by position"`
	Last  uint64 `query:"last" doc:"The last log position; with the sort by position"`
	readmodels.Page
}

// StudyAccountTrailQuery asks for the trail of an account that works, or has worked, in a study; empty fields do not narrow it.
type StudyAccountTrailQuery struct {
	Study   domain.StudyID `path:"study" doc:"The study"`
	Account domain.UserID  `path:"account" example:"nurse.one" pattern:"" doc:"The account"`
	Types   EventTypes     `query:"type" doc:"Only events of this type, or of several with commas between them"`
	From    time.Time      `query:"from" doc:"Only what was recorded then or later"`
	// To is the first moment that is not included.
	To time.Time `query:"to" doc:"Only what was recorded before"`
	readmodels.Page
}

// EventTypes are names of events.
type EventTypes []string

// maxEventTypes bounds the types of one query.
const maxEventTypes = 20

// Schema implements domain.HasSchema.
func (EventTypes) Schema() domain.Schema {
	return domain.Schema{Example: "DiarySubmitted,DiaryCorrected"}
}

// UnmarshalText reads names that are separated by commas. It refuses malformed_parameter.
func (e *EventTypes) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	names := strings.Split(string(text), ",")
	if len(names) > maxEventTypes {
		return refuse.Malformed("malformed_parameter", "%d types are too many", len(names)).Do("name at most 20, or leave it out")
	}
	for _, name := range names {
		if name == "" || len(name) > 100 {
			return refuse.Malformed("malformed_parameter", "a type's name has %d characters", len(name)).
				Do("name types as /openapi.json does, with commas between them")
		}
	}
	*e = names
	return nil
}

// ListStudyTrail returns a page of a study's trail. It refuses recorded_of_accounts where a patient's events of the types are in the trails
// of accounts.
func ListStudyTrail(ctx context.Context, r readmodels.Request, q StudyTrailQuery) (readmodels.List[AuditEvent], error) {
	filter := bson.D{{Key: "trails", Value: string(q.Study)}}
	filter = readmodels.Equal(filter, "patient", q.Patient)
	scope := domain.Scope{Study: q.Study, Site: q.Site}
	if _, err := r.Caller.Authorize("StudyTrail", access.To(access.Monitors, access.DataManagers, access.Auditors), scope); err != nil {
		filter = append(filter, bson.E{Key: "keptFromSite", Value: nil}) // who asks is an investigator
	}
	list, err := q.list(ctx, r, readmodels.Equal(filter, "site", q.Site))
	if err == nil && len(list.Items) == 0 && q.Cursor == "" && q.Patient != "" && len(q.Types) > 0 {
		err = q.elsewhere(ctx, r)
	}
	return list, err
}

// fewAccounts bounds the accounts of a patient, which are the patient's own and those of caregivers.
const fewAccounts = 20

// elsewhere refuses recorded_of_accounts where a patient's trail has no events of the types because they are in the trails of the
// patient's accounts, such as enrolments of devices. It says so only to those who may read these.
func (q StudyTrailQuery) elsewhere(ctx context.Context, r readmodels.Request) error {
	if !r.Holds(access.Auditors, q.Study) {
		return nil
	}
	index := r.Store.Collection(AuditIndex)
	found, err := index.Find(ctx, bson.D{{Key: "patient", Value: string(q.Patient)}, {Key: "type", Value: roleGranted}},
		options.Find().SetLimit(fewAccounts).SetProjection(bson.D{{Key: "account", Value: 1}}))
	if err != nil {
		return err
	}
	var granted []AuditEvent
	if err := found.All(ctx, &granted); err != nil {
		return err
	}
	var trails []string
	for _, g := range granted {
		of := bson.D{{Key: "users", Value: string(g.Account)}, {Key: "account", Value: string(g.Account)}, readmodels.OneOf("type", q.Types)}
		path := fmt.Sprintf("/api/v1/audit/studies/%s/accounts/%s/events", q.Study, g.Account)
		switch err := index.FindOne(ctx, of).Err(); {
		case errors.Is(err, mongo.ErrNoDocuments), slices.Contains(trails, path):
		case err != nil:
			return err
		default:
			trails = append(trails, path)
		}
	}
	if len(trails) == 0 {
		return nil
	}
	return refuse.Malformed("recorded_of_accounts", "%s is recorded of accounts, and not of patients", strings.Join(q.Types, ", ")).At("type").
		Do("ask for the trail of the patient's account: " + domain.Each(trails...))
}

// ListAccountTrail returns a page of the trail of what belongs to no study.
func ListAccountTrail(ctx context.Context, r readmodels.Request, q TrailQuery) (readmodels.List[AuditEvent], error) {
	return q.list(ctx, r, bson.D{{Key: "trails", Value: string(AccountTrail)}})
}

// roleGranted is the stored name of user.RoleGranted.
const roleGranted = "RoleGranted"

// ListStudyAccountTrail returns a page of the trail of an account. It refuses user_not_found for one that never had a role in the
// study.
func ListStudyAccountTrail(ctx context.Context, r readmodels.Request, q StudyAccountTrailQuery) (readmodels.List[AuditEvent], error) {
	index := r.Store.Collection(AuditIndex)
	filter := bson.D{{Key: "users", Value: string(q.Account)}, {Key: "account", Value: string(q.Account)}}
	err := index.FindOne(ctx, append(slices.Clone(filter), bson.E{Key: "trails", Value: string(q.Study)},
		bson.E{Key: "type", Value: roleGranted})).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return readmodels.List[AuditEvent]{}, refuse.NotFound("user_not_found", "no account %.80q has had a role in study %s",
			string(q.Account), q.Study).At("account").Do("take it from the study's trail, from an event of the type RoleGranted")
	}
	if err != nil {
		return readmodels.List[AuditEvent]{}, err
	}
	filter = append(filter, bson.E{Key: "trails", Value: string(AccountTrail)}, bson.E{Key: "$or", Value: bson.A{
		bson.D{{Key: "study", Value: string(q.Study)}}, bson.D{{Key: "study", Value: bson.D{{Key: "$exists", Value: false}}}}}})
	return TrailQuery{Types: q.Types, From: q.From, To: q.To, Page: q.Page}.list(ctx, r, filter)
}

// list returns a page of a trail, the newest events first by default. It refuses positions_out_of_order for a range of
// positions in an order by time, where the range would not bound the search.
func (q TrailQuery) list(ctx context.Context, r readmodels.Request, filter bson.D) (readmodels.List[AuditEvent], error) {
	filter = readmodels.Equal(filter, "users", q.User)
	if len(q.Types) > 0 {
		filter = append(filter, readmodels.OneOf("type", q.Types))
	}
	filter = readmodels.Between(filter, "recordedAt", q.From, q.To)
	switch {
	case q.Sort == AuditByPosition:
		// The bound of position 0 keeps to the order of the keys.
		filter = readmodels.Bounded(filter, "_id", "$gte", fmt.Sprintf("%016x", q.First))
		if q.Last > 0 {
			filter = readmodels.Bounded(filter, "_id", "$lte", AuditKey(domain.Position{Commit: q.Last, Prepare: q.Last}))
		}
	case q.First > 0 || q.Last > 0:
		const why = "log positions are given for a list in the order of time"
		return readmodels.List[AuditEvent]{}, refuse.Malformed("positions_out_of_order", why).
			At("sort").Do("sort by position, or give times instead")
	}
	return readmodels.Listed(ctx, r.Store.Collection(AuditIndex), q.Page, filter, auditOrders)
}
