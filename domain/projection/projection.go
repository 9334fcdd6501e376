// Package projection holds what people decide about the views that are built from the log: that one is built anew, that
// an event which it cannot show is tried again or skipped, that an old build is dropped. One stream for each view keeps it,
// so that whoever audits a view sees who has touched it and why. How far a view has come is no decision, and is not here.
package projection

import (
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
)

// Event is what can be decided about a view.
type Event interface{ projectionEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[RebuildRequested]("ProjectionRebuildRequested").InNoView("the list of projections shows what becomes of it"),
	domain.Stored[RebuildCancelled]("ProjectionRebuildCancelled").InNoView("the list of projections shows what becomes of it"),
	domain.Stored[EventSkipped]("ProjectionEventSkipped").InNoView("the audit trail shows it"),
	domain.Stored[Retried]("ProjectionRetried").InNoView("the audit trail shows it"),
	domain.Stored[BuildDropped]("ProjectionBuildDropped").InNoView("the list of projections shows what becomes of it"),
}

// RebuildRequested has the view built anew beside the one that is asked, and then put in its place.
type RebuildRequested struct {
	Projection string         `json:"projection"`
	Study      domain.StudyID `json:"study,omitempty"`
	Reason     string         `json:"reason"`
	// EventsPerSecond bounds the pace; 0 is as fast as it goes.
	EventsPerSecond int `json:"eventsPerSecond,omitempty"`
}

// RebuildCancelled gives up the rebuilds that were asked for until now.
type RebuildCancelled struct {
	Projection string         `json:"projection"`
	Study      domain.StudyID `json:"study,omitempty"`
	Reason     string         `json:"reason"`
}

// EventSkipped lets a version of the view's fold pass over an event, now and whenever it is built anew.
type EventSkipped struct {
	Projection string         `json:"projection"`
	Study      domain.StudyID `json:"study,omitempty"`
	Version    int            `json:"version"`
	// Stream and Revision say where the event is to be found.
	Stream   string `json:"stream"`
	Revision uint64 `json:"revision"`
	Reason   string `json:"reason"`
}

// Retried has a view that has stopped try its event again.
type Retried struct {
	Projection string         `json:"projection"`
	Study      domain.StudyID `json:"study,omitempty"`
	Reason     string         `json:"reason"`
}

// BuildDropped drops a build that is not asked any more.
type BuildDropped struct {
	Projection string         `json:"projection"`
	Study      domain.StudyID `json:"study,omitempty"`
	Collection string         `json:"collection"`
	Reason     string         `json:"reason"`
}

func (RebuildRequested) projectionEvent() {}
func (RebuildCancelled) projectionEvent() {}
func (EventSkipped) projectionEvent()     {}
func (Retried) projectionEvent()          {}
func (BuildDropped) projectionEvent()     {}

// EventPlace says where an event is to be found.
type EventPlace struct {
	Stream   string
	Revision uint64
}

// State is what has been decided about a view.
type State struct {
	// Requests counts the rebuilds that were asked for, Cancelled is the number of the last that was given up, and
	// EventsPerSecond the pace of the last.
	Requests, Cancelled, EventsPerSecond int
	// Skipped are the events that each version passes over.
	Skipped map[int][]EventPlace
	// Dropped are the builds that are not wanted any more.
	Dropped []string
	// Decisions counts all events, so that who acts on them notices a new one.
	Decisions int
}

// Wanted returns the number of the last rebuild that is asked for and was not given up; 0 is none.
func (s State) Wanted() int {
	if s.Requests > s.Cancelled {
		return s.Requests
	}
	return 0
}

// Skips says whether a version of the view's fold passes over an event.
func (s State) Skips(version int, stream string, revision uint64) bool {
	return slices.Contains(s.Skipped[version], EventPlace{stream, revision})
}

// Decider is how the stream of a view works; its id is the view's name.
var Decider = domain.Decider[State, Event]{Category: "projection", Key: byView, Events: events, Evolve: evolve}

// Streams are the kinds of streams of this context.
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
	case BuildDropped:
		s.Dropped = append(slices.Clone(s.Dropped), e.Collection)
	case Retried: // that it was decided is all
	}
	return s
}

// RebuildProjection asks for a view to be built anew.
type RebuildProjection struct {
	OfView
	domain.Reasoned `doc:"Why it is built anew"`
	EventsPerSecond int `json:"eventsPerSecond,omitempty" minimum:"0" maximum:"10000000" doc:"The most events a second; 0 or none is as fast as it goes"`
}

// CancelRebuild gives up a rebuild.
type CancelRebuild struct {
	OfView
	domain.Reasoned `doc:"Why it is given up"`
}

// SkipProjectionEvent lets a view pass over an event at which it has stopped. What the event says is then missing in the
// view, and stays in the log.
type SkipProjectionEvent struct {
	OfView          `doc:"The study that the event belongs to"`
	Version         int    `json:"version" minimum:"1" doc:"Version of the fold that cannot show it"`
	Stream          string `json:"stream" minLength:"1" maxLength:"300" doc:"Stream of the event"`
	Revision        uint64 `json:"revision" doc:"Its revision there"`
	domain.Reasoned `doc:"Why the view can do without it"`
}

