package process

import (
	"context"
	"slices"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/process"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// ProcessMonitors is the view of process managers, with one document per instance: its stage, what it waits for, and what
// went wrong. A document changes with every step, so there are few indexes. All contain the outcome: a list without an
// outcome asks for all outcomes, and the store merges them. A site has few enough instances of one outcome, and a patient of all, to
// check process and stage in each document.
var ProcessMonitors = readmodels.View{Name: "saga-monitor", Version: 4, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "outcome", "lastStepAt", "_id"),
	readmodels.IndexOn("study", "site", "outcome", "lastStepAt", "_id"),
	readmodels.IndexOn("study", "process", "outcome", "lastStepAt", "_id"),
	readmodels.IndexOn("study", "outcome", "since", "_id"),
	readmodels.IndexOn("study", "site", "outcome", "since", "_id"),
	readmodels.IndexOn("study", "process", "outcome", "since", "_id"),
	readmodels.IndexOn("study", "of", "outcome", "lastStepAt", "_id"),
	readmodels.IndexOn("study", "of", "outcome", "since", "_id"),
}}

// maxTimers bounds the open timers that a document holds. A site has one for each shipment on its way.
const maxTimers = 100

// Process is one instance of a process manager, such as the enrolment of one patient.
type Process struct {
	readmodels.Header `bson:",inline"`
	Process           string          `bson:"process" json:"process" doc:"The process manager"`
	Of                string          `bson:"of" json:"of" doc:"What the run is about, such as the patient"`
	Study             domain.StudyID  `bson:"study" json:"study" doc:"The study"`
	Site              domain.SiteID   `bson:"site,omitempty" json:"site,omitempty" doc:"The site, or the depot, that it is about"`
	Stage             string          `bson:"stage" json:"stage" doc:"What it waits for, or how it ended"`
	Outcome           process.Outcome `bson:"outcome" json:"outcome" enum:"under_way,held,stuck,completed,failed" doc:"The outcome so far; held waits for something that people have to see to, stuck has waited beyond its time"`
	Note              string          `bson:"note,omitempty" json:"note,omitempty" doc:"Why it is in this stage"`
	Since             time.Time       `bson:"since" json:"since" doc:"When it came to this stage"`
	Trigger           string          `bson:"trigger" json:"trigger" doc:"What caused its last step: an event's name, timer:NAME or refused:COMMAND"`
	LastStepAt        time.Time       `bson:"lastStepAt" json:"lastStepAt" doc:"When it took its last step"`
	Steps             int             `bson:"steps" json:"steps" doc:"How many steps it has taken"`
	Asked             []string        `bson:"asked" json:"asked" doc:"The commands that the last step sent, each named once"`
	Timers            []Timer         `bson:"timers" json:"timers" doc:"The timers that are set, the earliest first, at most 100"`
	// RetriedBy, RetriedAt and RetryReason are those of the last time that somebody had it retried.
	RetriedBy   domain.UserID `bson:"retriedBy,omitempty" json:"retriedBy,omitempty" doc:"Who had it retried last"`
	RetriedAt   *time.Time    `bson:"retriedAt,omitempty" json:"retriedAt,omitempty" doc:"When"`
	RetryReason string        `bson:"retryReason,omitempty" json:"retryReason,omitempty" doc:"The reason given"`
}

// Timer is a time at which a process acts at the latest.
type Timer struct {
	Name string    `bson:"name" json:"name" doc:"The name of the timer"`
	At   time.Time `bson:"at" json:"at" doc:"When it comes"`
}

// Step records a step: the stage and the outcome to which the process came.
func (p *Process) Step(stage string, outcome process.Outcome, note string, at time.Time) {
	if outcome == "" {
		outcome = process.UnderWay
	}
	if p.Stage != stage || p.Outcome != outcome {
		p.Since = at
	}
	p.Stage, p.Outcome, p.Note, p.LastStepAt = stage, outcome, note, at
	p.Steps++
}

// SetTimer adds a timer. It replaces a timer with the same name.
func (p *Process) SetTimer(t Timer) {
	p.EndTimer(t.Name)
	at := len(p.Timers)
	for at > 0 && t.At.Before(p.Timers[at-1].At) {
		at--
	}
	p.Timers = slices.Insert(p.Timers, at, t)
	p.Timers = p.Timers[:min(len(p.Timers), maxTimers)]
}

// EndTimer removes a timer that has fired or was cancelled.
func (p *Process) EndTimer(name string) {
	p.Timers = slices.DeleteFunc(p.Timers, func(t Timer) bool { return t.Name == name })
}

var processOrders = []readmodels.Order[Process]{
	readmodels.Descending("moved", func(p Process) []any { return []any{p.LastStepAt.UTC(), p.ID} }, "lastStepAt", "_id"),
	readmodels.Ascending("longest", func(p Process) []any { return []any{p.Since.UTC(), p.ID} }, "since", "_id"),
}

// ofSupply are the processes that supply managers see. The others are about patients.
var ofSupply = []string{"resupply", "resupply-goes-on", "supply-upkeep"}

// processes is the query of a study's processes.
var processes = readmodels.Declare(readmodels.Query{
	Name: "Processes", Path: "/api/v1/studies/{study}/processes", Summary: "Where each process stands",
	Doc: "Where each enrolment, dispensing, resupply and alert stands, what it waits for and what went wrong. Supply managers see the " +
		"processes of supply.",
	OpenTo: access.StudyMembers, Reach: readmodels.ReachStudy, Views: []readmodels.View{ProcessMonitors},
	Sort: readmodels.SortBy(processOrders, "The last to take a step in front, or the longest in its stage;"),
}, ListProcesses)

// ProcessesQuery asks for a study's processes; empty fields do not narrow the list.
type ProcessesQuery struct {
	Study   domain.StudyID  `path:"study" doc:"The study"`
	Site    domain.SiteID   `query:"site" doc:"Only this site"`
	Process string          `query:"process" example:"enrollment" doc:"Only runs of this process manager"`
	Outcome process.Outcome `query:"outcome" enum:"under_way,held,stuck,completed,failed" doc:"Only those with this status"`
	// Patient finds the runs that are named after the patient. Those that are named after something of the patient's, such as an alert, are
	// not among them.
	Patient domain.PatientID `query:"patient" doc:"Only runs about this patient; those of an alert are about the alert"`
	Stage   string           `query:"stage" example:"kit" doc:"Only those that wait for this"`
	readmodels.Page
}

// ListProcesses returns a page of a study's processes.
func ListProcesses(ctx context.Context, r readmodels.Request, q ProcessesQuery) (list readmodels.List[Process], err error) {
	named, some := readmodels.ShownTo(r, q.Study, q.Site, q.Process, ofSupply)
	if !some {
		return list, nil
	}
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(q.Study)}}, "site", q.Site)
	filter = readmodels.Equal(filter, "of", q.Patient)
	filter = append(filter, readmodels.OneOrAny("outcome", q.Outcome, process.Outcomes))
	if len(named) > 0 {
		filter = append(filter, readmodels.OneOf("process", named))
	}
	filter = readmodels.Equal(filter, "stage", q.Stage)
	return readmodels.Listed(ctx, r.Store.Collection(ProcessMonitors), q.Page, filter, processOrders)
}
