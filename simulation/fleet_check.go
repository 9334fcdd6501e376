package simulation

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/user"

	"golang.org/x/sync/errgroup"
)

// FleetReport says what became of the entries of a fleet.
type FleetReport struct {
	Patients int `json:"patients"`
	Phones   int `json:"phones"`
	// Entries is how many were captured, and Sent how often one was sent.
	Entries int   `json:"entries"`
	Sent    int64 `json:"sent"`
	// Counted, Held and Refused are what became of them; each entry is in one of them.
	Counted int               `json:"counted"`
	Held    map[diary.Why]int `json:"held"`
	Refused map[string]int    `json:"refused"`
	// Faults are entries that were lost, are there twice, count on another day, or have another time, zone, number or answer than
	// they were captured with; at most 20.
	Faults []string `json:"faults,omitempty"`
	Wrong  int      `json:"wrong"`
}

// maxFaults bounds the faults that a report describes.
const maxFaults = 20

func (r *FleetReport) fault(format string, args ...any) {
	if r.Wrong++; len(r.Faults) < maxFaults {
		r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
	}
}

// recordedDiary holds the fields of a patient's diary that are compared.
type recordedDiary struct {
	Window     string         `json:"window"`
	Missed     bool           `json:"missed"`
	CapturedAt *time.Time     `json:"capturedAt"`
	Late       bool           `json:"late"`
	Answers    map[string]any `json:"answers"`
	Device     user.DeviceID  `json:"device"`
	Zone       string         `json:"zone"`
	Offset     string         `json:"offset"`
	Sequence   int64          `json:"sequence"`
	Monotonic  int64          `json:"monotonicMs"`
	Held       diary.Why      `json:"held"`
}

type entryName struct {
	device   user.DeviceID
	sequence int64
}

// Check reads the diaries of all patients and compares them with what the phones have captured.
func (f *Fleet) Check(ctx context.Context) (FleetReport, error) {
	report := FleetReport{Phones: len(f.phones), Sent: f.sent.Load(), Held: map[diary.Why]int{}, Refused: map[string]int{}}
	byPatient := map[domain.PatientID][]*Phone{}
	for _, p := range f.phones {
		byPatient[p.Patient] = append(byPatient[p.Patient], p)
	}
	report.Patients = len(byPatient)
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.Workers)
	for _, id := range slices.Sorted(maps.Keys(byPatient)) {
		group.Go(func() error {
			found, err := f.recorded(ctx, byPatient[id][0])
			if err != nil {
				return fmt.Errorf("diaries of %s: %w", id, err)
			}
			mu.Lock()
			defer mu.Unlock()
			report.compare(id, byPatient[id], found)
			return nil
		})
	}
	return report, group.Wait()
}

// recorded returns what the record has of a patient.
func (f *Fleet) recorded(ctx context.Context, p *Phone) ([]recordedDiary, error) {
	missing, position, err := f.missing(ctx, p)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%d entries were not sent", len(missing))
	}
	var list struct {
		Items []recordedDiary `json:"items"`
	}
	err = f.asPhone(ctx, p, http.MethodGet, "/api/v1/me/diaries?limit=200", atPosition(position), nil, &list)
	return list.Items, err
}

// compare counts what became of a patient's entries, and notes what is wrong.
func (r *FleetReport) compare(id domain.PatientID, phones []*Phone, found []recordedDiary) {
	recorded := map[entryName]recordedDiary{}
	for _, d := range found {
		name := entryName{d.Device, d.Sequence}
		switch _, twice := recorded[name]; {
		case d.Missed || d.CapturedAt == nil:
		case twice:
			r.fault("%s: entry %d of %s is there twice", id, d.Sequence, d.Device)
		default:
			recorded[name] = d
		}
	}
	counted := map[string]int{}
	for _, p := range phones {
		for _, c := range p.kept {
			r.Entries++
			name := entryName{c.command.Device, c.command.Sequence}
			d, is := recorded[name]
			delete(recorded, name)
			if is && d.Held == "" {
				counted[c.window]++
			}
			r.compareOne(id, c, d, is)
		}
	}
	for name := range recorded {
		r.fault("%s: entry %d of %s was captured by nobody", id, name.sequence, name.device)
	}
	for window, n := range counted {
		if n != 1 {
			r.fault("%s: the window %q has %d entries", id, window, n)
		}
	}
	for _, p := range phones {
		for _, c := range p.kept {
			if c.rivals && counted[c.window] == 0 {
				r.fault("%s: of the window %s, none of two entries counts", id, c.window)
			}
		}
	}
}

func (r *FleetReport) compareOne(id domain.PatientID, c *captured, d recordedDiary, is bool) {
	sent := c.command
	name := fmt.Sprintf("%s: entry %d of %s, captured at %s in %s", id, sent.Sequence, sent.Device, sent.CapturedAt.Format(time.RFC3339),
		sent.Zone)
	switch {
	case c.refused != "":
		r.Refused[c.refused]++
		r.fault("%s: it was refused for %s, recorded: %v", name, c.refused, is)
		return
	case !is:
		r.fault("%s: it is lost; acknowledged: %v", name, c.acknowledged)
		return
	case d.Held == "":
		r.Counted++
		if d.Window != c.window || d.Late {
			r.fault("%s: it counts in %q, late: %v; want %q, held for %q", name, d.Window, d.Late, c.window, c.why)
		}
	default:
		r.Held[d.Held]++
		if d.Held != c.why && !(c.rivals && d.Held == diary.WhyAnswered) {
			r.fault("%s: it is held for %s; want the window %q, or held for %q", name, d.Held, c.window, c.why)
		}
	}
	if !d.CapturedAt.Equal(sent.CapturedAt) || d.Offset != sent.CapturedAt.Format("Z07:00") || d.Zone != sent.Zone ||
		d.Monotonic != sent.MonotonicMs {
		r.fault("%s: the record says %s, offset %s, in %s", name, d.CapturedAt.Format(time.RFC3339), d.Offset, d.Zone)
	}
	if len(d.Answers) != len(sent.Answers) {
		r.fault("%s: the record has the answers %v", name, d.Answers)
	}
	for item, answer := range sent.Answers {
		if d.Answers[string(item)] != answer {
			r.fault("%s: the record has %v for %s", name, d.Answers[string(item)], item)
		}
	}
}

// Write writes the report for people.
func (r FleetReport) Write(w io.Writer, took time.Duration) error {
	fmt.Fprintf(w, "%d entries of %d phones of %d patients, sent %d times in %s\n", r.Entries, r.Phones, r.Patients, r.Sent,
		took.Round(time.Millisecond))
	fmt.Fprintf(w, "  %6d count, each once and on its day\n", r.Counted)
	for _, why := range slices.Sorted(maps.Keys(r.Held)) {
		fmt.Fprintf(w, "  %6d are held: %s\n", r.Held[why], why)
	}
	for _, code := range slices.Sorted(maps.Keys(r.Refused)) {
		fmt.Fprintf(w, "  %6d were refused: %s\n", r.Refused[code], code)
	}
	_, err := fmt.Fprintf(w, "  %6d are not as they were captured\n", r.Wrong)
	for _, fault := range r.Faults {
		fmt.Fprintln(w, "    "+fault)
	}
	return err
}
