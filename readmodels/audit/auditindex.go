package audit

import (
	"context"
	"fmt"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// AuditIndex is the view that events are found by, a document an event: who, in which role, when, from where, under which
// command and why, but not what the event says. The log itself has that. Documents are never changed, so an index costs one
// entry each; a filter has one index, and what else is asked for is looked at in what it finds.
var AuditIndex = readmodels.View{Name: "audit-index", Version: 1, Indexes: []mongo.IndexModel{
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
	// Revision is nil in the streams of randomisation, where a gap would tell that a draw had to pass over an arm.
	Revision *int64           `bson:"revision,omitempty" json:"revision,omitempty" doc:"Its number in the stream, from 0; left out where gaps could tell of an arm"`
	Actor    domain.UserID    `bson:"actor,omitempty" json:"actor,omitempty" doc:"Who did it, or was refused; none where nobody had proven an identity"`
	Role     string           `bson:"role,omitempty" json:"role,omitempty" doc:"In which role"`
	Account  domain.UserID    `bson:"account,omitempty" json:"account,omitempty" doc:"The account that it is about"`
	Study    domain.StudyID   `bson:"study,omitempty" json:"study,omitempty" doc:"The study"`
	Site     domain.SiteID    `bson:"site,omitempty" json:"site,omitempty" doc:"The site or depot"`
	Patient  domain.PatientID `bson:"patient,omitempty" json:"patient,omitempty" doc:"The patient"`
	// About is a few unblinded words of the event.
	About        string     `bson:"about,omitempty" json:"about,omitempty" doc:"What it is about, such as the window of a diary, a role, or what was refused and why"`
	RecordedAt   time.Time  `bson:"recordedAt" json:"recordedAt" doc:"When the server recorded it"`
	CapturedAt   *time.Time `bson:"capturedAt,omitempty" json:"capturedAt,omitempty" doc:"When it was captured, by the device's clock"`
	CapturedZone string     `bson:"capturedZone,omitempty" json:"capturedZone,omitempty" doc:"The device's time zone"`
	Command      string     `bson:"command,omitempty" json:"command,omitempty" doc:"The command that it came of"`
	CommandID    string     `bson:"commandId,omitempty" json:"commandId,omitempty" doc:"The command's id"`
	// Correlation and Causation are stored where they differ from the command's id, which they mostly do not.
	CorrelationID string `bson:"correlationId,omitempty" json:"correlationId,omitempty" doc:"The same for all that one request set off; left out where it is the command's id"`
	CausationID   string `bson:"causationId,omitempty" json:"causationId,omitempty" doc:"The event that made a process send the command; left out where nothing did"`
	Reason        string `bson:"reason,omitempty" json:"reason,omitempty" doc:"Why, where a reason was given; left out where it could tell of an arm"`
	Address       string `bson:"address,omitempty" json:"address,omitempty" doc:"Network address of the client"`
	App           string `bson:"app,omitempty" json:"app,omitempty" doc:"Program of the client"`
	// Trails are the studies in whose trail the event is, or AccountTrail: that of an account, and for a role in a study
	// both. Users are actor and account.
	Trails []domain.StudyID `bson:"trails" json:"-"`
	Users  []domain.UserID  `bson:"users,omitempty" json:"-"`
}

// AuditKey is the key of an event's document. Keys are in the order of the log; on servers where the events of one append
// share a commit position, they are told apart by where they were prepared, the last of them at the commit itself.
func AuditKey(p domain.Position) string {
	if p.Prepare == p.Commit {
		return fmt.Sprintf("%016x~", p.Commit)
	}
	return fmt.Sprintf("%016x-%016x", p.Commit, p.Prepare)
}

// AuditFilter narrows the audit index; empty fields do not.
type AuditFilter struct {
	Patient domain.PatientID
	// User has done it, or it is about the user's account.
	User  domain.UserID
	Site  domain.SiteID
	Types []string
	// From and To bound when events were recorded; To is the first moment that is left out.
	From, To time.Time
	// First and Last bound the log positions; 0 does not. They go with the order AuditByPosition.
	First, Last uint64
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

// AuditSorts are the orders of the audit index.
var AuditSorts = readmodels.Names(auditOrders)

// ListAuditEvents returns a page of a study's trail, or of AccountTrail, the newest first unless the page says otherwise. It
// refuses positions_out_of_order for a range of positions in an order by time, where it would not bound the search.
func ListAuditEvents(ctx context.Context, s *readmodels.Store, trail domain.StudyID, f AuditFilter, page readmodels.Page) (readmodels.List[AuditEvent], error) {
	filter := bson.D{{Key: "trails", Value: string(trail)}}
	filter = readmodels.Equal(filter, "patient", f.Patient)
	filter = readmodels.Equal(filter, "users", f.User)
	filter = readmodels.Equal(filter, "site", f.Site)
	if len(f.Types) > 0 {
		filter = append(filter, readmodels.OneOf("type", f.Types))
	}
	filter = readmodels.Between(filter, "recordedAt", f.From, f.To)
	switch {
	case page.Sort == AuditByPosition:
		filter = readmodels.Bounded(filter, "_id", "$gte", fmt.Sprintf("%016x", f.First)) // also of 0: it keeps to the order of the keys
		if f.Last > 0 {
			filter = readmodels.Bounded(filter, "_id", "$lte", AuditKey(domain.Position{Commit: f.Last, Prepare: f.Last}))
		}
	case f.First > 0 || f.Last > 0:
		return readmodels.List[AuditEvent]{}, refuse.Malformed("positions_out_of_order", "log positions are given for a list in the order of time").At("sort").
			Do("sort by position, or give times instead")
	}
	return readmodels.Listed(ctx, s.Collection(AuditIndex), page, filter, auditOrders)
}
