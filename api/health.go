package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"casebook/readmodels"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readinessTimeout bounds all checks together. It is short, because health checks come every few seconds.
const readinessTimeout = 3 * time.Second

// Health says that the process lives.
type Health struct {
	Status string `json:"status" enum:"ok" doc:"ok, or there would be no answer"`
	Build  string `json:"build,omitempty" doc:"The running program"`
}

// Readiness says whether requests can be served well.
type Readiness struct {
	Ready  bool    `json:"ready" doc:"Whether every check passed"`
	Checks []Check `json:"checks" doc:"The single checks"`
	// DamagedStreams is an alarm, and no reason to send requests elsewhere: all other streams go on, and another server sees
	// the same log.
	DamagedStreams int `json:"damagedStreams" doc:"How many streams of the record are damaged; anything but 0 is an alarm"`
	// LeftOutStreams is an alarm likewise: views do not show all that these streams hold.
	LeftOutStreams int `json:"leftOutStreams" doc:"How many streams some view leaves out because of an event that it cannot show; anything but 0 is an alarm"`
}

// Check is one check of readiness. It shows only its name and its result. The reason of a failure is in the program log.
type Check struct {
	Name string `json:"name" doc:"What is checked"`
	OK   bool   `json:"ok" doc:"Whether it passed"`
}

func (a *API) getHealth(c *call) error {
	return c.answer(http.StatusOK, Health{Status: "ok", Build: a.build})
}

// getReadiness answers 200 when every check passes and 503 otherwise, so that a load balancer sends requests elsewhere.
func (a *API) getReadiness(c *call) error {
	checkpoints := sync.OnceValues(func() ([]readmodels.Checkpoint, error) { return a.engine.Store().Checkpoints(c.ctx()) })
	checks := []struct {
		name string
		run  func(context.Context) error
	}{
		{"event-log", a.ready},
		{"states", a.statesFollowed},
		{"views", a.engine.Store().Ping},
		{"projections", func(context.Context) error {
			all, err := checkpoints()
			return cmp.Or(err, projectionsRun(all))
		}},
	}
	answer, status := Readiness{Ready: true}, http.StatusOK
	var away error // why the log is away
	for _, check := range checks {
		if check.run == nil {
			continue
		}
		err := away // without the log the others hear of nothing: what they know grows old
		if away == nil {
			err = check.run(c.ctx())
		}
		if check.name == "event-log" && err != nil {
			away = fmt.Errorf("it hears of nothing: %w", err)
		}
		answer.Checks = append(answer.Checks, Check{Name: check.name, OK: err == nil})
		if err != nil {
			answer.Ready, status = false, http.StatusServiceUnavailable
			a.logger.WarnContext(c.ctx(), "not ready", "check", check.name, "error", err, "traceId", c.trace)
		}
	}
	if verified, err := a.engine.Store().LoadVerified(c.ctx()); err == nil {
		answer.DamagedStreams = len(verified.Unresolved())
	}
	if all, err := checkpoints(); err == nil {
		left := map[string]bool{}
		for _, p := range all {
			for _, stream := range p.LeftOut {
				left[stream.Stream] = true
			}
		}
		answer.LeftOutStreams = len(left)
	}
	return c.answer(status, answer)
}

// statesFollowed asks only whether the log is followed now; it waits a moment for what is about to be.
func (a *API) statesFollowed(ctx context.Context) error {
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

// projectionsRun refuses readiness while a view has stopped: what it shows grows old without anybody noticing.
func projectionsRun(checkpoints []readmodels.Checkpoint) error {
	for _, p := range checkpoints {
		if p.State == readmodels.Stopped {
			return fmt.Errorf("the view %s has stopped", p.View)
		}
	}
	return nil
}
