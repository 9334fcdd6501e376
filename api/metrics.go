package api

import (
	"errors"
	"strconv"
	"sync"
	"time"

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

func newMetrics(r prometheus.Registerer, inFlight, streams gate) (*metrics, error) {
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
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "casebook_http_requests_in_flight", Help: "Requests that are being served.",
	}, func() float64 { return float64(len(inFlight)) })
	listening := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "casebook_change_streams", Help: "Clients that listen to changes.",
	}, func() float64 { return float64(len(streams)) })
	return m, errors.Join(r.Register(m.requests), r.Register(m.commands), r.Register(m.refusals), r.Register(gauge), r.Register(listening))
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
