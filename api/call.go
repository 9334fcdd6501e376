package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"casebook/access"
	"casebook/admission"
	"casebook/domain/refuse"

	"github.com/labstack/echo/v4"
)

// call is one request on its way through the API. It is owned by the goroutine that serves it.
type call struct {
	echo.Context
	api *API
	// trace ties together the answer, the log lines and the recorded events of the request.
	trace string
	// pattern is the route as it is declared; unlike the path it holds no ids, so it may stand in logs and metrics.
	pattern string
	// action names what is asked for, in the security log.
	action string
	// proof and principal are empty until the caller has been proven.
	proof     access.Proof
	principal access.Principal
	// code is the outcome, for the log.
	code string

	// timeout bounds the work; it begins when the body is there. cancel frees its context.
	timeout time.Duration
	cancel  context.CancelFunc
	// place is the place among the served requests of a class, if it is placed.
	place  admission.Place
	placed bool
	class  admission.Class
	// incoming is the body, and outgoing the answer.
	incoming, outgoing transfer
	bodyRead           bool
	from               string
}

// route is what holds for all requests of a route.
type route struct {
	// action is the name in the security log, until a more exact one is known.
	action string
	// timeout bounds the request; none when 0.
	timeout time.Duration
	// gate bounds the requests of the route.
	gate gate
	// body says that the timeout begins when the body is there.
	body bool
}

// route adds a route. The pattern holds parameters in braces, as the description writes them.
//
// Where GET is taken, HEAD is too (RFC 9110, 9.1): it is served in the same way, and the server leaves the body out.
func (a *API) route(e *echo.Echo, method, pattern string, r route, serve func(*call) error) {
	methods := []string{method}
	if method == http.MethodGet {
		methods = append(methods, http.MethodHead)
	}
	e.Match(methods, routerPath.Replace(pattern), func(c echo.Context) error {
		a.serve(c, pattern, r, serve)
		return nil
	})
}

// routerPath writes a pattern in the router's notation.
var routerPath = strings.NewReplacer(":", `\:`, "{", ":", "}", "")

// unrouted answers what the router has no route for, in the way of all other answers.
func (a *API) unrouted(err error, c echo.Context) {
	answer := notFound()
	pattern := "(none)"
	var he *echo.HTTPError
	if errors.As(err, &he) && he.Code == http.StatusMethodNotAllowed {
		answer = refuse.Malformed("method_not_allowed", "this address does not take %s", knownMethod(c.Request().Method)).
			Do("the header Allow lists what it takes")
		pattern = "(method)"
	}
	a.serve(c, pattern, route{action: "Unrouted"}, func(*call) error { return answer })
}

func notFound() *refuse.Refusal {
	return refuse.NotFound("not_found", "there is nothing at this address").Do("/openapi.json lists what there is")
}

// strictTransport tells browsers to use nothing but HTTPS for a year (RFC 6797).
const strictTransport = "max-age=31536000"

// serve is the one path of every request: trace, bounds, time-out, the work itself, the problem if there is one, and the
// log line.
func (a *API) serve(c echo.Context, pattern string, r route, work func(*call) error) {
	started := time.Now()
	request := c.Request()
	cl := &call{Context: c, api: a, pattern: pattern, action: r.action, trace: traceOf(request.Header.Get("Traceparent"))}
	header := c.Response().Header()
	header.Set("Trace-Id", cl.trace)
	if c.IsTLS() {
		header.Set("Strict-Transport-Security", strictTransport)
	}
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")

	cl.timeout = r.timeout
	if !r.body {
		cl.startTimeout()
	}
	err := queryMustParse(request.URL.RawQuery)
	if err == nil {
		err = cl.bounded(r, work)
	}
	if err != nil {
		cl.answerProblem(err)
	}
	a.bodies.over(&cl.incoming)
	cl.finish(started)
	if cl.cancel != nil {
		cl.cancel() // after the answer: why the work ended is read from the context
	}
}

// queryMustParse refuses parameters of which one cannot be read: net/http drops it, and a list without its filter would be answered.
func queryMustParse(raw string) error {
	if _, err := url.ParseQuery(raw); err != nil {
		return refuse.Malformed("malformed_parameter", "the parameters behind the question mark cannot be read: %v", err).
			Do("write a percent sign as %25 and a semicolon as %3B")
	}
	return nil
}

// startTimeout bounds the time of the work, unless it is bounded already.
func (c *call) startTimeout() {
	if c.timeout <= 0 || c.cancel != nil {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx(), c.timeout)
	c.cancel = cancel
	c.SetRequest(c.Request().WithContext(ctx))
}

// enter takes a place among the served requests of a class. It is given back before the answer is sent.
func (c *call) enter(class admission.Class) (err error) {
	c.startTimeout()
	c.class = class
	c.place, err = c.api.admission.Enter(c.ctx(), class, c.who())
	c.placed = err == nil
	return err
}

