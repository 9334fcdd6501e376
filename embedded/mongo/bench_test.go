package mongo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"golang.org/x/sync/errgroup"
)

// The benchmarks use the driver and a server on disk. CASEBOOK_BENCH_DOCS sets the number of documents; default 20,000.

func benchDocs(b *testing.B) int {
	n, err := strconv.Atoi(os.Getenv("CASEBOOK_BENCH_DOCS"))
	if err != nil {
		n = 20_000
	}
	return n
}

// patient returns a document of about 500 bytes, like a read model.
func patient(i, position int) bson.D {
	return D("_id", fmt.Sprintf("patient-%08d", i), "position", int64(position), "site", fmt.Sprintf("site-%03d", i%200),
		"status", []string{"screened", "enrolled", "treated", "completed"}[i%4], "at", time.UnixMilli(int64(1_700_000_000_000+i*1000)),
		"last", D("instrument", "pain-nrs", "scores", A(1, 2, 3, 4), "note", strings.Repeat("x", 200)),
		"flags", A(D("rule", "pain-severe", "open", i%7 == 0), D("rule", "missed", "open", i%11 == 0)))
}

func benchServer(b *testing.B) *driver.Collection {
	b.Helper()
	s := startServer(b, func(o *Options) { o.Dir, o.FS = b.TempDir(), vfs.Default })
	return connect(b, s).Database("bench").Collection("patients")
}

func fill(b *testing.B, c *driver.Collection, n int) {
	b.Helper()
	ctx := context.Background()
	_, err := c.Indexes().CreateMany(ctx, []driver.IndexModel{{Keys: D("site", 1, "at", -1)}, {Keys: D("status", 1)}})
	must(b, err)
	for from := 0; from < n; from += 1000 {
		docs := make([]any, 0, 1000)
		for i := from; i < min(n, from+1000); i++ {
			docs = append(docs, patient(i, 0))
		}
		_, err := c.InsertMany(ctx, docs)
		must(b, err)
	}
}

func BenchmarkGuardedReplaces(b *testing.B) {
	for _, how := range []string{"plain", "indexed", "indexed,majority"} {
		b.Run(how, func(b *testing.B) {
			ctx := context.Background()
			c := benchServer(b)
			n := benchDocs(b)
			if how != "plain" {
				fill(b, c, n)
			}
			if how == "indexed,majority" { // each command waits for a sync
				c = c.Clone(options.Collection().SetWriteConcern(writeconcern.Majority()))
			}
			written := 0
			for i := 0; b.Loop(); i++ { // with b.Loop the collection is filled only once, whatever -benchtime is
				models := make([]driver.WriteModel, 500)
				for k := range models {
					doc := patient(rand.IntN(n), i+1)
					models[k] = driver.NewReplaceOneModel().SetUpsert(true).SetReplacement(doc).
						SetFilter(D("_id", doc[0].Value, "position", D("$lte", int64(i+1))))
				}
				_, err := c.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
				must(b, err)
				written += len(models)
			}
			b.ReportMetric(float64(written)/b.Elapsed().Seconds(), "replaces/s")
		})
	}
}

// BenchmarkWriters has four clients write at the same time, to one collection or to one each.
func BenchmarkWriters(b *testing.B) {
	for _, collections := range []int{1, 4} {
		b.Run(fmt.Sprintf("collections=%d", collections), func(b *testing.B) {
			ctx := context.Background()
			db := benchServer(b).Database()
			for i := range collections {
				fill(b, db.Collection(fmt.Sprint("c", i)), 1000)
			}
			b.ResetTimer()
			var g errgroup.Group
			for w := range 4 {
				g.Go(func() error {
					for i := range b.N {
						models := make([]driver.WriteModel, 500)
						for k := range models {
							doc := patient(w*5000+rand.IntN(5000), i+1)
							models[k] = driver.NewReplaceOneModel().SetUpsert(true).SetReplacement(doc).
								SetFilter(D("_id", doc[0].Value, "position", D("$lte", int64(i+1))))
						}
						c := db.Collection(fmt.Sprint("c", w%collections))
						if _, err := c.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false)); err != nil {
							return err
						}
					}
					return nil
				})
			}
			must(b, g.Wait())
			b.ReportMetric(float64(b.N*4*500)/b.Elapsed().Seconds(), "replaces/s")
		})
	}
}

