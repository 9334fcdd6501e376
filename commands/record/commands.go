// Package record declares the commands of the context record: which decision, which facts, which roles.
package record

import (
	"context"
	"strings"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/record"
)

// Commands are those by which two administrators resolve the damage of a stream.
var Commands = []commands.Command{
	commands.HandleWithFacts(record.Decider, damage[record.ResolveDamage], record.Propose).
		Scoped(ofTheSystem[record.ResolveDamage]).
		AllowedTo(access.Admins).
		Reauthenticated().
		Described("Propose that the damaged events of a stream are disregarded, so that it can go on; asks for a fresh sign-in",
			record.ResolveDamage{OfStream: record.OfStream{Stream: "randomisation-PAIN1", Revision: 57},
				Reasoned: domain.Because("The event was put there with the store's credentials, which are replaced; nobody was drawn by it")}),
	commands.HandleWithFacts(record.Decider, damage[record.ConfirmDamageResolution], record.Confirm).
		Scoped(ofTheSystem[record.ConfirmDamageResolution]).
		AllowedTo(access.Admins).
		Reauthenticated().
		PreparedWith(func(_ context.Context, h *commands.Handler, _ commands.Request, c *record.ConfirmDamageResolution) error {
			c.Proof = h.ProveResolution(c.Stream, c.Revision)
			return nil
		}).
		Described("Confirm, as a second administrator, that the damaged events of a stream are disregarded; asks for a fresh sign-in",
			record.ConfirmDamageResolution{OfStream: record.OfStream{Stream: "randomisation-PAIN1", Revision: 57}}),
}

// ofTheSystem is the scope of commands that belong to no study: a damaged stream may hold accounts.
func ofTheSystem[C any](context.Context, commands.Reader, C) (domain.Scope, error) {
	return domain.Scope{}, nil
}

// damage returns the facts of a decision about the damage of a stream.
func damage[C interface{ DamagedStream() string }](ctx context.Context, reader commands.Reader, c C) (record.Facts, error) {
	if stream := c.DamagedStream(); stream == "" || strings.HasPrefix(stream, "$") { // the event store's own
		return record.Facts{}, nil
	}
	found, study, err := reader.Damage(ctx, c.DamagedStream())
	return record.Facts{Damage: found, Study: study}, err
}
