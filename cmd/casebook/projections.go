package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/projection"
	"casebook/eventlog"
	"casebook/projections"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"
)

type projectionsCommand struct {
	List    projectionsListCommand    `cmd:"" help:"Show the builds of each view and their progress."`
	Rebuild projectionsRebuildCommand `cmd:"" help:"Make a new build of a view beside the active one, and make it the active one."`
	Cancel  projectionsCancelCommand  `cmd:"" help:"Cancel a rebuild."`
	Verify  projectionsVerifyCommand  `cmd:"" help:"Fold the log again, and compare the view document by document."`
	Diff    projectionsDiffCommand    `cmd:"" help:"Compare an old build of a view with what this version makes of the same log, for a release's validation file."`
	AsOf    projectionsAsOfCommand    `cmd:"" help:"Print a view as it was at a log position or a time."`
	Retry   projectionsRetryCommand   `cmd:"" help:"Let a view try again to show the events that it could not show."`
	Skip    projectionsSkipCommand    `cmd:"" help:"Let a view skip an event that it cannot show."`
	Drop    projectionsDropCommand    `cmd:"" help:"Drop an old build of a view."`
	Reset   projectionsResetCommand   `cmd:"" help:"Drop all views while no server runs. The next start builds them from the log."`
}

// viewStores select the stores that a tool works on.
type viewStores struct {
	Data          string `help:"Data directory, as for serve, whether the server runs or not." default:"casebook-data" type:"path"`
	Eventstore    string `help:"Address of a real event store, esdb://..., instead of the embedded one in --data." placeholder:"URL"`
	Mongo         string `help:"Address of a real MongoDB, mongodb://..., instead of the embedded one in --data." placeholder:"URL"`
	MongoDatabase string `help:"Database of the read models." default:"casebook"`
}

// views holds the connections of a tool to the log and to the read models. The log has no blinding keys.
type views struct {
	log   *eventlog.Log
	store *readmodels.Store
	// alone is true if no server runs on the stores, so that the tool has to run the projections itself.
	alone bool
}

// with connects to the log and to the read models, and closes them after act. ofLog says whether act appends to the log.
func (v viewStores) with(ctx context.Context, ofLog usage, act func(views) error) error {
	return v.stores().use(ctx, ofLog, writes, func(o opened) (err error) {
		log, err := toolLog(ctx, eventlog.Options{URL: o.eventStoreURL})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		return v.withStore(ctx, o.mongoURL, func(store *readmodels.Store) error {
			return act(views{log: log, store: store, alone: o.alone})
		})
	})
}

func (v viewStores) stores() toolStores {
	return toolStores{data: dataDir(v.Data), eventStore: v.Eventstore, mongo: v.Mongo}
}

// withStore connects to the read models, and closes them after act.
func (v viewStores) withStore(ctx context.Context, mongo string, act func(*readmodels.Store) error) (err error) {
	connecting, stop := context.WithTimeout(ctx, toolTimeout)
	defer stop()
	store, err := readmodels.Connect(connecting, mongo, v.MongoDatabase, contexts.Views())
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, store.Close(closing))
	}()
	return act(store)
}

// do sends a command as an operator.
func (v views) do(ctx context.Context, as access.Principal, command any) error {
	handler := commands.NewHandler(commands.Options{Log: v.log, Commands: contexts.Commands(), Build: buildID()})
	return sendAs(ctx, handler, as, command, "")
}

// decisions returns the decisions about a view.
func (v views) decisions(ctx context.Context, view string) (projection.State, error) {
	state := projection.Decider.Initial
	for at, err := range v.log.ReadSound(ctx, projection.Decider.Stream(view)) {
		if err != nil {
			return state, err
		}
		if decision, ok := at.Event.(projection.Event); ok {
			state = projection.Decider.Evolve(state, decision)
		}
	}
	return state, nil
}

