package projections_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/embedded/mongo"
	"casebook/embedded/node"
	"casebook/eventlog"
	"casebook/projections"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// BenchmarkCatchingUp folds a trial of 50,000 diaries of 500 patients into empty views, all views together, over both
// embedded servers. The log is in the order of the days, as a trial writes it: neighbours are of different patients.
func BenchmarkCatchingUp(b *testing.B) {
	const patients, days = 500, 100
	log, url := benchLog(b), benchMongo(b)
	end := recordTrial(b, log, patients, days)
	for b.Loop() {
		catchUp(b, log, url, end)
	}
	b.ReportMetric(float64(b.N*patients*days)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkShowingOne is the way of a lone event: appended, folded, and seen by a query that waits for it.
func BenchmarkShowingOne(b *testing.B) {
	log, url := benchLog(b), benchMongo(b)
	last := recordTrial(b, log, 50, 20)
	store, err := readmodels.Connect(b.Context(), url, "live", contexts.Views())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = store.Close(context.Background()) }()
	defer start(b, log, store)()
	seen(b, store, last, contexts.Views()...)
	tail, n := eventlog.EmptyTail, 0
	for b.Loop() {
		n++
		out, err := log.Append(b.Context(), "diary-T.LIVE", tail, uuid.New(), of("T.LIVE"), aDiary("T.LIVE", n%90, 1))
		if err != nil {
			b.Fatal(err)
		}
		tail = out.Tail
		seen(b, store, out.Position.Commit, patientviews.PatientViews)
	}
}

func benchLog(b *testing.B) *eventlog.Log {
	b.Helper()
	n, err := node.Open(b.Context(), node.Options{Dir: b.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	log, err := eventlog.Connect(b.Context(), eventlog.Options{URL: n.ConnectionString(), Registry: contexts.Registry()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(log.Close(), n.Close()); err != nil {
			b.Error(err)
		}
	})
	return log
}

func benchMongo(b *testing.B) string {
	b.Helper()
	m, err := mongo.Open(b.Context(), mongo.Options{Dir: b.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.Close(); err != nil {
			b.Error(err)
		}
	})
	return m.ConnectionString()
}

func of(who domain.PatientID) eventlog.Metadata {
	return eventlog.Metadata{Actor: "someone", Role: "patient", Study: "T", Site: domain.SiteID(string(who)[len(who)-1:]), Patient: who,
		Command: "SubmitDiary", CommandID: uuid.NewString(), RecordedAt: time.Now().UTC()}
}

func aDiary(who domain.PatientID, day int, worst float64) diary.Submitted {
	on := domain.Date("2026-03-01").AddDays(day)
	opens := time.Date(2026, 3, 1+day, 17, 0, 0, 0, time.UTC)
	intensity := (worst*2 + 1) / 4
	return diary.Submitted{Patient: who, Instrument: "pain-diary", Version: 1, CapturedAt: opens.Add(time.Hour), Late: day%20 == 7,
		Window:  diary.Window{ID: string(on) + "/evening", Opens: opens, Closes: opens.Add(6 * time.Hour)},
		Answers: diary.Answers{"worst": worst, "least": 0.0, "average": worst, "now": 1.0, "rescue": false, "interference": 2.0},
		Scores:  []diary.ScoreResult{{ID: "intensity", Value: &intensity, Band: "mild"}}}
}

// recordTrial appends a trial to the log, day by day, and returns where it ends.
func recordTrial(b *testing.B, log *eventlog.Log, patients, days int) uint64 {
	b.Helper()
	const writers = 64
	group, ctx := errgroup.WithContext(b.Context())
	for writer := range writers {
		group.Go(func() error {
			tails := map[string]eventlog.Tail{}
			record := func(category string, who domain.PatientID, events ...any) error {
				stream := category + "-" + string(who)
				if _, ok := tails[stream]; !ok {
					tails[stream] = eventlog.EmptyTail
				}
				out, err := log.Append(ctx, stream, tails[stream], uuid.New(), of(who), events...)
				tails[stream] = out.Tail
				return err
			}
			for day := -1; day < days; day++ {
				for n := writer; n < patients; n += writers {
					number := fmt.Sprintf("P%05d", n)
					who := domain.NewPatientID("T", number)
					var err error
					if day >= 0 {
						err = record("diary", who, aDiary(who, day, float64((n+day)%8)))
					} else if err = record("patient", who, patient.Screened{Patient: who, Study: "T", Site: of(who).Site,
						ScreeningNumber: number,
						On:              "2026-02-01", Zone: "Europe/Berlin"}); err == nil {
						err = record("diary", who, diary.InstrumentAssigned{Patient: who, Instrument: *instrument.PainDiary(),
							Zone: "Europe/Berlin",
							From: "2026-03-01", Until: domain.Date("2026-03-01").AddDays(days)})
					}
					if err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	end, err := log.End(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return end.Commit
}

// catchUp makes all views anew.
func catchUp(b *testing.B, log *eventlog.Log, url string, end uint64) {
	b.Helper()
	store, err := readmodels.Connect(b.Context(), url, "t"+uuid.NewString()[:8], contexts.Views())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = store.Close(context.Background()) }()
	defer start(b, log, store)()
	seen(b, store, end, contexts.Views()...)
}

func start(b *testing.B, log *eventlog.Log, store *readmodels.Store) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- projections.NewEngine(projections.Options{Log: log, Store: store, Projections: contexts.Projections()}).Run(ctx)
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil && ctx.Err() == nil {
			b.Error(err)
		}
	}
}

func seen(b *testing.B, store *readmodels.Store, commit uint64, views ...readmodels.View) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	for _, v := range views {
		if err := store.WaitFor(ctx, v, commit); err != nil {
			b.Fatal(err)
		}
	}
}
