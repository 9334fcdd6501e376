package node

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// metrics holds the node's Prometheus metrics, in a registry of their own.
type metrics struct {
	registry *prometheus.Registry
	calls    *prometheus.HistogramVec
}

func newMetrics(n *Node) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "eventstore_grpc_call_seconds", Help: "Duration of calls, streams included, by method and status.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 4, 10),
		}, []string{"method", "code"}),
	}
	m.registry.MustRegister(m.calls, nodeCollector{n},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) observe(method string, began time.Time, err error) {
	code := status.Code(err)
	if code == codes.Unknown {
		code = status.FromContextError(err).Code() // a client that went away is Canceled, not Unknown
	}
	m.calls.WithLabelValues(strings.TrimPrefix(method, "/event_store.client."), code.String()).Observe(time.Since(began).Seconds())
}

func (m *metrics) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	began := time.Now()
	resp, err := next(ctx, req)
	m.observe(info.FullMethod, began, err)
	return resp, err
}

func (m *metrics) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	began := time.Now()
	err := next(srv, stream)
	m.observe(info.FullMethod, began, err)
	return err
}

// statMetric is one value of the node's Stats as a Prometheus metric.
type statMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*Stats) float64
}

// number are the types of the fields of Stats.
type number interface{ int | int64 | uint64 }

func counter[N number](name, help string, value func(*Stats) N) statMetric {
	return newStatMetric(prometheus.CounterValue, name, help, value)
}

func gauge[N number](name, help string, value func(*Stats) N) statMetric {
	return newStatMetric(prometheus.GaugeValue, name, help, value)
}

func newStatMetric[N number](kind prometheus.ValueType, name, help string, value func(*Stats) N) statMetric {
	return statMetric{
		desc: prometheus.NewDesc("eventstore_"+name, help, nil, nil), kind: kind,
		value: func(s *Stats) float64 { return float64(value(s)) },
	}
}

var statMetrics = []statMetric{
	counter("events_total", "Events of the log since its creation.", func(s *Stats) uint64 { return s.Events }),
	gauge("end_position", "Position behind the last event.", func(s *Stats) uint64 { return s.End }),
	counter("appends_total", "Appends that succeeded.", func(s *Stats) uint64 { return s.Appends }),
	counter("appends_repeated_total", "Appends that had been stored before.", func(s *Stats) uint64 { return s.Repeated }),
	counter("append_conflicts_total", "Appends refused for their expected revision.", func(s *Stats) uint64 { return s.Conflicts }),
	counter("commits_total", "Synced batches.", func(s *Stats) uint64 { return s.Commits }),
	counter("committed_events_total", "Events in synced batches.", func(s *Stats) uint64 { return s.CommittedEvents }),
	gauge("queued_appends", "Appends that wait.", func(s *Stats) int64 { return s.QueuedAppends }),
	gauge("queued_bytes", "Bytes of appends that wait or are being written.", func(s *Stats) int64 { return s.QueuedBytes }),
	gauge("tail_bytes", "Bytes of the newest events in memory.", func(s *Stats) int { return s.TailBytes }),
	gauge("subscriptions", "Open subscriptions, consumers of groups included.", func(s *Stats) int64 { return s.Subscriptions }),
	gauge("append_streams", "Open BatchAppend calls.", func(s *Stats) int64 { return s.BatchStreams }),
	counter("sent_events_total", "Events delivered to readers, subscribers and consumers.", func(s *Stats) uint64 { return s.EventsSent }),
	gauge("disk_bytes", "Size of the log's files.", func(s *Stats) uint64 { return s.DiskBytes }),
	gauge("failed", "1 if the log takes no appends because a commit failed.", func(s *Stats) int {
		if s.Failure != nil {
			return 1
		}
		return 0
	}),
}

// nodeCollector collects statMetrics; it reads Stats once per scrape.
type nodeCollector struct{ node *Node }

func (c nodeCollector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range statMetrics {
		out <- m.desc
	}
}

func (c nodeCollector) Collect(out chan<- prometheus.Metric) {
	s := c.node.Stats()
	for _, m := range statMetrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&s))
	}
}
