package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/eventlog"
	"casebook/projections"
	"casebook/readmodels"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

type benchRebuildCommand struct {
	View     string `help:"View to rebuild." default:"patient-view"`
	Events   []int  `help:"Lengths of the log to measure with." default:"10000,100000,1000000"`
	Patients int    `help:"Patients who keep a diary." default:"10000"`
	Together int    `help:"Diaries in one append. With 1, adjacent events are of different patients, as in a trial." default:"1"`
	Profile  string `help:"Write a CPU profile of each rebuild to FILE.LENGTH." type:"path" placeholder:"FILE"`
	JSON     bool   `help:"Print JSON, one line per length."`
}

// rebuildReport holds the results of one rebuild.
type rebuildReport struct {
	View       string  `json:"view"`
	Events     int     `json:"events"`
	Patients   int     `json:"patients"`
	Recorded   float64 `json:"recordedSeconds"`
	Took       float64 `json:"rebuildSeconds"`
	PerSecond  float64 `json:"eventsPerSecond"`
	PeakMemory int64   `json:"peakMemoryBytes"`
}

// Run records a trial of each length in new stores, and measures how long a view takes to be built from it. The memory
// is that of the whole process, including the embedded stores.
func (c benchRebuildCommand) Run(ctx context.Context, s streams) error {
	p, err := projections.Named(contexts.Projections(), c.View)
	if err != nil {
		return err
	}
	if c.Patients < 1 || c.Together < 1 {
		return errors.New("--patients and --together must be at least 1")
	}
	for _, events := range c.Events {
		r, err := c.measure(ctx, p, events)
		if err != nil {
			return err
		}
		if c.JSON {
			if err := printLines(s, []rebuildReport{r}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(s.out, "%s over %d events of %d patients: %.1f s, %.0f events/s, peak memory %d MiB (recorded in %.1f s)\n",
			r.View, r.Events, r.Patients, r.Took, r.PerSecond, r.PeakMemory>>20, r.Recorded)
	}
	return nil
}

// measure measures one length.
func (c benchRebuildCommand) measure(ctx context.Context, p projections.Projection, events int) (r rebuildReport, err error) {
	dir, err := os.MkdirTemp("", "casebook-bench-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	flags := storeFlags{Data: dir, NodeListen: "127.0.0.1:0", MongoListen: "127.0.0.1:0"}
	running, err := flags.open(ctx, true, logFlags{}.logger(os.Stderr))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, running.close()) }()
	stores := viewStores{Eventstore: running.eventStoreURL, Mongo: running.mongoURL, MongoDatabase: "bench"}
	err = stores.with(ctx, writes, func(v views) error {
		began := time.Now()
		recorded, err := c.record(ctx, v.log, events)
		if err != nil {
			return err
		}
		r = rebuildReport{View: c.View, Events: recorded, Patients: c.Patients, Recorded: time.Since(began).Seconds()}
		resetPeakMemory()
		if c.Profile != "" {
			file, err := os.Create(fmt.Sprint(c.Profile, ".", events))
			if err != nil {
				return err
			}
			defer func() { _ = file.Close() }()
			if err := pprof.StartCPUProfile(file); err != nil {
				return err
			}
			defer pprof.StopCPUProfile()
		}
		engine := projections.NewEngine(projections.Options{Log: v.log, Store: v.store, Projections: []projections.Projection{p}})
		began = time.Now()
		err = whileRunning(ctx, engine.Run, func(ctx context.Context) error {
			defer func() { r.Took = time.Since(began).Seconds() }()
			return v.built(ctx, p.View)
		})
		r.PerSecond, r.PeakMemory = float64(recorded)/r.Took, peakMemory()
		return err
	})
	return r, err
}

// built waits until the first build of a view has caught up with the log.
func (v views) built(ctx context.Context, view readmodels.View) error {
	for {
		at, err := v.store.LoadCheckpoint(ctx, view)
		switch {
		case err != nil:
			return err
		case at.State == readmodels.Live:
			return nil
		case at.State == readmodels.Stopped:
			return errors.New(at.Reason)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// record appends the events of a trial, day by day, directly to the log, because only the reading is measured. It
// returns the number of events.
func (c benchRebuildCommand) record(ctx context.Context, log *eventlog.Log, events int) (int, error) {
	const writers = 128
	patients := min(c.Patients, max(1, events/10))
	days := max(1, (events-2*patients)/patients)
	group, ctx := errgroup.WithContext(ctx)
	for writer := range writers {
		group.Go(func() error {
			tails := map[string]eventlog.Tail{}
			record := func(category string, who domain.PatientID, batch ...any) error {
				stream := category + "-" + string(who)
				if _, ok := tails[stream]; !ok {
					tails[stream] = eventlog.EmptyTail
				}
				meta := eventlog.Metadata{
					Actor: "patient", Role: "patient",
					Study: "BENCH", Site: domain.SiteID("0" + string(who)[len(who)-1:]), Patient: who,
					Command: "SubmitDiary", CommandID: uuid.NewString(), RecordedAt: time.Now().UTC().Truncate(time.Millisecond),
				}
				out, err := log.Append(ctx, stream, tails[stream], uuid.New(), meta, batch...)
				tails[stream] = out.Tail
				return err
			}
			for day := -1; day < days; day += c.Together {
				for n := writer; n < patients; n += writers {
					number := fmt.Sprintf("P%06d", n)
					who := domain.NewPatientID("BENCH", number)
					var err error
					if day < 0 {
						err = errors.Join(
							record("patient", who, patient.Screened{
								Patient: who, Study: "BENCH", Site: "01", ScreeningNumber: number, On: "2026-02-01", Zone: "Europe/Berlin",
							}),
							record("diary", who, diary.InstrumentAssigned{
								Patient: who, Instrument: *instrument.PainDiary(), Zone: "Europe/Berlin", From: "2026-03-01", Until: "2036-03-01",
							}))
					} else {
						var batch []any
						for d := day; d < min(day+c.Together, days); d++ {
							batch = append(batch, benchDiary(who, d))
						}
						err = record("diary", who, batch...)
					}
					if err != nil {
						return err
					}
				}
				if day < 0 {
					day = -c.Together // the next day is 0
				}
			}
			return nil
		})
	}
	return patients * (days + 2), group.Wait()
}

func benchDiary(who domain.PatientID, day int) diary.Submitted {
	on := domain.Date("2026-03-01").AddDays(day)
	opens := time.Date(2026, 3, 1+day, 17, 0, 0, 0, time.UTC)
	worst := float64((len(who) + day) % 11)
	intensity := worst / 2
	return diary.Submitted{
		Patient: who, Instrument: "pain-diary", Version: 1, CapturedAt: opens.Add(time.Hour), Late: day%20 == 7,
		Window:  diary.Window{ID: string(on) + "/evening", Opens: opens, Closes: opens.Add(6 * time.Hour)},
		Answers: diary.Answers{"worst": worst, "least": 0.0, "average": worst, "now": 1.0, "rescue": false, "interference": 2.0},
		Scores:  []diary.ScoreResult{{ID: "intensity", Value: &intensity, Band: "mild"}},
	}
}

// resetPeakMemory resets the peak that peakMemory returns, on Linux (proc(5), clear_refs).
func resetPeakMemory() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peakMemory returns the process's peak of resident memory since resetPeakMemory, in bytes; 0 where there is no /proc.
func peakMemory() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseInt(kilobytes, 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}
