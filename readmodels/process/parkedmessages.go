package process

import (
	"context"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// ParkedMessages is the view of messages that a process manager could not deal with, with one document per message.
var ParkedMessages = readmodels.View{Name: "parked-messages", Version: 1, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "since", "_id"),
	readmodels.IndexOn("study", "status", "since", "_id"),
}}

// ParkedStatus says what was decided about a parked message.
type ParkedStatus string

// The statuses of a parked message.
const (
	ParkedWaiting   ParkedStatus = "waiting"
	ParkedRetried   ParkedStatus = "retried"
	ParkedAbandoned ParkedStatus = "abandoned"
)

// Schema implements domain.HasSchema.
func (ParkedStatus) Schema() domain.Schema {
	return domain.OneOf(ParkedWaiting, ParkedRetried, ParkedAbandoned)
}

// ParkedMessage is a message that was parked so that it does not block others.
type ParkedMessage struct {
	readmodels.Header `bson:",inline"`
	Process           string         `bson:"process" json:"process" doc:"The process that could not deal with it"`
	Event             string         `bson:"event" json:"event" doc:"Id of the event that it is about"`
	Study             domain.StudyID `bson:"study" json:"study" doc:"The study"`
	Type              string         `bson:"type" json:"type" doc:"Name of that event"`
	Stream            string         `bson:"stream" json:"stream" doc:"The event's stream"`
	Revision          int64          `bson:"revision" json:"revision" doc:"The event's number in its stream, from 0"`
	Reason            string         `bson:"reason" json:"reason" doc:"Why the process could not deal with it"`
	Status            ParkedStatus   `bson:"status" json:"status" doc:"Whether somebody has decided about it"`
	Since             time.Time      `bson:"since" json:"since" doc:"When it was parked, the last time"`
	Times             int            `bson:"times" json:"times" doc:"How often it was parked"`
	// DecidedBy, DecidedAt and Decision are those of the last decision. A message that is parked again waits for a new one.
	DecidedBy domain.UserID `bson:"decidedBy,omitempty" json:"decidedBy,omitempty" doc:"Who had it retried, or gave it up"`
	DecidedAt *time.Time    `bson:"decidedAt,omitempty" json:"decidedAt,omitempty" doc:"When"`
	Decision  string        `bson:"decision,omitempty" json:"decision,omitempty" doc:"The reason given"`
}

var parkedOrders = []readmodels.Order[ParkedMessage]{
	readmodels.Ascending("oldest", func(m ParkedMessage) []any { return []any{m.Since.UTC(), m.ID} }, "since", "_id"),
	readmodels.Descending("newest", func(m ParkedMessage) []any { return []any{m.Since.UTC(), m.ID} }, "since", "_id"),
}

// parkedMessages is the query of a study's parked messages.
var parkedMessages = readmodels.Declare(readmodels.Query{
	Name: "ParkedMessages", Path: "/api/v1/studies/{study}/parked-messages", Summary: "Messages that a process could not deal with",
	Doc:    "They are set aside so that they block no others, until somebody has them retried or gives them up.",
	OpenTo: access.To(access.DataManagers, access.Auditors), Reach: readmodels.ReachStudy, Views: []readmodels.View{ParkedMessages},
	Sort: readmodels.SortBy(parkedOrders, "By since when they have been parked;"),
}, ListParkedMessages)

// ParkedMessagesQuery asks for a study's parked messages; an empty status does not narrow the list.
type ParkedMessagesQuery struct {
	Study  domain.StudyID `path:"study" doc:"The study"`
	Status ParkedStatus   `query:"status" doc:"Only those with this status"`
	readmodels.Page
}

// ListParkedMessages returns a page of a study's parked messages.
func ListParkedMessages(ctx context.Context, r readmodels.Request, q ParkedMessagesQuery) (readmodels.List[ParkedMessage], error) {
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(q.Study)}}, "status", q.Status)
	return readmodels.Listed(ctx, r.Store.Collection(ParkedMessages), q.Page, filter, parkedOrders)
}
