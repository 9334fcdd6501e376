package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// syncHistogram returns a histogram of the times from 100 us to 3 s that a disk takes.
func syncHistogram(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(1e-4, 2, 16)})
}

func observe(h prometheus.Histogram) func(time.Duration) {
	return func(took time.Duration) { h.Observe(took.Seconds()) }
}

// registerMetrics adds the figures of the embedded stores to the process's metrics.
func (s *stores) registerMetrics(r prometheus.Registerer) {
	counter := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
	}
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	if n := s.node; n != nil {
		r.MustRegister(s.nodeSyncs)
		counter("casebook_node_appends_total", "Appends that the embedded event store accepted.",
			func() float64 { return float64(n.Stats().Appends) })
		counter("casebook_node_events_total", "Events that it has made durable since it was opened.",
			func() float64 { return float64(n.Stats().CommittedEvents) })
		counter("casebook_node_commits_total", "Commits, each with one fsync, that made them durable.",
			func() float64 { return float64(n.Stats().Commits) })
		counter("casebook_node_conflicts_total", "Appends refused because their stream had another end than expected.",
			func() float64 { return float64(n.Stats().Conflicts) })
		gauge("casebook_node_queued_appends", "Appends that wait to be committed.",
			func() float64 { return float64(n.Stats().QueuedAppends) })
		gauge("casebook_node_subscriptions", "Catch-up subscriptions that are open.",
			func() float64 { return float64(n.Stats().Subscriptions) })
		gauge("casebook_node_last_position", "Log position of the last event.",
			func() float64 { return float64(n.Stats().LastPosition) })
		gauge("casebook_node_disk_bytes", "Bytes on disk.", func() float64 { return float64(n.Stats().DiskBytes) })
	}
	if m := s.mongo; m != nil {
		r.MustRegister(s.mongoSyncs)
		counter("casebook_mongo_commands_total", "Commands that the embedded MongoDB has answered.",
			func() float64 { return float64(m.Stats().Commands) })
		counter("casebook_mongo_failed_commands_total", "Commands that it answered with an error.",
			func() float64 { return float64(m.Stats().FailedCommands) })
		gauge("casebook_mongo_documents", "Documents in all collections.", func() float64 { return float64(m.Stats().Documents) })
		gauge("casebook_mongo_disk_bytes", "Bytes on disk.", func() float64 { return float64(m.Stats().DiskBytes) })
	}
}