type projectionsListCommand struct {
	viewStores
	JSON bool `help:"Print JSON, one line per build."`
}

// listedBuild is a build in the list.
type listedBuild struct {
	readmodels.Checkpoint
	Collection string    `json:"collection"`
	Role       string    `json:"role"`
	Begun      time.Time `json:"begun,omitzero"`
	// Bytes is what its documents and indexes take on the disk. Until is when another build took its place.
	Bytes int64     `json:"bytes"`
	Until time.Time `json:"until,omitzero"`
	// Keeper and NotKeptSince are those of the view.
	Keeper       *readmodels.Keeper `json:"keeper,omitempty"`
	NotKeptSince time.Time          `json:"notKeptSince,omitzero"`
}

// keptBy names the process that keeps the view, for people.
func (b listedBuild) keptBy() string {
	switch {
	case !b.NotKeptSince.IsZero():
		return "nobody since " + b.NotKeptSince.Format(time.RFC3339)
	case b.Keeper == nil:
		return "nobody"
	}
	return b.Keeper.Process
}

// Run prints all builds.
func (c projectionsListCommand) Run(ctx context.Context, s streams) error {
	ofLog := reads
	if c.Eventstore == "" && c.Mongo != "" {
		ofLog = unused // only the views were named
	}
	return c.stores().use(ctx, ofLog, reads, func(o opened) error {
		return c.withStore(ctx, o.mongoURL, func(store *readmodels.Store) (err error) {
			if ofLog == unused {
				return c.list(ctx, s, store, nil)
			}
			log, err := eventlog.Open(eventlog.Options{URL: o.eventStoreURL, Registry: contexts.Registry(), Timeout: toolTimeout})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, log.Close()) }()
			return c.list(ctx, s, store, log.FirstAfter)
		})
	})
}

