package readmodels

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"casebook/domain"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// FirstAfter returns when the first event behind a log position was stored, and false if there is none yet.
type FirstAfter func(context.Context, domain.Position) (stored time.Time, is bool, err error)

// liveWithin is how far a live view may lag behind. One that lags further has to catch up.
const liveWithin = 5 * time.Second

// BuildStatus is what becomes of a build of a view, found out when it is asked: from its checkpoint, the lease on the view, and
// the end of the log. What the process noted that keeps the view grows old when nobody keeps it any more.
type BuildStatus struct {
	// Checkpoint is the last that was noted. Its State is that of now.
	Checkpoint
	// Active is false for a build that is made beside the active one.
	Active bool
	// Lag is how long ago the first event was stored that the build has not seen; 0 if it has seen all.
	Lag time.Duration
	// Kept says whether a process keeps the view. If none does, NotKeptSince is when one did last; zero if none ever has.
	Kept         bool
	NotKeptSince time.Time
	// Keeper is the process that holds the lease, or held it last; nil if no process has, or if the last one has left it.
	Keeper *Keeper
}

// Keeper is a process that keeps a view.
type Keeper struct {
	Process string    `json:"process" doc:"Name of the process"`
	Host    string    `json:"host" doc:"Its machine"`
	PID     int       `json:"pid" doc:"Its number on the machine"`
	Since   time.Time `json:"since,omitzero" doc:"Since when it keeps the view"`
	Renewed time.Time `json:"renewed,omitzero" doc:"When it last said so; it does every few seconds"`
}

// HolderName returns the name under which a process holds leases. The mark tells processes with the same number apart.
func HolderName(host string, pid int, mark string) string {
	return fmt.Sprintf("%s/%d/%s", host, pid, mark)
}

// HolderOf returns the machine and the number of the process that holds leases under a name.
func HolderOf(name string) (host string, pid int, ok bool) {
	host, rest, _ := strings.Cut(name, "/")
	number, _, _ := strings.Cut(rest, "/")
	pid, err := strconv.Atoi(number)
	return host, pid, err == nil
}

// keeper returns the process that holds the lease; nil if none does.
func (l Lease) keeper() *Keeper {
	if l.Holder == "" {
		return nil
	}
	k := &Keeper{Process: l.Holder, Since: l.Since.UTC(), Renewed: l.Renewed.UTC()}
	k.Host, k.PID, _ = HolderOf(l.Holder)
	return k
}

// Status returns what becomes of the builds of all views, in the order in which the views were given, the active build of each
// before the one that is made beside it. If firstAfter is nil, the end of the log is not known, and the builds lag as far behind
// as they were when they noted it.
func (s *Store) Status(ctx context.Context, firstAfter FirstAfter) ([]BuildStatus, error) {
	all, err := s.checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	leases, err := s.Leases(ctx)
	if err != nil {
		return nil, err
	}
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	lags := map[domain.Position]time.Duration{}
	for i := range all {
		b := &all[i]
		lease := leases[b.View]
		if b.Kept, b.Keeper = !lease.RunOut(now), lease.keeper(); !b.Kept {
			b.NotKeptSince = lease.Renewed.UTC()
		}
		if b.Lag = time.Duration(b.LagMillis) * time.Millisecond; firstAfter != nil {
			lag, known := lags[b.Position]
			if !known {
				if lag, err = lagAt(ctx, firstAfter, b.Position); err != nil {
					return nil, err
				}
				lags[b.Position] = lag
			}
			b.Lag = lag
		}
		switch {
		case b.State == Stopped, b.State == OtherPast:
		case !b.Kept:
			b.State = NotKept
		case b.Lag > liveWithin:
			b.State = CatchingUp
		}
	}
	return all, nil
}

// lagAt returns how long ago the first event behind a position was stored; 0 if there is none.
func lagAt(ctx context.Context, firstAfter FirstAfter, at domain.Position) (time.Duration, error) {
	stored, is, err := firstAfter(ctx, at)
	if err != nil || !is {
		return 0, err
	}
	return max(time.Since(stored), time.Millisecond), nil
}

// Checkpoints returns the checkpoints of all views, in the order in which the views were given, the active build of each
// before the one that is made beside it. Builds that have not begun are left out.
func (s *Store) Checkpoints(ctx context.Context) ([]Checkpoint, error) {
	builds, err := s.checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	all := []Checkpoint{}
	for _, b := range builds {
		if !b.At.IsZero() {
			all = append(all, b.Checkpoint)
		}
	}
	return all, nil
}

// checkpoints returns the checkpoints of all views' active builds, and of those that are made beside them.
func (s *Store) checkpoints(ctx context.Context) (all []BuildStatus, err error) {
	builds, checkpoints := map[string]Builds{}, map[string]Checkpoint{}
	if err := s.each(ctx, buildCollection, func(decode func(any) error) error {
		var b Builds
		err := decode(&b)
		builds[b.View] = b
		return err
	}); err != nil {
		return nil, err
	}
	if err := s.each(ctx, checkpointCollection, func(decode func(any) error) error {
		var c Checkpoint
		err := decode(&c)
		checkpoints[c.Collection] = c
		return err
	}); err != nil {
		return nil, err
	}
	of := func(v View, b Build) Checkpoint {
		c, begun := checkpoints[b.Collection]
		if !begun {
			c = Checkpoint{Collection: b.Collection, View: v.Name, Version: b.Version, State: CatchingUp}
		}
		return c
	}
	for _, v := range s.views {
		b, known := builds[v.Name]
		if !known {
			if b, err = firstBuilds(v, func(older View) (Checkpoint, error) { return checkpoints[older.Collection()], nil }); err != nil {
				return nil, err
			}
		}
		all = append(all, BuildStatus{Checkpoint: of(v, b.Active), Active: true})
		if b.Building != nil {
			all = append(all, BuildStatus{Checkpoint: of(v, *b.Building)})
		}
	}
	return all, nil
}

// each calls do with what decodes each document of a collection.
func (s *Store) each(ctx context.Context, collection string, do func(decode func(any) error) error) error {
	found, err := s.db.Collection(collection).Find(ctx, bson.D{})
	if err != nil {
		return fmt.Errorf("read %s: %w", collection, err)
	}
	defer func() { _ = found.Close(ctx) }()
	for found.Next(ctx) {
		if err := do(found.Decode); err != nil {
			return fmt.Errorf("read %s: %w", collection, err)
		}
	}
	return found.Err()
}
