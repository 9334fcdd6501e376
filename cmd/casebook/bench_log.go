package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/eventlog"
	"casebook/readmodels"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// benchLog describes the logs of several lengths that a benchmark works on.
type benchLog struct {
	Events   []int  `help:"Lengths of the log to measure with." default:"10000,100000,1000000"`
	Patients int    `help:"Patients who keep a diary." default:"10000"`
	Together int    `help:"Diaries in one append. With 1, adjacent events are of different patients, as in a trial." default:"1"`
	Data     string `help:"Directory in which the logs are kept for the next run; a temporary one by default." type:"path" placeholder:"DIR"`
}

// benchStores are embedded stores with a log of a benchmark.
type benchStores struct {
	dir              string
	log              *eventlog.Log
	store            *readmodels.Store
	events, patients int
	// recorded is how long the log took to be written; 0 if it was there.
	recorded time.Duration
}

// benchLogFile notes which log a directory holds.
const benchLogFile = "bench-log.json"

// benchDatabase is the database of the views that benchmarks build.
const benchDatabase = "bench"

// each calls act with a log of each length, on stores that hold no views.
func (b benchLog) each(ctx context.Context, act func(events int, in benchStores) error) error {
	if b.Patients < 1 || b.Together < 1 {
		return errors.New("--patients and --together must be at least 1")
	}
	for _, events := range b.Events {
		if err := b.with(ctx, events, func(in benchStores) error { return act(events, in) }); err != nil {
			return err
		}
	}
	return nil
}

// with calls act with a log of one length.
func (b benchLog) with(ctx context.Context, events int, act func(benchStores) error) (err error) {
	dir := filepath.Join(b.Data, fmt.Sprint("events-", events))
	if b.Data == "" {
		if dir, err = os.MkdirTemp("", "casebook-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	holds, err := b.holds(dir, events)
	if err != nil {
		return err
	}
	flags := storeFlags{Data: dir, NodeListen: "127.0.0.1:0", MongoListen: "127.0.0.1:0"}
	running, err := flags.open(ctx, true, logFlags{}.logger(os.Stderr))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.close()) }()
	log, err := toolLog(ctx, eventlog.Options{URL: running.eventStoreURL, InProcess: running.node.InProcess(), Patience: ownPatience})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	in := benchStores{dir: dir, log: log, patients: min(b.Patients, max(1, events/10))}
	in.events = in.patients * (b.days(events) + 2)
	if !holds {
		began := time.Now()
		if err := b.record(ctx, log, events); err != nil {
			return err
		}
		in.recorded = time.Since(began)
		if err := b.note(dir, events); err != nil {
			return err
		}
	}
	return viewStores{Mongo: running.mongoURL, MongoDatabase: benchDatabase}.withStore(ctx, running.mongoURL,
		func(store *readmodels.Store) error {
			in.store = store
			return errors.Join(store.DropAll(ctx), act(in))
		})
}

// benchLogNote is what a directory says about its log.
type benchLogNote struct {
	Events, Patients, Together int
}

// holds says whether a directory holds the log of a benchmark that is described alike. It fails if the directory holds another log.
func (b benchLog) holds(dir string, events int) (bool, error) {
	note, err := os.ReadFile(filepath.Join(dir, benchLogFile)) // #nosec G304 -- the user names the directory
	var found benchLogNote
	switch {
	case err == nil:
		err = json.Unmarshal(note, &found)
	case errors.Is(err, os.ErrNotExist) && !dataDir(dir).hasEventStore():
		return false, nil
	}
	if want := (benchLogNote{events, b.Patients, b.Together}); err != nil || found != want {
		return false, fmt.Errorf("%s holds another log, or one that is not complete; name another directory with --data", dir)
	}
	return true, nil
}

// note notes that the log is complete.
func (b benchLog) note(dir string, events int) error {
	note, err := json.Marshal(benchLogNote{events, b.Patients, b.Together})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, benchLogFile), note, 0o600)
}

// days returns how many diaries each patient hands in.
func (b benchLog) days(events int) int {
	patients := min(b.Patients, max(1, events/10))
	return max(1, (events-2*patients)/patients)
}

// record appends the events of a trial, day by day, directly to the log, because only the reading is measured.
func (b benchLog) record(ctx context.Context, log *eventlog.Log, events int) error {
	const writers = 128
	patients, days := min(b.Patients, max(1, events/10)), b.days(events)
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
			for day := -1; day < days; day += b.Together {
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
						for d := day; d < min(day+b.Together, days); d++ {
							batch = append(batch, benchDiary(who, d))
						}
						err = record("diary", who, batch...)
					}
					if err != nil {
						return err
					}
				}
				if day < 0 {
					day = -b.Together // the next day is 0
				}
			}
			return nil
		})
	}
	return group.Wait()
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
