// Package projection holds what is shown of the views themselves: how far each has come, and who keeps it.
package projection

import (
	"context"
	"strings"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/readmodels"
)

// Projection says how far a build of a view has come.
type Projection struct {
	View    string           `json:"view" doc:"Name of the view"`
	Version int              `json:"version" doc:"Version of its fold"`
	Build   string           `json:"build" doc:"Name of the build; the first one of a view answers queries"`
	State   readmodels.State `json:"state" doc:"What it is doing, found out when it is asked; not-kept: no process keeps the view, so it stays as it is"`
	// Position and End bound what is left to do.
	Position  uint64    `json:"position" doc:"Log position up to which it has folded"`
	End       uint64    `json:"end,omitempty" doc:"Where the log ended when this was noted, while it catches up"`
	Events    int64     `json:"events" doc:"Events folded so far"`
	Rate      float64   `json:"rate,omitempty" doc:"Events folded a second, while it catches up"`
	Remaining int64     `json:"remainingMillis,omitempty" doc:"Milliseconds until it has caught up, at this pace"`
	LagMillis int64     `json:"lagMillis" doc:"How many milliseconds ago the first event was stored that it has not seen; 0 if it has seen all"`
	At        time.Time `json:"at" doc:"When it last noted how far it has come"`
	// Keeper is left out if no process has taken the lease on the view, or if the last one has left it.
	Keeper       *readmodels.Keeper `json:"keeper,omitempty" doc:"The process that keeps the view, or kept it last"`
	NotKeptSince time.Time          `json:"notKeptSince,omitzero" doc:"Since when no process keeps the view; left out while one does, and if none ever has"`
	// FailedAt is left out for those who have no part in its study.
	FailedAt *FailedAt `json:"failedAt,omitempty" doc:"The event at which it has stopped"`
	// LeftOut are shown without those in whose study a caller has no part; LeftOutStreams counts them all.
	LeftOut        []FailedAt `json:"leftOut,omitempty" doc:"Events that the build cannot show; it leaves out their streams from there on"`
	LeftOutStreams int        `json:"leftOutStreams" doc:"How many streams it leaves out; anything but 0 is an alarm"`
}

// FailedAt is an event that a view cannot show.
type FailedAt struct {
	Study    domain.StudyID `json:"study,omitempty" doc:"The study that it belongs to"`
	Stream   string         `json:"stream" doc:"Its stream"`
	Revision uint64         `json:"revision" doc:"Its revision there"`
	Type     string         `json:"type" doc:"Its type"`
}

// ProjectionList lists all views.
type ProjectionList struct {
	Items []Projection `json:"items" doc:"The views"`
	// Verified is the log position up to which the hash chains of all streams have been checked.
	Verified uint64 `json:"verified" doc:"Log position up to which the record has been verified"`
	// Damaged are left out for those who have no part in their study.
	Damaged []readmodels.DamagedRecord `json:"damaged,omitempty" doc:"Damaged streams: no view shows what they hold from there on. A stream whose damage is resolved goes on behind it"`
}

// Queries are those of this context.
var Queries = []readmodels.Query{
	readmodels.Declare(readmodels.Query{
		Name: "Projections", Path: "/api/v1/projections", Summary: "Where each view stands",
		Doc: "How far each view has folded the log, and which process keeps it; a build that is made beside the active one comes behind it, " +
			"with its progress. State and lag are those of the moment of the question. " +
			"The events that a view cannot show are named to those who work in their study, and to administrators; why is in the server's log.",
		OpenTo: access.To(access.DataManagers, access.Admins, access.Auditors), Reach: readmodels.ReachAnywhere,
	}, ListProjections),
}

// ProjectionsQuery asks how far each view has come.
type ProjectionsQuery struct{}

// ListProjections returns the builds of all views.
func ListProjections(ctx context.Context, r readmodels.Request, _ ProjectionsQuery) (list ProjectionList, err error) {
	builds, err := r.Status(ctx)
	for _, b := range builds {
		list.Items = append(list.Items, shownTo(r.Caller.Principal, b))
	}
	if err != nil {
		return list, err
	}
	verified, err := r.Store.LoadVerified(ctx)
	list.Verified = verified.Through.Commit
	for _, d := range verified.Damages {
		if maySee(r.Caller.Principal, d) {
			list.Damaged = append(list.Damaged, readmodels.Damaged(d))
		}
	}
	return list, err
}

// maySee says whether a caller is shown a damaged stream: an administrator, and whoever works in the study that the
// stream's name begins with.
func maySee(who access.Principal, d domain.Damage) bool {
	if _, err := who.Authorize("", access.Admins, domain.Scope{}); err == nil {
		return true
	}
	_, id, _ := strings.Cut(d.Stream, "-")
	study, _, _ := strings.Cut(id, ".")
	return who.WorksIn(domain.StudyID(study))
}

// shownTo is what a caller is shown of a build.
func shownTo(who access.Principal, b readmodels.BuildStatus) Projection {
	p := Projection{View: b.View, Version: b.Version, Build: b.Collection, State: b.State, Position: b.Position.Commit, End: b.End,
		Events: b.Events, Rate: b.Rate, Remaining: b.RemainingMillis, LagMillis: b.Lag.Milliseconds(), At: b.At.UTC(), Keeper: b.Keeper,
		NotKeptSince: b.NotKeptSince}
	if f := b.FailedAt; f != nil && maySeeEvent(who, *f) {
		p.FailedAt = &FailedAt{Study: f.Study, Stream: f.Stream, Revision: f.Revision, Type: f.Type}
	}
	for _, left := range b.LeftOut {
		if p.LeftOutStreams++; maySeeEvent(who, left.FailedAt) {
			p.LeftOut = append(p.LeftOut, FailedAt{Study: left.Study, Stream: left.Stream, Revision: left.Revision, Type: left.Type})
		}
	}
	return p
}

// maySeeEvent says whether an event that a view cannot show is named to a caller: to an administrator, and to whoever works
// in its study.
func maySeeEvent(who access.Principal, at readmodels.FailedAt) bool {
	_, err := who.Authorize("", access.Admins, domain.Scope{})
	return err == nil || at.Study != "" && who.WorksIn(at.Study)
}
