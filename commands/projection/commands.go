package projection

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain/projection"
)

// Commands returns the commands on the views that are built from the log, whose names it is given. Views hold all
// studies, so the commands are open to those who keep the system, also from the command line, and to a study's data
// managers, who name their study.
func Commands(views projection.Views) []commands.Command {
	return []commands.Command{
		commands.HandleKnowing(projection.Decider, theViews[projection.RebuildProjection](views), projection.Rebuild).
			In(viewOf).
			AllowedTo(access.DataManagers, access.Admins, access.Processes),
		commands.HandleKnowing(projection.Decider, theViews[projection.CancelRebuild](views), projection.Cancel).
			In(viewOf).
			AllowedTo(access.DataManagers, access.Admins, access.Processes),
		// Whoever skips an event names its study, where it has one: nobody decides about another study's data.
		commands.HandleKnowing(projection.Decider, eventToSkip(views), projection.Skip).
			In(viewOf).
			AllowedTo(access.DataManagers, access.Admins, access.Processes),
		commands.HandleKnowing(projection.Decider, theViews[projection.RetryProjection](views), projection.Retry).
			In(viewOf).
			AllowedTo(access.DataManagers, access.Admins, access.Processes),
		commands.HandleKnowing(projection.Decider, theViews[projection.DropProjectionBuild](views), projection.Drop).
			In(viewOf).
			AllowedTo(access.DataManagers, access.Admins, access.Processes),
	}
}

// theViews are the facts of a decision that has to know which views there are.
func theViews[C any](views projection.Views) func(context.Context, commands.Look, C) (projection.Views, error) {
	return func(context.Context, commands.Look, C) (projection.Views, error) { return views, nil }
}

// viewOf is the scope of a command on a view: the study that the caller names, or the system.
func viewOf[C projection.AboutView](_ context.Context, _ commands.Look, c C) (access.Scope, error) {
	_, study := c.AboutView()
	if study == "" {
		return access.Scope{}, nil
	}
	return access.Scope{Study: study}, study.Validate()
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