// reads runs f b.N times and reports percentiles of its duration.
func reads(b *testing.B, f func()) {
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for range b.N {
		start := time.Now()
		f()
		took = append(took, time.Since(start))
	}
	b.StopTimer()
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(took[min(len(took)-1, len(took)*p/100)].Microseconds()), fmt.Sprintf("p%d-µs", p))
	}
}

func BenchmarkReads(b *testing.B) {
	ctx := context.Background()
	c := benchServer(b)
	n := benchDocs(b)
	fill(b, c, n)
	b.Run("point", func(b *testing.B) {
		reads(b, func() {
			must(b, c.FindOne(ctx, D("_id", fmt.Sprintf("patient-%08d", rand.IntN(n)))).Err())
		})
	})
	b.Run("page", func(b *testing.B) {
		reads(b, func() {
			cur, err := c.Find(ctx, D("site", fmt.Sprintf("site-%03d", rand.IntN(200))),
				options.Find().SetSort(D("at", -1)).SetLimit(50))
			must(b, err)
			var docs []bson.Raw
			must(b, cur.All(ctx, &docs))
			if len(docs) != min(50, n/200) {
				b.Fatal(len(docs))
			}
		})
	})
	b.Run("pageOfThreeSites", func(b *testing.B) {
		reads(b, func() {
			first := rand.IntN(198)
			sites := A(fmt.Sprintf("site-%03d", first), fmt.Sprintf("site-%03d", first+1), fmt.Sprintf("site-%03d", first+2))
			cur, err := c.Find(ctx, D("site", D("$in", sites)), options.Find().SetSort(D("at", -1)).SetLimit(50))
			must(b, err)
			var docs []bson.Raw
			must(b, cur.All(ctx, &docs))
		})
	})
	b.Run("manyIDs", func(b *testing.B) {
		reads(b, func() {
			ids := make(bson.A, 500)
			for i := range ids {
				ids[i] = fmt.Sprintf("patient-%08d", rand.IntN(n))
			}
			cur, err := c.Find(ctx, D("_id", D("$in", ids)))
			must(b, err)
			var docs []bson.Raw
			must(b, cur.All(ctx, &docs))
		})
	})
}

// BenchmarkGuardedReplacesBySize replaces 500 documents at a time, each behind a guard on its position, in collections of ever more
// documents. It sends raw commands, so that the server is measured and not the driver. The figure to compare is the processor time of a
// replacement, which other work on the machine changes little.
func BenchmarkGuardedReplacesBySize(b *testing.B) {
	for n := 10_000; n <= benchDocs(b); n *= 10 {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			ctx := context.Background()
			c := benchServer(b)
			fill(b, c, n)
			written := 0
			position := 0
			var before, took time.Duration
			replace := func() {
				position++
				updates := make(bson.A, 500)
				for k := range updates {
					doc := patient(rand.IntN(n), position)
					updates[k] = D("q", D("_id", doc[0].Value, "position", D("$lte", int64(position))), "u", doc, "upsert", true)
				}
				raw, err := bson.Marshal(D("update", c.Name(), "ordered", false, "updates", updates))
				must(b, err)
				before = processorTime(b)
				must(b, c.Database().RunCommand(ctx, bson.Raw(raw)).Err())
				took += processorTime(b) - before
				written += len(updates)
			}
			for range 100 { // until the store has written tables
				replace()
			}
			written, took = 0, 0
			began := time.Now()
			for b.Loop() {
				replace()
			}
			b.ReportMetric(float64(took.Nanoseconds())/1000/float64(written), "cpu-µs/replace")
			b.ReportMetric(float64(written)/time.Since(began).Seconds(), "replaces/s")
		})
	}
}

// processorTime is what this process has used of the processors so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
