package api

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"casebook/admission"
	"casebook/readmodels"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the API's figures. Their labels are routes, command names and codes: bounded sets that the program itself
// fixes, never an id.
type metrics struct {
	requests *prometheus.HistogramVec
	commands *prometheus.CounterVec
	refusals *prometheus.CounterVec
	codes    boundedLabels
}

// maxCodes bounds how many codes are counted separately. The program has more than a hundred codes, and will get more.
const maxCodes = 400

func newMetrics(r prometheus.Registerer, a *API) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "casebook_http_request_duration_seconds", Help: "How long requests took, by route, method and class of status.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15},
		}, []string{"route", "method", "status"}),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "casebook_commands_total", Help: "Commands by name and outcome: accepted, or the code of the refusal or failure.",
		}, []string{"command", "outcome"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "casebook_http_problems_total", Help: "Refusals and failures by code.",
		}, []string{"code"}),
		codes: boundedLabels{known: map[string]struct{}{}, max: maxCodes},
	}
	errs := []error{r.Register(m.requests), r.Register(m.commands), r.Register(m.refusals)}
	gauge := func(name, help string, of func() float64) {
		errs = append(errs, r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, of)))
	}
	gauge("casebook_http_requests_in_flight", "Requests of all classes that are being served.", func() (n float64) {
		for _, c := range admission.Classes() {
			n += float64(a.admission.Stats(c).InFlight)
		}
		return n
	})
	gauge("casebook_change_streams", "Clients that listen to changes.", func() float64 { return float64(len(a.streams)) })
	gauge("casebook_sign_ins_in_flight", "Sign-ins that are under way or wait.", func() float64 { return float64(a.signing.taken()) })
	gauge("casebook_http_batches_in_flight", "Batches of commands that are under way.", func() float64 { return float64(a.batches.Total()) })
	for _, t := range []struct {
		name, what string
		of         *transfers
	}{{"bodies", "Bodies that clients are sending", a.bodies}, {"answers", "Large answers that clients are receiving", a.answers}} {
		gauge("casebook_http_"+t.name, t.what+".", func() float64 { count, _, _ := t.of.figures(); return float64(count) })
		gauge("casebook_http_"+t.name+"_bytes", t.what+": their bytes beyond 16 KiB each.",
			func() float64 { _, bytes, _ := t.of.figures(); return float64(bytes) })
		errs = append(errs, r.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "casebook_http_" + t.name + "_cut_total",
			Help: t.what + ", and that were ended to make room for others."}, func() float64 { _, _, cut := t.of.figures(); return float64(cut) })))
	}
	return m, errors.Join(errs...)
}

// checks tells at every scrape which checks of readiness fail.
type checks struct {
	of     *API
	failed *prometheus.Desc
}

func newChecks(a *API) checks {
	return checks{of: a, failed: prometheus.NewDesc("casebook_check_failed",
		"1 where a check of readiness does not pass. Requests are sent elsewhere if commands need it.", []string{"check", "needed"}, nil)}
}

// Describe implements prometheus.Collector.
func (c checks) Describe(to chan<- *prometheus.Desc) { to <- c.failed }

// Collect implements prometheus.Collector.
func (c checks) Collect(to chan<- prometheus.Metric) {
	for _, check := range c.of.currentReadiness(context.Background()).Checks {
		failed := 0.0
		if !check.OK {
			failed = 1
		}
		to <- prometheus.MustNewConstMetric(c.failed, prometheus.GaugeValue, failed, check.Name, strconv.FormatBool(check.Needed))
	}
}

// registerViews registers what is known of the views that the engine reads.
func registerViews(r prometheus.Registerer, store *readmodels.Store) error {
	var errs []error
	for _, v := range store.Views() {
		errs = append(errs, r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "casebook_view_not_kept",
			Help:        "1 where no process keeps the view, so that what it shows grows old. Anything but 0 is an alarm.",
			ConstLabels: prometheus.Labels{"view": v.Name}}, func() float64 {
			return float64(len(store.NotKept(context.Background(), v)))
		})), r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "casebook_view_other_past",
			Help:        "1 where a view was made from another log than the one that is there, and is not shown. Anything but 0 is an alarm.",
			ConstLabels: prometheus.Labels{"view": v.Name}}, func() float64 {
			return float64(len(store.Lost(context.Background(), v)))
		})))
	}
	return errors.Join(errs...)
}

func (m *metrics) served(route, method string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, method, strconv.Itoa(status/100)+"xx").Observe(took.Seconds())
}

// commanded counts a command by its outcome; code is empty where it was accepted.
func (m *metrics) commanded(command, code string) {
	if code == "" {
		code = "accepted"
	}
	m.commands.WithLabelValues(command, m.codes.bounded(code)).Inc()
}

func (m *metrics) refused(code string) { m.refusals.WithLabelValues(m.codes.bounded(code)).Inc() }

// boundedLabels lets the first so many values through, and calls all others "other".
type boundedLabels struct {
	mu    sync.RWMutex
	known map[string]struct{}
	max   int
}

func (b *boundedLabels) bounded(value string) string {
	b.mu.RLock()
	_, ok := b.known[value]
	b.mu.RUnlock()
	if ok {
		return value
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.known[value]; !ok && len(b.known) >= b.max {
		return "other"
	}
	b.known[value] = struct{}{}
	return value
}
