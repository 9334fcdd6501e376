package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"casebook/domain"
	"casebook/readmodels"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// readinessTimeout bounds the answer about readiness. It is short, because health checks come every few seconds.
	readinessTimeout = 3 * time.Second
	// checkTimeout bounds the checks, so that there is time for the answer.
	checkTimeout = 2 * time.Second
)

// Health says that the process lives.
type Health struct {
	Status string `json:"status" enum:"ok" doc:"ok, or there would be no answer"`
	Build  string `json:"build,omitempty" doc:"The running program"`
}

// Readiness says whether commands can be taken, and which parts are at fault.
type Readiness struct {
	Ready  bool    `json:"ready" doc:"Whether every check passed that commands need, or they wait for the election of a leader"`
	Checks []Check `json:"checks" doc:"The single checks"`
	// DamagedStreams is an alarm, and no reason to send requests elsewhere: all other streams go on, and another server sees
	// the same log.
	DamagedStreams int `json:"damagedStreams" doc:"How many streams of the record are damaged; anything but 0 is an alarm"`
	// LeftOutStreams is an alarm likewise: views do not show all that these streams hold.
	LeftOutStreams int `json:"leftOutStreams" doc:"How many streams some view leaves out because of an event that it cannot show; anything but 0 is an alarm"`
	// Waiting is what waits for people in process managers, an alarm likewise. Only a process that runs them knows.
	Waiting *Waiting `json:"waiting,omitempty" doc:"What waits for people in process managers; only of a process with the role sagas"`
}

// Waiting counts what waits for people in process managers.
type Waiting struct {
	StuckProcesses   int `json:"stuckProcesses" doc:"How many processes wait beyond their time; anything but 0 is an alarm"`
	ParkedMessages   int `json:"parkedMessages" doc:"How many events a process could not handle, or leaves out, until somebody decides; anything but 0 is an alarm"`
	UnreadableEvents int `json:"unreadableEvents" doc:"How many events this program leaves out because only a newer program can read them"`
}

// Check is one check of readiness. It shows only its name and its result. The reason of a failure is in the program log.
type Check struct {
	Name   string           `json:"name" doc:"What is checked"`
	OK     bool             `json:"ok" doc:"Whether it passed"`
	Needed bool             `json:"needed,omitempty" doc:"Whether commands need it: requests are sent elsewhere if it does not pass"`
	State  readmodels.State `json:"state,omitempty" doc:"What a view is doing"`
}

// Part is a part of the process that the API does not need, such as a process manager. Readiness shows whether it works.
type Part struct {
	// Name is that of the check.
	Name string
	// Check returns why the part does not work; nil if it does.
	Check func(context.Context) error
}

func (a *API) getHealth(c *call) error {
	return c.answer(http.StatusOK, Health{Status: "ok", Build: a.build})
}

// getReadiness answers 200 when every check passes that commands need, and 503 otherwise, so that a load balancer sends requests
// elsewhere. It also answers 200 while the event store elects a leader, for which requests wait. What commands do not need is shown,
// and takes no requests away: another server would serve them no better.
func (a *API) getReadiness(c *call) error {
	answer, status := a.currentReadiness(c.ctx()), http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	return c.answer(status, answer)
}

// currentReadiness makes all checks. However many ask, the checks are made once at a time: nobody has to prove who asks.
func (a *API) currentReadiness(ctx context.Context) Readiness {
	asked, _, _ := a.asked.Do("", func() (any, error) { return a.readiness(context.WithoutCancel(ctx)), nil })
	return asked.(Readiness) //nolint:forcetypeassert // it is what was returned
}

// checked is a check and why it did not pass.
type checked struct {
	Check
	err error
}

// readiness makes all checks at the same time.
func (a *API) readiness(ctx context.Context) Readiness {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	// Without the store of the views there are no answers to queries, and commands are taken all the same.
	parts := append([]Part{{"event-log", a.ready}, {"commands", a.takesCommands}, {"views", a.engine.Store().Ping}}, a.parts...)
	const needed = 2
	all := make([]checked, len(parts))
	var views []readmodels.BuildStatus
	var unknown error // why nothing is known of the views
	var verified domain.Verified
	var wait sync.WaitGroup
	for i, p := range parts {
		all[i].Name, all[i].Needed = p.Name, i < needed
		if p.Check != nil {
			wait.Go(func() { all[i].err = p.Check(ctx) })
		}
	}
	wait.Go(func() { views, unknown = a.engine.Status(ctx) })
	wait.Go(func() { verified, _ = a.engine.Store().LoadVerified(ctx) }) // the check of the store says that it is away
	wait.Wait()
	all = append(all, a.checkViews(views, unknown)...)
	if a.ready == nil {
		all = all[1:]
	} else if away := all[0].err; away != nil {
		for i := range all[1:] {
			all[i+1].err = fmt.Errorf("it hears of nothing: %w", away)
		}
	}
	answer := Readiness{Ready: true, DamagedStreams: len(verified.Unresolved())}
	elects := a.elects()
	for i := range all {
		all[i].OK = all[i].err == nil
		answer.Ready = answer.Ready && (all[i].OK || !all[i].Needed || elects)
		answer.Checks = append(answer.Checks, all[i].Check)
	}
	left := map[string]bool{}
	for _, b := range views {
		for _, stream := range b.LeftOut {
			left[stream.Stream] = true
		}
	}
	answer.LeftOutStreams = len(left)
	if a.waiting != nil {
		waiting := a.waiting()
		answer.Waiting = &waiting
	}
	a.faults.note(ctx, a.logger, all)
	return answer
}

