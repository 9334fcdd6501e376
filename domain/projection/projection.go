// Package projection holds what people decide about the views that are built from the log: to rebuild a view, to retry
// or skip an event that the view's fold cannot handle, to drop an old build. Each view has one stream of such
// decisions, so that an auditor sees who has changed a view and why. The progress of a view is not a decision and is
// not recorded here.
package projection

import (
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// Event is a decision about a view.
type Event interface{ projectionEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[RebuildRequested]("ProjectionRebuildRequested").InNoView("the list of projections shows what becomes of it"),
	domain.Stored[RebuildCancelled]("ProjectionRebuildCancelled").InNoView("the list of projections shows what becomes of it"),
	domain.Stored[EventSkipped]("ProjectionEventSkipped").InNoView("the audit trail shows it"),
	domain.Stored[Retried]("ProjectionRetried").InNoView("the audit trail shows it"),
	domain.Stored[BuildDropped]("ProjectionBuildDropped").InNoView("the list of projections shows what becomes of it"),
}

// RebuildRequested requests a new build of the view. The new build is made beside the active one and then replaces it.
type RebuildRequested struct {
	Projection string         `json:"projection"`
	Study      domain.StudyID `json:"study,omitempty"`
	Reason     personal.Text  `json:"reason"`
	// EventsPerSecond bounds the speed; 0 means as fast as possible.
	EventsPerSecond int `json:"eventsPerSecond,omitempty"`
}

// RebuildCancelled cancels all rebuilds that were requested before it.
type RebuildCancelled struct {
	Projection string         `json:"projection"`
	Study      domain.StudyID `json:"study,omitempty"`
	Reason     personal.Text  `json:"reason"`
}

// EventSkipped makes a version of the view's fold skip an event, now and in every later build of that version.
type EventSkipped struct {
	Projection string         `json:"projection"`
	Study      domain.StudyID `json:"study,omitempty"`
	Version    int            `json:"version"`
	// Stream and Revision are the event's place in the log.
	Stream   string        `json:"stream"`
	Revision uint64        `json:"revision"`
	Reason   personal.Text `json:"reason"`
}

// Retried makes a stopped view try its event again.
type Retried struct {
	Projection string         `json:"projection"`
	Study      domain.StudyID `json:"study,omitempty"`
	Reason     personal.Text  `json:"reason"`
}

// BuildDropped drops a build that is no longer active.
type BuildDropped struct {
	Projection string         `json:"projection"`
	Study      domain.StudyID `json:"study,omitempty"`
	Collection string         `json:"collection"`
	Reason     personal.Text  `json:"reason"`
}

func (RebuildRequested) projectionEvent() {}
func (RebuildCancelled) projectionEvent() {}
func (EventSkipped) projectionEvent()     {}
func (Retried) projectionEvent()          {}
func (BuildDropped) projectionEvent()     {}

// EventPlace is the place of an event in the log.
type EventPlace struct {
	Stream   string
	Revision uint64
}

// State is everything that has been decided about a view.
type State struct {
	// Requests counts the requested rebuilds. Cancelled is the number of the last cancelled one, EventsPerSecond the speed
	// of the last requested one.
	Requests, Cancelled, EventsPerSecond int
	// Skipped are the events that each version of the fold skips.
	Skipped map[int][]EventPlace
	// Dropped are the builds that were dropped.
	Dropped []string
	// Decisions counts all events, so that the engine of views notices a new one. Reconsidered counts those that let a view
	// skip an event, or try again.
	Decisions, Reconsidered int
}

// Wanted returns the number of the last rebuild if it was not cancelled; 0 means that no rebuild is wanted.
func (s State) Wanted() int {
	if s.Requests > s.Cancelled {
		return s.Requests
	}
	return 0
}

// Skips says whether a version of the view's fold skips an event.
func (s State) Skips(version int, stream string, revision uint64) bool {
	return slices.Contains(s.Skipped[version], EventPlace{stream, revision})
}

// Decider is the decider of views; a stream's id is the view's name.
var Decider = domain.Decider[State, Event]{Category: "projection", Key: byView, Events: events, Evolve: evolve}

// Streams are the kinds of streams in this context.
var Streams = []domain.StreamType{Decider.Streams()}

func evolve(s State, event Event) State {
	s.Decisions++
	switch e := event.(type) {
	case RebuildRequested:
		s.Requests++
		s.EventsPerSecond = e.EventsPerSecond
	case RebuildCancelled:
		s.Cancelled = s.Requests
	case EventSkipped:
		all := map[int][]EventPlace{}
		for v, places := range s.Skipped {
			all[v] = slices.Clone(places)
		}
		all[e.Version] = append(all[e.Version], EventPlace{e.Stream, e.Revision})
		s.Skipped = all
		s.Reconsidered++
	case BuildDropped:
		s.Dropped = append(slices.Clone(s.Dropped), e.Collection)
	case Retried:
		s.Reconsidered++
	}
	return s
}

// RebuildProjection requests a new build of a view.
type RebuildProjection struct {
	OfView
	domain.Reasoned `doc:"Why it is built anew"`
	EventsPerSecond int `json:"eventsPerSecond,omitempty" minimum:"0" maximum:"10000000" doc:"The most events a second; 0 or none is as fast as it goes"`
}

// CancelRebuild cancels the rebuild of a view.
type CancelRebuild struct {
	OfView
	domain.Reasoned `doc:"Why it is given up"`
}

// SkipProjectionEvent makes a view skip an event at which it has stopped. The event's data are then missing in the
// view; they stay in the log.
type SkipProjectionEvent struct {
	OfView          `doc:"The study that the event belongs to"`
	Version         int    `json:"version" minimum:"1" doc:"Version of the fold that cannot show it"`
	Stream          string `json:"stream" minLength:"1" maxLength:"300" doc:"Stream of the event"`
	Revision        uint64 `json:"revision" doc:"Its revision there"`
	domain.Reasoned `doc:"Why the view can do without it"`
}

// RetryProjection makes a stopped view try its event again.
type RetryProjection struct {
	OfView
	domain.Reasoned `doc:"What has changed"`
}

// DropProjectionBuild drops an old build of a view.
type DropProjectionBuild struct {
	OfView
	Collection      string `json:"collection" minLength:"1" maxLength:"100" doc:"Collection of the old build"`
	domain.Reasoned `doc:"Why it is not needed"`
}

// Views are the names of all views of the program.
type Views []string

// check refuses view_not_found, reason_required and value_too_long.
func (v Views) check(name string, reason personal.Text) error {
	if !slices.Contains(v, name) {
		return refuse.NotFound("view_not_found", "there is no view %q", name).At("projection").
			Do("use a name from the list of projections")
	}
	return domain.Reason(reason)
}

// Rebuild requests a new build of a view. It refuses view_not_found, reason_required, value_too_long and
// value_out_of_range.
func Rebuild(_ State, views Views, cmd RebuildProjection, _ domain.Call) ([]Event, error) {
	if err := views.check(cmd.Projection, cmd.Reason); err != nil {
		return nil, err
	}
	if cmd.EventsPerSecond < 0 {
		return nil, refuse.Malformed("value_out_of_range", "eventsPerSecond is %d", cmd.EventsPerSecond).At("eventsPerSecond").
			Do("use 0 for as fast as possible")
	}
	return []Event{RebuildRequested{Projection: cmd.Projection, Study: cmd.Study, Reason: cmd.Reason,
		EventsPerSecond: cmd.EventsPerSecond}}, nil
}

// Cancel cancels the requested rebuild. It refuses view_not_found, reason_required, value_too_long and
// no_rebuild.
func Cancel(s State, views Views, cmd CancelRebuild, _ domain.Call) ([]Event, error) {
	if err := views.check(cmd.Projection, cmd.Reason); err != nil {
		return nil, err
	}
	if s.Wanted() == 0 {
		return nil, refuse.WrongState("no_rebuild", "no rebuild of %s is requested", cmd.Projection).At("projection").
			Do("there is nothing to cancel")
	}
	return []Event{RebuildCancelled{Projection: cmd.Projection, Study: cmd.Study, Reason: cmd.Reason}}, nil
}

// SkippedEvent is the facts of Skip: whether the event exists, and its study.
type SkippedEvent struct {
	Views
	Exists bool
	Study  domain.StudyID
}

// Skip makes a view skip an event. It refuses view_not_found, reason_required, value_too_long, event_not_found
// and event_skipped.
func Skip(s State, event SkippedEvent, cmd SkipProjectionEvent, _ domain.Call) ([]Event, error) {
	if err := event.Views.check(cmd.Projection, cmd.Reason); err != nil {
		return nil, err
	}
	if !event.Exists || cmd.Study != "" && event.Study != cmd.Study {
		return nil, refuse.NotFound("event_not_found", "there is no event %d in the stream %s of the study", cmd.Revision, cmd.Stream).
			At("stream").Do("use the stream and revision at which the view has stopped, or that it leaves out")
	}
	if s.Skips(cmd.Version, cmd.Stream, cmd.Revision) {
		return nil, refuse.WrongState("event_skipped", "version %d of %s skips %s@%d already",
			cmd.Version, cmd.Projection, cmd.Stream, cmd.Revision).At("revision").
			Do("see at which event the view has stopped now, or which ones it leaves out")
	}
	return []Event{EventSkipped{Projection: cmd.Projection, Study: cmd.Study, Version: cmd.Version,
		Stream: cmd.Stream, Revision: cmd.Revision, Reason: cmd.Reason}}, nil
}

// Retry makes a stopped view try its event again. It refuses view_not_found, reason_required and value_too_long.
func Retry(_ State, views Views, cmd RetryProjection, _ domain.Call) ([]Event, error) {
	if err := views.check(cmd.Projection, cmd.Reason); err != nil {
		return nil, err
	}
	return []Event{Retried{Projection: cmd.Projection, Study: cmd.Study, Reason: cmd.Reason}}, nil
}

// Drop drops an old build. The engine never drops the active build, even if an event says so. Drop refuses
// view_not_found, reason_required, value_too_long and build_dropped.
func Drop(s State, views Views, cmd DropProjectionBuild, _ domain.Call) ([]Event, error) {
	if err := views.check(cmd.Projection, cmd.Reason); err != nil {
		return nil, err
	}
	if slices.Contains(s.Dropped, cmd.Collection) {
		return nil, refuse.WrongState("build_dropped", "%s was dropped before", cmd.Collection).At("collection").
			Do("there is nothing left to drop")
	}
	return []Event{BuildDropped{Projection: cmd.Projection, Study: cmd.Study, Collection: cmd.Collection, Reason: cmd.Reason}}, nil
}

// OfView is embedded by commands about one view.
type OfView struct {
	Projection string         `json:"projection" minLength:"1" maxLength:"50" doc:"The view"`
	Study      domain.StudyID `json:"study,omitempty" doc:"A study of the caller's, for those whose role belongs to one"`
}

// AboutView is a command about one view. The study is that of the caller, empty for administrators.
type AboutView interface {
	AboutView() (view string, study domain.StudyID)
}

// AboutView returns the view that the command is about, and the caller's study.
func (o OfView) AboutView() (view string, study domain.StudyID) { return o.Projection, o.Study }

// byView is the Key of Decider.
func byView(command any) (id string, ok bool) {
	c, ok := command.(AboutView)
	if !ok {
		return "", false
	}
	id, _ = c.AboutView()
	return id, true
}
