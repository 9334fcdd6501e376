package loadtest

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Report holds the results of a load test.
type Report struct {
	Patients int           `json:"patients"`
	Rounds   int           `json:"rounds"`
	Duration time.Duration `json:"-"`
	Rows     []Row         `json:"rows"`
}

// Row holds the measurements with one number of connections, in the order of the rounds.
type Row struct {
	Connections int           `json:"connections"`
	Casebook    []Measurement `json:"casebook"`
	Rival       []Measurement `json:"rival,omitempty"`
	// Profile is a CPU profile of the server in the last round, as runtime/pprof writes it; empty where none was taken.
	Profile []byte `json:"-"`
}

// Median returns Casebook's measurement with the median throughput.
func (r Row) Median() Measurement { return median(r.Casebook) }

// Ratio returns Casebook's median throughput divided by the rival's; 0 without a rival.
func (r Row) Ratio() float64 {
	if len(r.Rival) == 0 {
		return 0
	}
	return median(r.Casebook).PerSecond / median(r.Rival).PerSecond
}

// median returns the measurement with the median throughput.
func median(all []Measurement) Measurement {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b Measurement) int {
		switch {
		case a.PerSecond < b.PerSecond:
			return -1
		case a.PerSecond > b.PerSecond:
			return 1
		}
		return 0
	})
	return sorted[len(sorted)/2]
}

// WriteTable writes the report as a table of medians.
func (r Report) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "durable SubmitDiary over HTTP, %d patients, %s a run, medians of %d\n\n", r.Patients, r.Duration, r.Rounds)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "connections\tdiaries/s\tp50\tp99\tmax\tshown p50\tshown p99\tviews behind\tprocessor\tmemory\t"+
		"rival/s\trival p50\trival p99\tratio\t")
	for _, row := range r.Rows {
		m := median(row.Casebook)
		fmt.Fprintf(table, "%d\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t%.0f us\t%d MB\t", row.Connections, m.PerSecond, short(m.P50), short(m.P99),
			short(m.Max), short(m.Lag50), short(m.Lag99), short(m.CatchUp), m.Processor,
			m.MemoryBytes>>20)
		if len(row.Rival) > 0 {
			rival := median(row.Rival)
			fmt.Fprintf(table, "%.0f\t%s\t%s\t%.2f\t\n", rival.PerSecond, short(rival.P50), short(rival.P99), row.Ratio())
		} else {
			fmt.Fprint(table, "\t\t\t\t\n")
		}
	}
	return table.Flush()
}

// MarshalJSON encodes durations in milliseconds.
func (m Measurement) MarshalJSON() ([]byte, error) {
	type plain Measurement
	return json.Marshal(struct {
		plain
		P50     float64 `json:"p50Millis"`
		P99     float64 `json:"p99Millis"`
		Max     float64 `json:"maxMillis"`
		CatchUp float64 `json:"catchUpMillis"`
		Lag50   float64 `json:"shownP50Millis"`
		Lag99   float64 `json:"shownP99Millis"`
	}{plain(m), millis(m.P50), millis(m.P99), millis(m.Max), millis(m.CatchUp), millis(m.Lag50), millis(m.Lag99)})
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