// RetryProjection has a view that has stopped try its event again.
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

// Views are the names of all views that the program makes.
type Views []string

func (v Views) check(name, reason string) error {
	if !slices.Contains(v, name) {
		return refuse.NotFound("projection_not_found", "there is no view %q", name).At("projection").Do("the list of projections has their names")
	}
	return domain.Reason(reason)
}

// Rebuild has a view built anew. It refuses projection_not_found, reason_required, value_too_long and value_out_of_range.
func Rebuild(_ State, views Views, cmd RebuildProjection, _ domain.Call) ([]Event, error) {
	if err := views.check(cmd.Projection, cmd.Reason); err != nil {
		return nil, err
	}
	if cmd.EventsPerSecond < 0 {
		return nil, refuse.Malformed("value_out_of_range", "%d events a second", cmd.EventsPerSecond).At("eventsPerSecond").Do("use 0 for as fast as it goes")
	}
	return []Event{RebuildRequested{Projection: cmd.Projection, Study: cmd.Study, Reason: cmd.Reason, EventsPerSecond: cmd.EventsPerSecond}}, nil
}

// Cancel gives up what was asked for. It refuses projection_not_found, reason_required, value_too_long and no_rebuild.
func Cancel(s State, views Views, cmd CancelRebuild, _ domain.Call) ([]Event, error) {
	if err := views.check(cmd.Projection, cmd.Reason); err != nil {
		return nil, err
	}
	if s.Wanted() == 0 {
		return nil, refuse.WrongState("no_rebuild", "no rebuild of %s was asked for", cmd.Projection).At("projection").Do("there is nothing to give up")
	}
	return []Event{RebuildCancelled{Projection: cmd.Projection, Study: cmd.Study, Reason: cmd.Reason}}, nil
}

// SkippedEvent is what is known of the event that is to be skipped.
type SkippedEvent struct {
	Views
	Exists bool
	Study  domain.StudyID
}

// Skip lets a view pass over an event. It refuses projection_not_found, reason_required, value_too_long, event_not_found
// and event_skipped.
func Skip(s State, event SkippedEvent, cmd SkipProjectionEvent, _ domain.Call) ([]Event, error) {
	if err := event.Views.check(cmd.Projection, cmd.Reason); err != nil {
		return nil, err
	}
	if !event.Exists || cmd.Study != "" && event.Study != cmd.Study {
		return nil, refuse.NotFound("event_not_found", "there is no event %d in the stream %s of the study", cmd.Revision, cmd.Stream).At("stream").
			Do("the reason for which the view has stopped names the event")
	}
	if s.Skips(cmd.Version, cmd.Stream, cmd.Revision) {
		return nil, refuse.WrongState("event_skipped", "version %d of %s passes over %s@%d already", cmd.Version, cmd.Projection, cmd.Stream, cmd.Revision).
			At("revision").Do("see at which event the view stands now")
	}
	return []Event{EventSkipped{Projection: cmd.Projection, Study: cmd.Study, Version: cmd.Version, Stream: cmd.Stream, Revision: cmd.Revision, Reason: cmd.Reason}}, nil
}

// Retry has a stopped view try again. It refuses projection_not_found, reason_required and value_too_long.
func Retry(_ State, views Views, cmd RetryProjection, _ domain.Call) ([]Event, error) {
	if err := views.check(cmd.Projection, cmd.Reason); err != nil {
		return nil, err
	}
	return []Event{Retried{Projection: cmd.Projection, Study: cmd.Study, Reason: cmd.Reason}}, nil
}

// Drop drops an old build. The build that is asked is never dropped, whatever is recorded. It refuses
// projection_not_found, reason_required, value_too_long and build_dropped.
func Drop(s State, views Views, cmd DropProjectionBuild, _ domain.Call) ([]Event, error) {
	if err := views.check(cmd.Projection, cmd.Reason); err != nil {
		return nil, err
	}
	if slices.Contains(s.Dropped, cmd.Collection) {
		return nil, refuse.WrongState("build_dropped", "%s was dropped before", cmd.Collection).At("collection").Do("there is nothing left to drop")
	}
	return []Event{BuildDropped{Projection: cmd.Projection, Study: cmd.Study, Collection: cmd.Collection, Reason: cmd.Reason}}, nil
}

// OfView is embedded by commands about one view.
type OfView struct {
	Projection string         `json:"projection" minLength:"1" maxLength:"50" doc:"The view"`
	Study      domain.StudyID `json:"study,omitempty" doc:"A study of the caller's, for those whose role belongs to one"`
}

// AboutView is a command about one view. The study is the caller's, empty for those who keep the system.
type AboutView interface {
	AboutView() (view string, study domain.StudyID)
}

// AboutView returns the view that the command is about, and the study of whoever decides about it.
func (o OfView) AboutView() (view string, study domain.StudyID) { return o.Projection, o.Study }

// byView is the key of the streams of views.
func byView(command any) (id string, ok bool) {
	c, ok := command.(AboutView)
	if !ok {
		return "", false
	}
	id, _ = c.AboutView()
	return id, true
}