const (
	// electionTime is how long the event store may have no leader before requests are sent elsewhere. They wait for a leader
	// meanwhile, and other servers have none either.
	electionTime = 10 * time.Second
	// afterElection is how long it may take afterwards until everything follows the new leader.
	afterElection = 3 * time.Second
)

// elects says whether the event store elects a leader, or has just done so.
func (a *API) elects() bool {
	if a.leads == nil {
		return false
	}
	since, until := a.leads()
	if until.IsZero() {
		return time.Since(since) < electionTime
	}
	return until.Sub(since) < electionTime && time.Since(until) < afterElection
}

// checkViews returns a check for each view, and one for all of them. A view passes when it is kept and shows all that is recorded.
func (a *API) checkViews(builds []readmodels.BuildStatus, unknown error) []checked {
	together := checked{Check: Check{Name: "projections"}, err: unknown}
	var each []checked
	for _, v := range a.engine.Store().Views() {
		c := checked{Check: Check{Name: "view " + v.Name}, err: unknown}
		for _, b := range builds {
			if b.View != v.Name || !b.Active && b.State != readmodels.Stopped && b.State != readmodels.OtherPast {
				continue // a build that is made beside the active one may take its time
			}
			c.State = b.State
			if c.err = faultOf(b); c.err != nil && together.err == nil {
				together.err = fmt.Errorf("the view %s: %w", v.Name, c.err)
			}
		}
		each = append(each, c)
	}
	return append([]checked{together}, each...)
}

// faultOf returns why a build does not show what is recorded; nil if it does.
func faultOf(b readmodels.BuildStatus) error {
	switch b.State {
	case readmodels.Live:
		return nil
	case readmodels.Stopped:
		return fmt.Errorf("it has stopped: %s", b.Reason)
	case readmodels.OtherPast:
		return fmt.Errorf("it was made from another log, and waits until it is rebuilt, or until the right log is back: %s", b.Reason)
	case readmodels.NotKept:
		return errors.New("no process keeps it")
	case readmodels.CatchingUp:
		return fmt.Errorf("it lags %s behind the log", b.Lag.Round(time.Millisecond))
	}
	return fmt.Errorf("it is %s", b.State)
}

// faults are the checks that did not pass the last time. Their reasons are logged when that changes.
type faults struct {
	mu  sync.Mutex
	now map[string]bool
}

func (f *faults) note(ctx context.Context, logger *slog.Logger, all []checked) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now == nil {
		f.now = map[string]bool{}
	}
	for _, c := range all {
		switch before := f.now[c.Name]; {
		case c.err != nil && !before && c.Needed:
			logger.WarnContext(ctx, "not ready", "check", c.Name, "error", c.err)
		case c.err != nil && !before:
			logger.WarnContext(ctx, "a part is at fault, and requests are served", "check", c.Name, "error", c.err)
		case c.err == nil && before:
			logger.InfoContext(ctx, "well again", "check", c.Name)
		}
		f.now[c.Name] = c.err != nil
	}
}

// takesCommands says whether the log takes anything, and is followed now; it waits a moment for what is about to be followed.
func (a *API) takesCommands(ctx context.Context) error {
	if a.writable != nil {
		if err := a.writable(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return a.handler.Ready(ctx)
}

// adminRoutes serves what only operators may reach.
func (a *API) adminRoutes(gatherer prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	e := echo.New()
	e.HTTPErrorHandler = a.unrouted
	a.healthRoutes(e)
	mux.Handle("/", e)
	return mux
}

func (a *API) healthRoutes(e *echo.Echo) {
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		a.route(e, method, "/healthz", route{action: "Health"}, a.getHealth)
		a.route(e, method, "/readyz", route{action: "Ready", timeout: readinessTimeout}, a.getReadiness)
	}
}