func (c projectionsListCommand) list(ctx context.Context, s streams, store *readmodels.Store, after readmodels.FirstAfter) error {
	now, err := store.Status(ctx, after)
	if err != nil {
		return err
	}
	status := map[string]readmodels.BuildStatus{}
	for _, b := range now {
		status[b.Checkpoint.Collection] = b
	}
	var all []listedBuild
	for _, view := range contexts.Views() {
		builds, err := store.BuildsOf(ctx, view)
		if err != nil {
			return err
		}
		add := func(role string, b readmodels.Build) error {
			at, err := store.LoadBuildCheckpoint(ctx, view, b.Collection)
			if at.Version = b.Version; role == "kept" {
				at.State = "-"
			}
			listed := listedBuild{Checkpoint: at, Collection: b.Collection, Role: role, Begun: b.Begun, Until: b.Until}
			size, unknown := store.SizeOf(ctx, b.Collection)
			listed.Bytes, err = size, errors.Join(err, unknown)
			if is, known := status[b.Collection]; known {
				listed.State, listed.LagMillis, listed.Keeper, listed.NotKeptSince = is.State, is.Lag.Milliseconds(), is.Keeper, is.NotKeptSince
			}
			all = append(all, listed)
			return err
		}
		errs := []error{add("live", builds.Active)}
		if builds.Building != nil {
			errs = append(errs, add("building", *builds.Building))
		}
		for _, b := range builds.Kept {
			errs = append(errs, add("kept", b))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	if c.JSON {
		return printLines(s, all)
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VIEW\tVERSION\tBUILD\tCOLLECTION\tSTATE\tPOSITION\tEVENTS\tSIZE\tLAG\tUPDATED\tKEPT BY")
	for _, b := range all {
		lag, keptBy := time.Duration(b.LagMillis)*time.Millisecond, "-"
		if b.Role != "kept" {
			keptBy = b.keptBy()
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", b.View, b.Version, b.Role, b.Collection, b.State,
			b.Position.Commit, b.Events, inUnits(b.Bytes), lag, b.At.Format(time.RFC3339), keptBy)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, b := range all {
		switch b.State {
		case readmodels.Stopped:
			fmt.Fprintf(s.out, "\n%s has stopped: %s\n", b.Collection, b.Reason)
		case readmodels.OtherPast:
			fmt.Fprintf(s.out, "\n%s was made from another log, and is not shown: %s\n", b.Collection, b.Reason)
			fmt.Fprintf(s.out, "Put the right log back, or rebuild the view from this one: casebook projections rebuild %s\n", b.View)
		case readmodels.CatchingUp, readmodels.Live, readmodels.NotKept:
		}
		for _, left := range b.LeftOut {
			fmt.Fprintf(s.out, "\n%s leaves out %s from its event %d on: %s\n", b.Collection, left.Stream, left.Revision, left.Reason)
		}
	}
	return warnDamaged(ctx, s.out, store)
}

// inUnits returns a number of bytes for people.
func inUnits(bytes int64) string {
	const kib, mib = 1 << 10, 1 << 20
	if bytes < mib {
		return fmt.Sprintf("%d KiB", (bytes+kib-1)/kib)
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/mib)
}

// warnDamaged names the damaged streams, of which views leave events out.
func warnDamaged(ctx context.Context, out io.Writer, store *readmodels.Store) error {
	verified, err := store.LoadVerified(ctx)
	if err != nil {
		return err
	}
	for _, d := range verified.Damages {
		fmt.Fprintf(out, "\n%s is damaged from its event %d on, position %d: %s\n", d.Stream, d.Revision, d.Position.Commit, d.Reason)
		if r := d.Resolution; r != nil {
			fmt.Fprintf(out, "It was resolved on %s by %s and %s, and the stream goes on: %s\n", r.At.UTC().Format(time.RFC3339), r.ProposedBy,
				r.ConfirmedBy, r.Reason)
		}
	}
	if len(verified.Unresolved()) > 0 {
		fmt.Fprintln(out, "No view shows what these streams hold from there on. casebook audit verify checks the whole record.")
	}
	return nil
}

// printLines prints each item as a line of JSON.
func printLines[T any](s streams, all []T) error {
	for _, item := range all {
		line, err := json.Marshal(item)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(s.out, string(line)); err != nil {
			return err
		}
	}
	return nil
}

type projectionsRebuildCommand struct {
	viewStores
	operatorFlags
	Name            string `arg:"" help:"The view."`
	Reason          string `help:"Why it is rebuilt; recorded in the audit trail." default:"asked for on the command line"`
	EventsPerSecond int    `help:"Maximum number of events per second, to spare the machine; no limit by default."`
	NoWait          bool   `help:"Do not wait until it is done; the server continues with it."`
}

const (
	// watchEvery is how often the progress of a build is read. After hintAfter without progress, the tool prints a hint.
	watchEvery = 200 * time.Millisecond
	hintAfter  = 15 * time.Second
)

// Run requests the rebuild, and shows its progress until the new build is active. The rebuild continues when Run is
// interrupted.
func (c projectionsRebuildCommand) Run(ctx context.Context, s streams) error {
	p, err := projections.Named(contexts.Projections(), c.Name)
	if err != nil {
		return err
	}
	return c.with(ctx, writes, func(v views) error {
		rebuild := projection.RebuildProjection{
			OfView: projection.OfView{Projection: c.Name}, Reasoned: domain.Because(c.Reason), EventsPerSecond: c.EventsPerSecond,
		}
		if err := v.do(ctx, c.operator(), rebuild); err != nil {
			return err
		}
		decisions, err := v.decisions(ctx, c.Name)
		if err != nil {
			return err
		}
		defer func() {
			if ctx.Err() != nil {
				fmt.Fprintln(s.err, "interrupted; a server with the role projections continues the rebuild")
			}
		}()
		watch := func(ctx context.Context) error { return v.watch(ctx, s, p.View, decisions.Requests) }
		if v.alone {
			engine := projections.NewEngine(projections.Options{
				Log: v.log, Store: v.store, Logger: logFlags{}.logger(s.err), Projections: []projections.Projection{p},
			})
			return whileRunning(ctx, engine.Run, watch)
		}
		if c.NoWait {
			_, err := fmt.Fprintln(s.out, "requested; casebook projections list shows its progress")
			return err
		}
		return watch(ctx)
	})
}

// whileRunning runs an engine for as long as a tool works, and returns the tool's error. If the engine fails, it ends
// the tool and returns the engine's error.
func whileRunning(ctx context.Context, engine, tool func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return engine(ctx) })
	group.Go(func() error {
		defer stop()
		return tool(ctx)
	})
	return group.Wait()
}

// watch shows the progress of a rebuild until it is done or cancelled.
func (v views) watch(ctx context.Context, s streams, view readmodels.View, request int) error {
	bar := newProgressBar(s.err, view.Name)
	defer bar.end()
	moved, began := time.Now(), time.Now()
	var last readmodels.Checkpoint
	hinted := false
	for {
		builds, err := v.store.BuildsOf(ctx, view)
		if err != nil {
			return err
		}
		decisions, err := v.decisions(ctx, view.Name)
		switch {
		case err != nil:
			return err
		case builds.Request < request && decisions.Cancelled >= request:
			return fmt.Errorf("the rebuild of %s was cancelled", view.Name)
		}
		// The first build of a view is active while it is made, and does what was asked before it began.
		active, err := v.store.LoadBuildCheckpoint(ctx, view, builds.Active.Collection)
		if err != nil {
			return err
		}
		// A build that was made from another log has done what that one held, not what is asked now.
		made, done := builds.Building, builds.Request >= request && active.Lost == nil
		if done {
			made = &builds.Active
		}
		if made != nil {
			at, err := v.store.LoadBuildCheckpoint(ctx, view, made.Collection)
			if err != nil {
				return err
			}
			if done && at.HasCaughtUp() {
				bar.end()
				_, err = fmt.Fprintf(s.out, "the active build of %s is now %s: %d events in %s\n",
					view.Name, made.Collection, at.Events, time.Since(began).Round(time.Millisecond))
				return err
			}
			if at.State == readmodels.Stopped && done {
				return fmt.Errorf("%s; retry or skip the event", at.Reason)
			}
			if at.State == readmodels.Stopped {
				return fmt.Errorf("%s; the old build stays active. Retry or skip the event, or cancel the rebuild", at.Reason)
			}
			bar.show(at)
			if at.At != last.At {
				last, moved = at, time.Now()
			}
		}
		if time.Since(moved) > hintAfter && !hinted {
			hinted = true
			fmt.Fprintln(s.err, "the rebuild makes no progress; is a server with the role projections running?")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(watchEvery):
		}
	}
}

// aboutView are the flags of a decision about a view.
type aboutView struct {
	viewStores
	operatorFlags
	Name   string `arg:"" help:"The view."`
	Reason string `help:"Why; recorded in the audit trail." required:""`
}

// send sends the command that command returns, and prints done.
func (a aboutView) send(ctx context.Context, s streams, command func(views, readmodels.Builds) (any, error), done string) error {
	p, err := projections.Named(contexts.Projections(), a.Name)
	if err != nil {
		return err
	}
	return a.with(ctx, writes, func(v views) error {
		builds, err := v.store.BuildsOf(ctx, p.View)
		if err != nil {
			return err
		}
		c, err := command(v, builds)
		if err != nil {
			return err
		}
		if err := v.do(ctx, a.operator(), c); err != nil {
			return err
		}
		_, err = fmt.Fprintln(s.out, done)
		return err
	})
}

// Decisions about a view that can have no effect are not recorded.
var (
	// errNoRebuild means that no rebuild of the view is waiting or under way.
	errNoRebuild = errors.New("no rebuild is waiting or under way, so there is nothing to cancel")
	// errShowsAll means that there is no event that a build of the view cannot show.
	errShowsAll = errors.New("there is no event that the view cannot show")
	// errActiveBuild means that the build answers queries.
	errActiveBuild = errors.New("the build is the active one, which answers queries, and is never dropped; rebuild the view first")
	// errBuilding means that the build is being made.
	errBuilding = errors.New("the build is being made; cancel the rebuild instead")
	// errNoBuild means that the view has no such build.
	errNoBuild = errors.New("the view has no such build; casebook projections list shows its builds")
)

type projectionsCancelCommand struct{ aboutView }

// Run cancels the rebuild.
func (c projectionsCancelCommand) Run(ctx context.Context, s streams) error {
	return c.send(ctx, s, func(v views, builds readmodels.Builds) (any, error) {
		decided, err := v.decisions(ctx, c.Name)
		if err != nil {
			return nil, err
		}
		if wanted := decided.Wanted(); builds.Building == nil && wanted <= builds.Request {
			return nil, fmt.Errorf("%s: %w", c.Name, errNoRebuild)
		}
		return projection.CancelRebuild{OfView: projection.OfView{Projection: c.Name}, Reasoned: domain.Because(c.Reason)}, nil
	}, "cancelled")
}

type projectionsRetryCommand struct{ aboutView }

// Run lets the view try the event again.
func (c projectionsRetryCommand) Run(ctx context.Context, s streams) error {
	return c.send(ctx, s, func(v views, builds readmodels.Builds) (any, error) {
		if _, err := v.cannotShow(ctx, builds); err != nil {
			return nil, err
		}
		return projection.RetryProjection{OfView: projection.OfView{Projection: c.Name}, Reasoned: domain.Because(c.Reason)}, nil
	}, "requested; the view tries the event again")
}

type projectionsDropCommand struct {
	aboutView
	Collection string `arg:"" help:"Collection of the old build, as the list shows it."`
}

// Run drops the build.
func (c projectionsDropCommand) Run(ctx context.Context, s streams) error {
	return c.send(ctx, s, func(_ views, builds readmodels.Builds) (any, error) {
		is := func(b readmodels.Build) bool { return b.Collection == c.Collection }
		switch {
		case is(builds.Active):
			return nil, fmt.Errorf("%s: %w", c.Collection, errActiveBuild)
		case builds.Building != nil && is(*builds.Building):
			return nil, fmt.Errorf("%s: %w", c.Collection, errBuilding)
		case !slices.ContainsFunc(builds.Kept, is):
			return nil, fmt.Errorf("%s: %w", c.Collection, errNoBuild)
		}
		return projection.DropProjectionBuild{
			OfView: projection.OfView{Projection: c.Name}, Collection: c.Collection, Reasoned: domain.Because(c.Reason),
		}, nil
	}, "dropped, as soon as no query can use it")
}

type projectionsSkipCommand struct {
	aboutView
	Event string `help:"The event, if the view cannot show several." placeholder:"STREAM@REVISION"`
}

// Run lets the view skip an event at which its active build, or the build that is being made, has stopped, or from which on
// it leaves a stream out.
func (c projectionsSkipCommand) Run(ctx context.Context, s streams) error {
	return c.send(ctx, s, func(v views, builds readmodels.Builds) (any, error) {
		cannot, err := v.cannotShow(ctx, builds)
		if err != nil {
			return nil, err
		}
		switch {
		case c.Event != "":
			cannot = slices.DeleteFunc(cannot, func(e cannotShow) bool { return nameOf(e.at) != c.Event })
			if len(cannot) == 0 {
				return nil, fmt.Errorf("%s is not an event that %s cannot show", c.Event, c.Name)
			}
		case len(cannot) > 1:
			return nil, fmt.Errorf("%s cannot show %d events; name one of them with --event, such as %s", c.Name, len(cannot),
				nameOf(cannot[0].at))
		}
		at := cannot[0].at
		fmt.Fprintf(s.out, "skips %s of %s\n", at.Type, nameOf(at))
		return projection.SkipProjectionEvent{
			OfView: projection.OfView{Projection: c.Name}, Version: cannot[0].version,
			Stream: at.Stream, Revision: at.Revision, Reasoned: domain.Because(c.Reason),
		}, nil
	}, "skipped")
}

// nameOf names an event as people do on the command line.
func nameOf(at readmodels.FailedAt) string { return fmt.Sprintf("%s@%d", at.Stream, at.Revision) }

// cannotShow is an event that a build of a version of a view cannot show.
type cannotShow struct {
	version int
	at      readmodels.FailedAt
}

// cannotShow returns the events that the builds of a view cannot show: the active one, and the one that is being made. The
// error is errShowsAll if there are none.
func (v views) cannotShow(ctx context.Context, builds readmodels.Builds) (all []cannotShow, err error) {
	of := []readmodels.Build{builds.Active}
	if builds.Building != nil {
		of = append(of, *builds.Building)
	}
	for _, b := range of {
		at, err := v.store.LoadBuildCheckpoint(ctx, readmodels.View{Name: builds.View, Version: b.Version}, b.Collection)
		if err != nil {
			return nil, err
		}
		if at.State == readmodels.Stopped && at.FailedAt != nil {
			all = append(all, cannotShow{b.Version, *at.FailedAt})
		}
		for _, left := range at.LeftOut {
			if c := (cannotShow{b.Version, left.FailedAt}); !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: %w", builds.View, errShowsAll)
	}
	return all, nil
}

type projectionsVerifyCommand struct {
	viewStores
	Name string `arg:"" help:"The view."`
	Most int    `help:"Maximum number of differences that are described; all are counted." default:"1000"`
	JSON bool   `help:"Print JSON."`
}

var errDiffers = errors.New("the view differs from what the log says; rebuild it, and keep this report for the investigation")

// Run verifies the view. A difference is an error.
func (c projectionsVerifyCommand) Run(ctx context.Context, s streams) error {
	p, err := projections.Named(contexts.Projections(), c.Name)
	if err != nil {
		return err
	}
	return c.with(ctx, reads, func(v views) error {
		builds, err := v.store.BuildsOf(ctx, p.View)
		if err != nil {
			return err
		}
		if builds.Active.Version != p.View.Version {
			return fmt.Errorf("the active build of %s has version %d, and this program has version %d; casebook projections diff compares them",
				c.Name, builds.Active.Version, p.View.Version)
		}
		r, err := v.compare(ctx, s, p, builds.Active, c.Most)
		if err != nil {
			return err
		}
		if err := r.print(s.out, c.JSON); err != nil {
			return err
		}
		if err := warnDamaged(ctx, s.err, v.store); err != nil {
			return err
		}
		if !r.Same() {
			return errDiffers
		}
		return nil
	})
}

type projectionsDiffCommand struct {
	viewStores
	Name  string `arg:"" help:"The view."`
	Build string `help:"Collection of the old build; the newest of another version by default." placeholder:"COLLECTION"`
	Out   string `help:"File for the report; printed by default." type:"path" placeholder:"FILE"`
	Most  int    `help:"Maximum number of differences that are described; all are counted." default:"10000"`
	JSON  bool   `help:"Write JSON."`
}

// Run compares the two and writes the report. Differences are not an error.
func (c projectionsDiffCommand) Run(ctx context.Context, s streams) error {
	p, err := projections.Named(contexts.Projections(), c.Name)
	if err != nil {
		return err
	}
	return c.with(ctx, reads, func(v views) (err error) {
		builds, err := v.store.BuildsOf(ctx, p.View)
		if err != nil {
			return err
		}
		build, err := c.build(builds, p.View.Version)
		if err != nil {
			return err
		}
		r, err := v.compare(ctx, s, p, build, c.Most)
		if err != nil {
			return err
		}
		out := s.out
		if c.Out != "" {
			file, err := os.Create(c.Out)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, file.Close()) }()
			out = file
		}
		return r.print(out, c.JSON)
	})
}

// build returns the build to compare: the one of the flag, or the newest of another version.
func (c projectionsDiffCommand) build(builds readmodels.Builds, version int) (chosen readmodels.Build, err error) {
	for _, b := range append(builds.Kept, builds.Active) {
		if b.Collection == c.Build || c.Build == "" && b.Version != version {
			chosen = b
		}
	}
	if chosen.Collection == "" {
		return chosen, fmt.Errorf("%s has no such build; casebook projections list shows its builds", c.Name)
	}
	return chosen, nil
}

type projectionsAsOfCommand struct {
	viewStores
	Name     string           `arg:"" help:"The view."`
	Position uint64           `help:"Log position, as in an answer or in casebook projections list." xor:"moment" required:""`
	Time     time.Time        `help:"Time, such as 2026-03-01T12:00:00Z." xor:"moment" required:""`
	Study    domain.StudyID   `help:"Only documents of this study."`
	Patient  domain.PatientID `help:"Only documents of this patient."`
}

// Run prints the documents as extended JSON, one line per document, in the order of their keys.
func (c projectionsAsOfCommand) Run(ctx context.Context, s streams) error {
	p, err := projections.Named(contexts.Projections(), c.Name)
	if err != nil {
		return err
	}
	until := projections.Until{Position: domain.Position{Commit: c.Position, Prepare: c.Position}, Time: c.Time}
	return c.with(ctx, reads, func(v views) error {
		bar := newProgressBar(s.err, c.Name)
		through, err := projections.AsOf(ctx, v.log, v.store, p, until, bar.show, func(d bson.Raw) error {
			bar.end()
			for field, want := range map[string]string{"study": string(c.Study), "patient": string(c.Patient)} {
				if is, _ := d.Lookup(field).StringValueOK(); want != "" && is != want {
					return nil
				}
			}
			_, err := fmt.Fprintln(s.out, d.String())
			return err
		})
		bar.end()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.err, "%s at log position %d\n", c.Name, through.Commit)
		return err
	})
}