// How many requests that are in no class wait for the end of a pause, of one user and in all.
const (
	pausingOfUser = 16
	pausingInAll  = 512
	// pausePoll is how often such a request tries again.
	pausePoll = 50 * time.Millisecond
	// pauseNoticed is how long it may take until it is known that the event store has no leader.
	pauseNoticed = 1500 * time.Millisecond
)

// inPause takes what a request needs that is in no class. While the event store has no leader, and until those that have waited
// for one are served, it tries again until the request's time is over: what others hold meanwhile is no load.
func (c *call) inPause(take func() error) error {
	err, a, began := take(), c.api, time.Now()
	if err == nil || a.leads == nil || !a.pausing.Take(c.who()) {
		return err
	}
	defer a.pausing.Give(c.who())
	for err != nil && c.ctx().Err() == nil && (time.Since(began) < pauseNoticed || a.admission.Pauses(admission.Commands)) {
		select {
		case <-c.ctx().Done():
		case <-time.After(pausePoll):
		}
		err = take()
	}
	return err
}

// leave gives the place back, if there is one.
func (c *call) leave() {
	if !c.placed {
		return
	}
	c.placed = false
	if errors.Is(c.ctx().Err(), context.Canceled) { // the client has gone; how long it took tells nothing
		c.place.GiveUp()
		return
	}
	c.place.Leave()
}

// aside runs a wait without a place, and then takes one again.
func (c *call) aside(wait func() error) error {
	if c.placed {
		c.placed = false
		c.place.GiveUp()
	}
	if err := wait(); err != nil {
		return err
	}
	return c.enter(c.class)
}

// who is for whom the request counts: the proven user, or the network.
func (c *call) who() string {
	if u := c.proof.User; u != "" {
		return string(u)
	}
	return "\x00" + c.network()
}

// network is where the request comes from.
func (c *call) network() string {
	if c.from == "" {
		c.from = access.NetworkOf(c.RealIP())
	}
	return c.from
}

// bounded does the work within the bounds of the route. A panic becomes an error here, so that what is held is given back
// and the answer is a problem.
func (c *call) bounded(r route, work func(*call) error) (err error) {
	if err := r.gate.enter(); err != nil {
		return err
	}
	defer r.gate.leave()
	defer c.leave()
	defer recovered(&err)
	return work(c)
}

// recovered turns a panic into an error with its stack.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}

func (c *call) ctx() context.Context { return c.Request().Context() }

// answerProblem tells the caller about a refusal or failure, and the log about a failure in full.
func (c *call) answerProblem(err error) {
	p := c.problem(err)
	c.code = p.Code
	if c.Response().Committed {
		c.api.logger.LogAttrs(c.ctx(), slog.LevelError, "an answer broke off", slog.String("route", c.pattern),
			slog.String("traceId", c.trace), slog.Any("error", err))
		return
	}
	c.skipBody()
	header := c.Response().Header()
	header.Del("Etag")
	if delayed, ok := errors.AsType[*access.DelayedError](err); ok {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(delayed.Wait.Seconds()))))
	}
	if err := p.write(c.Response()); err != nil {
		c.api.logger.LogAttrs(c.ctx(), slog.LevelDebug, "a problem could not be sent", slog.String("traceId", c.trace), slog.Any("error", err))
	}
	if p.Status == statusClientGone {
		c.Response().Status = statusClientGone
	}
}

// problem describes an error to this caller, counts it, and logs a failure.
func (c *call) problem(err error) Problem {
	p := problemOf(c.ctx(), err)
	p.Instance, p.TraceID = c.Request().URL.Path, c.trace
	c.api.metrics.refused(p.Code)
	if p.failed && p.Status != statusClientGone {
		c.api.logger.LogAttrs(c.ctx(), slog.LevelError, "a request failed", slog.String("route", c.pattern), slog.String("action", c.action),
			slog.String("user", string(c.principal.User)), slog.String("traceId", c.trace), slog.Any("error", err))
	}
	return p
}

// finish writes the access log and the metrics. Neither holds a path, a body or an address: those name patients.
func (c *call) finish(started time.Time) {
	took := time.Since(started)
	response := c.Response()
	method := knownMethod(c.Request().Method)
	c.api.metrics.served(c.pattern, method, response.Status, took)
	if !c.api.logger.Enabled(c.ctx(), slog.LevelInfo) {
		return
	}
	c.api.logger.LogAttrs(c.ctx(), slog.LevelInfo, "request",
		slog.String("method", method), slog.String("route", c.pattern), slog.String("action", c.action), slog.Int("status", response.Status),
		slog.String("code", c.code), slog.Float64("durationMs", float64(took.Microseconds())/1000), slog.Int64("bytes", response.Size),
		slog.String("user", string(c.principal.User)), slog.String("traceId", c.trace))
}

// knownMethod keeps invented methods out of logs and labels.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "OTHER"
}
