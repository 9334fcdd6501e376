// Package projection declares the commands of the context projection: which decision, which facts, which roles.
package projection

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/projection"
)

// Commands returns the commands on views; views are the names of all views of the program. A view holds all studies.
// Administrators may send these commands, also from the command line, and so may a study's data managers, who have to
// name their study.
func Commands(views projection.Views) []commands.Command {
	return []commands.Command{
		commands.HandleWithFacts(projection.Decider, viewNames[projection.RebuildProjection](views), projection.Rebuild).
			Scoped(scopeOfCaller).
			AllowedTo(access.DataManagers, access.Admins, access.Processes),
		commands.HandleWithFacts(projection.Decider, viewNames[projection.CancelRebuild](views), projection.Cancel).
			Scoped(scopeOfCaller).
			AllowedTo(access.DataManagers, access.Admins, access.Processes),
		// A data manager may skip events of the own study only, because nobody may decide about another study's data.
		commands.HandleWithFacts(projection.Decider, eventToSkip(views), projection.Skip).
			Scoped(scopeOfCaller).
			AllowedTo(access.DataManagers, access.Admins, access.Processes),
		commands.HandleWithFacts(projection.Decider, viewNames[projection.RetryProjection](views), projection.Retry).
			Scoped(scopeOfCaller).
			AllowedTo(access.DataManagers, access.Admins, access.Processes),
		commands.HandleWithFacts(projection.Decider, viewNames[projection.DropProjectionBuild](views), projection.Drop).
			Scoped(scopeOfCaller).
			AllowedTo(access.DataManagers, access.Admins, access.Processes),
	}
}

// viewNames returns the facts of decisions that need the names of all views.
func viewNames[C any](views projection.Views) func(context.Context, commands.Reader, C) (projection.Views, error) {
	return func(context.Context, commands.Reader, C) (projection.Views, error) { return views, nil }
}

// scopeOfCaller returns the study that the caller names as the scope, or an empty scope if the caller names none.
func scopeOfCaller[C projection.AboutView](_ context.Context, _ commands.Reader, c C) (domain.Scope, error) {
	_, study := c.AboutView()
	if study == "" {
		return domain.Scope{}, nil
	}
	return domain.Scope{Study: study}, study.Validate()
}

// eventToSkip returns the facts of SkipProjectionEvent: it looks the event up in the log.
func eventToSkip(views projection.Views) func(context.Context, commands.Reader, projection.SkipProjectionEvent) (
	projection.SkippedEvent, error) {
	return func(ctx context.Context, reader commands.Reader, c projection.SkipProjectionEvent) (projection.SkippedEvent, error) {
		if c.Stream == "" {
			return projection.SkippedEvent{Views: views}, nil
		}
		meta, exists, err := reader.MetadataOf(ctx, c.Stream, c.Revision)
		return projection.SkippedEvent{Views: views, Exists: exists, Study: meta.Study}, err
	}
}