type projectionsResetCommand struct {
	viewStores
}

// errViewsInUse means that a process builds the views.
var errViewsInUse = errors.New("a process builds the views now; stop all servers with the role projections first")

// Run drops the database of the views. Nothing is lost with it: all views are built from the log.
func (c projectionsResetCommand) Run(ctx context.Context, s streams) error {
	return c.stores().use(ctx, unused, writes, func(o opened) error {
		if c.Mongo == "" && !o.viewsAlone {
			return errViewsInUse
		}
		return c.withStore(ctx, o.mongoURL, func(store *readmodels.Store) error {
			if err := mustBeIdle(ctx, store); err != nil {
				return err
			}
			if err := store.DropAll(ctx); err != nil {
				return err
			}
			_, err := fmt.Fprintln(s.out, "all views are dropped; the next start of a server builds them from the log")
			return err
		})
	})
}

// mustBeIdle fails with errViewsInUse if a lease on a view is renewed, which its holder does every few seconds.
func mustBeIdle(ctx context.Context, store *readmodels.Store) error {
	leases := func() (all []readmodels.Lease, held bool, err error) {
		for _, view := range contexts.Views() {
			lease, err := store.LeaseOf(ctx, view.Name)
			if err != nil {
				return nil, false, err
			}
			all, held = append(all, lease), held || lease.Holder != ""
		}
		return all, held, nil
	}
	before, held, err := leases()
	if err != nil || !held {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(projections.RenewsWithin):
	}
	after, _, err := leases()
	if err == nil && !slices.Equal(before, after) {
		return errViewsInUse
	}
	return err
}
