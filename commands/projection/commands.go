package projection

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/projection"
	"casebook/eventlog"
)

// Commands returns the commands on the views that are built from the log, whose names it is given. Views hold all
// studies, so the commands are open to those who keep the system, also from the command line, and to a study's data
// managers, who name their study.
func Commands(views projection.Views) []commands.Command {
	return []commands.Command{
		commands.HandleKnowing(projection.Decider, theViews[projection.RebuildProjection](views), projection.Rebuild).
			On(func(c projection.RebuildProjection) string { return c.Projection }).
			In(viewFor(func(c projection.RebuildProjection) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers, access.Admins, access.Processes).
			About(func(c projection.RebuildProjection, m *eventlog.Metadata) { m.Reason = c.Reason }),
		commands.HandleKnowing(projection.Decider, theViews[projection.CancelRebuild](views), projection.Cancel).
			On(func(c projection.CancelRebuild) string { return c.Projection }).
			In(viewFor(func(c projection.CancelRebuild) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers, access.Admins, access.Processes).
			About(func(c projection.CancelRebuild, m *eventlog.Metadata) { m.Reason = c.Reason }),
		// Whoever skips an event names its study, where it has one: nobody decides about another study's data.
		commands.HandleKnowing(projection.Decider, eventToSkip(views), projection.Skip).
			On(func(c projection.SkipProjectionEvent) string { return c.Projection }).
			In(viewFor(func(c projection.SkipProjectionEvent) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers, access.Admins, access.Processes).
			About(func(c projection.SkipProjectionEvent, m *eventlog.Metadata) { m.Reason = c.Reason }),
		commands.HandleKnowing(projection.Decider, theViews[projection.RetryProjection](views), projection.Retry).
			On(func(c projection.RetryProjection) string { return c.Projection }).
			In(viewFor(func(c projection.RetryProjection) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers, access.Admins, access.Processes).
			About(func(c projection.RetryProjection, m *eventlog.Metadata) { m.Reason = c.Reason }),
		commands.HandleKnowing(projection.Decider, theViews[projection.DropProjectionBuild](views), projection.Drop).
			On(func(c projection.DropProjectionBuild) string { return c.Projection }).
			In(viewFor(func(c projection.DropProjectionBuild) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers, access.Admins, access.Processes).
			About(func(c projection.DropProjectionBuild, m *eventlog.Metadata) { m.Reason = c.Reason }),
	}
}

// theViews are the facts of a decision that has to know which views there are.
func theViews[C any](views projection.Views) func(context.Context, commands.Look, C) (projection.Views, error) {
	return func(context.Context, commands.Look, C) (projection.Views, error) { return views, nil }
}

// viewFor is the scope of a command on a view: the study that the caller names, or the system.
func viewFor[C any](of func(C) domain.StudyID) func(context.Context, commands.Look, C) (domain.Scope, error) {
	return func(_ context.Context, _ commands.Look, c C) (domain.Scope, error) {
		if of(c) == "" {
			return domain.Scope{}, nil
		}
		return domain.Scope{Study: of(c)}, of(c).Validate()
	}
}

// eventToSkip looks the event up in the log.
func eventToSkip(views projection.Views) func(context.Context, commands.Look, projection.SkipProjectionEvent) (projection.SkippedEvent, error) {
	return func(ctx context.Context, look commands.Look, c projection.SkipProjectionEvent) (projection.SkippedEvent, error) {
		if c.Stream == "" {
			return projection.SkippedEvent{Views: views}, nil
		}
		meta, exists, err := look.MetadataOf(ctx, c.Stream, c.Revision)
		return projection.SkippedEvent{Views: views, Exists: exists, Study: meta.Study}, err
	}
}
