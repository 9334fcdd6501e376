package commands

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"casebook/domain"
	"casebook/domain/user"
	"casebook/eventlog"
)

// administrators remembers who has ever been given the role admin, as far as the log has been read.
type administrators struct {
	mu      sync.Mutex
	past    eventlog.Past
	through domain.Position
	last    domain.Mark
	ever    []string
}

// read reads the grants that were recorded since the last time, and returns the ids of all who ever held the role admin.
func (a *administrators) read(ctx context.Context, log *eventlog.Log) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if past := log.Past(); a.past != past {
		a.past, a.through, a.last, a.ever = past, domain.Position{}, domain.Mark{}, nil
	}
	granted := eventlog.Subscription{After: a.through, Last: a.last, Types: []string{"RoleGranted"}, KeepUnreadable: true}
	err := log.FollowToEnd(ctx, granted, func(_ context.Context, b eventlog.Batch) error {
		for _, r := range b.Events {
			e, ok := r.Event.(user.RoleGranted)
			if ok && e.Grant.Role == user.Admin && !slices.Contains(a.ever, r.StreamID()) {
				a.ever = append(a.ever, r.StreamID())
			}
		}
		a.through, a.last = b.Through, b.Last
		return nil
	})
	return slices.Clone(a.ever), err
}

// Administrators returns what the log holds of administrators now.
func (h *Handler) Administrators(ctx context.Context) (user.Administrators, error) {
	ever, err := h.administrators.read(ctx, h.log)
	if err != nil {
		return user.Administrators{}, fmt.Errorf("read who has held the role admin: %w", err)
	}
	all := user.Administrators{None: len(ever) == 0}
	for _, id := range ever {
		snap, err := readSnapshot(ctx, h.Reader(), user.Decider, id, func() bool { return true })
		if err != nil {
			return user.Administrators{}, fmt.Errorf("load user %s: %w", id, err)
		}
		u := snap.state.(user.User)
		if snap.damage != nil {
			u = restricted(u, snap.claimed.(user.User))
		}
		if u.CanAdminister() {
			all.Usable = append(all.Usable, u.ID)
		}
	}
	return all, nil
}
