package projections

import (
	"time"

	"casebook/readmodels"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of all projections, by view.
type metrics struct {
	events   *prometheus.CounterVec
	batches  *prometheus.HistogramVec
	lag      *prometheus.HistogramVec
	position *prometheus.GaugeVec
	stopped  *prometheus.GaugeVec
	leftOut  *prometheus.GaugeVec
	readings prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "casebook_projection_events_total",
			Help: "Events folded into documents."}, []string{"view"}),
		batches: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "casebook_projection_batch_events",
			Help: "Events folded in a batch.", Buckets: prometheus.ExponentialBuckets(1, 4, 6)}, []string{"view"}),
		lag: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "casebook_projection_lag_seconds",
			Help: "Time from an event's recording until its view shows it.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 18)},
			[]string{"view"}),
		position: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "casebook_projection_position",
			Help: "Log position up to which a view has folded."}, []string{"view"}),
		stopped: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "casebook_projection_stopped",
			Help: "1 where a projection has stopped: at an event, or because the log is another one."}, []string{"view"}),
		leftOut: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "casebook_projection_left_out_streams",
			Help: "Streams that a view leaves out from an event on that it cannot show. Anything but 0 is an alarm."}, []string{"view"}),
		readings: prometheus.NewCounter(prometheus.CounterOpts{Name: "casebook_projection_shared_readings_total",
			Help: "How often the log was read for several views together that were far behind."}),
	}
	if r != nil {
		r.MustRegister(m.events, m.batches, m.lag, m.position, m.stopped, m.leftOut, m.readings)
	}
	return m
}

func (m *metrics) batch(view string, folded int, at readmodels.Checkpoint) {
	m.events.WithLabelValues(view).Add(float64(folded))
	m.position.WithLabelValues(view).Set(float64(at.Position.Commit))
	stopped := 0.0
	if at.State == readmodels.Stopped || at.State == readmodels.OtherPast {
		stopped = 1
	}
	m.stopped.WithLabelValues(view).Set(stopped)
	m.leftOut.WithLabelValues(view).Set(float64(len(at.LeftOut)))
	if folded > 0 {
		m.batches.WithLabelValues(view).Observe(float64(folded))
		m.lag.WithLabelValues(view).Observe((time.Duration(at.LagMillis) * time.Millisecond).Seconds())
	}
}
