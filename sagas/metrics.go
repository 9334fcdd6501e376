package sagas

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"
)

// gauges tell, when they are asked, what waits for people, and which consumer groups have foreign members.
type gauges struct {
	drive                              *Drive
	stuck, parked, unreadable, foreign *prometheus.Desc
}

// gauges returns the metrics of the drive.
func (d *Drive) gauges() prometheus.Collector {
	byProcess := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{"process"}, nil)
	}
	return &gauges{drive: d,
		stuck: byProcess("casebook_process_stuck",
			"Instances of a process that wait beyond their time. Anything but 0 is an alarm."),
		parked: byProcess("casebook_process_parked_messages",
			"Events that a process could not handle, or that a timer leaves out, and about which somebody has to decide."),
		unreadable: byProcess("casebook_process_unreadable_events",
			"Events that a process of this program leaves out because only a newer program can read them."),
		foreign: prometheus.NewDesc("casebook_process_foreign_members",
			"Connections of a consumer group that are no processes of Casebook. Anything but 0 is an alarm.", []string{"group"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.stuck, g.parked, g.unreadable, g.foreign} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	now := g.drive.Waiting()
	g.drive.mu.Lock()
	foreign := maps.Clone(g.drive.foreign)
	g.drive.mu.Unlock()
	for _, p := range g.drive.Processes {
		for desc, counts := range map[*prometheus.Desc]map[string]int{g.stuck: now.Stuck, g.parked: now.Parked, g.unreadable: now.Unreadable} {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(counts[p.Name]), p.Name)
		}
		if !p.ByClock() {
			out <- prometheus.MustNewConstMetric(g.foreign, prometheus.GaugeValue, float64(foreign[p.Group()]), p.Group())
		}
	}
}
