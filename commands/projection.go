package commands

import (
	"context"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/projection"
	"casebook/eventlog"
)

// The commands on the views that are built from the log. Views hold all studies, so they are open to those who keep the
// system, also from the command line, and to a study's data managers, who name their study.
var (
	RebuildProjection = Handle(projection.Decider, projection.Rebuild).
				On(func(c projection.RebuildProjection) string { return c.Projection }).
				In(viewFor(func(c projection.RebuildProjection) domain.StudyID { return c.Study })).
				AllowedTo(access.DataManagers, access.Admins, access.Processes).
				About(func(c projection.RebuildProjection, m *eventlog.Metadata) { m.Reason = c.Reason })

	CancelRebuild = Handle(projection.Decider, projection.Cancel).
			On(func(c projection.CancelRebuild) string { return c.Projection }).
			In(viewFor(func(c projection.CancelRebuild) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers, access.Admins, access.Processes).
			About(func(c projection.CancelRebuild, m *eventlog.Metadata) { m.Reason = c.Reason })

	// SkipProjectionEvent asks for the study of the event, where it has one: nobody decides about another study's data.
	SkipProjectionEvent = HandleKnowing(projection.Decider, eventToSkip, projection.Skip).
				On(func(c projection.SkipProjectionEvent) string { return c.Projection }).
				In(viewFor(func(c projection.SkipProjectionEvent) domain.StudyID { return c.Study })).
				AllowedTo(access.DataManagers, access.Admins, access.Processes).
				About(func(c projection.SkipProjectionEvent, m *eventlog.Metadata) { m.Reason = c.Reason })

	RetryProjection = Handle(projection.Decider, projection.Retry).
			On(func(c projection.RetryProjection) string { return c.Projection }).
			In(viewFor(func(c projection.RetryProjection) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers, access.Admins, access.Processes).
			About(func(c projection.RetryProjection, m *eventlog.Metadata) { m.Reason = c.Reason })

	DropProjectionBuild = Handle(projection.Decider, projection.Drop).
				On(func(c projection.DropProjectionBuild) string { return c.Projection }).
				In(viewFor(func(c projection.DropProjectionBuild) domain.StudyID { return c.Study })).
				AllowedTo(access.DataManagers, access.Admins, access.Processes).
				About(func(c projection.DropProjectionBuild, m *eventlog.Metadata) { m.Reason = c.Reason })
)

// viewFor is the scope of a command on a view: the study that the caller names, or the system.
func viewFor[C any](of func(C) domain.StudyID) func(context.Context, Look, C) (access.Scope, error) {
	return func(_ context.Context, _ Look, c C) (access.Scope, error) {
		if of(c) == "" {
			return access.Scope{}, nil
		}
		return access.Scope{Study: of(c)}, of(c).Validate()
	}
}

// eventToSkip looks the event up in the log.
func eventToSkip(ctx context.Context, look Look, c projection.SkipProjectionEvent) (projection.SkippedEvent, error) {
	if c.Stream == "" {
		return projection.SkippedEvent{}, nil
	}
	meta, exists, err := look.states.log.MetadataOf(ctx, c.Stream, c.Revision)
	return projection.SkippedEvent{Exists: exists, Study: meta.Study}, err
}
