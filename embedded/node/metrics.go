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

// metrics are the node's figures for Prometheus, in a registry of the node's own.
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
	m.registry.MustRegister(m.calls, nodeCollector{n}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) observe(method string, began time.Time, err error) {
	code := status.Code(err)
	if code == codes.Unknown {
		code = status.FromContextError(err).Code() // clients that go away are nothing unknown
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

// figure is one of the node's Stats under the name that it is scraped by.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*Stats) float64
}

func newFigure(kind prometheus.ValueType, name, help string, of func(*Stats) float64) figure {
	return figure{prometheus.NewDesc("eventstore_"+name, help, nil, nil), kind, of}
}

var figures = []figure{
	newFigure(prometheus.CounterValue, "events_total", "Events of the log since its creation.", func(s *Stats) float64 { return float64(s.Events) }),
	newFigure(prometheus.GaugeValue, "end_position", "Position behind the last event.", func(s *Stats) float64 { return float64(s.End) }),
	newFigure(prometheus.CounterValue, "appends_total", "Appends that succeeded.", func(s *Stats) float64 { return float64(s.Appends) }),
	newFigure(prometheus.CounterValue, "appends_repeated_total", "Appends that had been stored before.", func(s *Stats) float64 { return float64(s.Repeated) }),
	newFigure(prometheus.CounterValue, "append_conflicts_total", "Appends refused for their expected revision.", func(s *Stats) float64 { return float64(s.Conflicts) }),
	newFigure(prometheus.CounterValue, "commits_total", "Synced batches.", func(s *Stats) float64 { return float64(s.Commits) }),
	newFigure(prometheus.CounterValue, "committed_events_total", "Events in synced batches.", func(s *Stats) float64 { return float64(s.CommittedEvents) }),
	newFigure(prometheus.GaugeValue, "queued_appends", "Appends that wait.", func(s *Stats) float64 { return float64(s.QueuedAppends) }),
	newFigure(prometheus.GaugeValue, "queued_bytes", "Bytes of appends that wait or are being written.", func(s *Stats) float64 { return float64(s.QueuedBytes) }),
	newFigure(prometheus.GaugeValue, "tail_bytes", "Bytes of the newest events in memory.", func(s *Stats) float64 { return float64(s.TailBytes) }),
	newFigure(prometheus.GaugeValue, "subscriptions", "Open subscriptions, consumers of groups included.", func(s *Stats) float64 { return float64(s.Subscriptions) }),
	newFigure(prometheus.GaugeValue, "append_streams", "Open BatchAppend calls.", func(s *Stats) float64 { return float64(s.BatchStreams) }),
	newFigure(prometheus.CounterValue, "sent_events_total", "Events delivered to readers, subscribers and consumers.", func(s *Stats) float64 { return float64(s.EventsSent) }),
	newFigure(prometheus.GaugeValue, "disk_bytes", "Size of the log's files.", func(s *Stats) float64 { return float64(s.DiskBytes) }),
	newFigure(prometheus.GaugeValue, "failed", "1 if the log takes no appends because a commit failed.", func(s *Stats) float64 {
		if s.Failure != nil {
			return 1
		}
		return 0
	}),
}

// nodeCollector reads Stats once per scrape.
type nodeCollector struct{ node *Node }

func (c nodeCollector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range figures {
		out <- f.desc
	}
}

func (c nodeCollector) Collect(out chan<- prometheus.Metric) {
	s := c.node.Stats()
	for _, f := range figures {
		out <- prometheus.MustNewConstMetric(f.desc, f.kind, f.of(&s))
	}
}
