package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
)

type benchReplacesCommand struct {
	Documents []int         `help:"Sizes of the collection to measure with." default:"10000,100000,1000000"`
	Duration  time.Duration `help:"Length of each measurement." default:"10s"`
	JSON      bool          `help:"Print JSON, one line per size."`
}

// replacesReport holds the results on a collection of one size.
type replacesReport struct {
	Documents int     `json:"documents"`
	PerSecond float64 `json:"replacesPerSecond"`
	// Processor is the processor time of a replace, of server and client, in microseconds.
	Processor float64 `json:"processorMicroseconds"`
}

const (
	// replacesTogether is how many documents are replaced by one command.
	replacesTogether = 500
	// replacesBefore is how many commands come before those that count, so that the store has begun to merge its tables.
	replacesBefore = 60
)

// Run replaces random documents of the list of patients, with its indexes, behind their guards, as the projections do. Each collection
// is made in a new embedded MongoDB.
func (c benchReplacesCommand) Run(ctx context.Context, s streams) error {
	course := chart{title: "processor time of a guarded replace, by documents in the collection", unit: "us"}
	for _, documents := range c.Documents {
		r, err := c.measure(ctx, documents)
		if err != nil {
			return err
		}
		course.points = append(course.points, point{fmt.Sprint(documents), r.Processor})
		if c.JSON {
			err = json.NewEncoder(s.out).Encode(r)
		} else {
			_, err = fmt.Fprintf(s.out, "%8d documents: %.0f guarded replaces/s, %.1f us of processor time each\n", r.Documents, r.PerSecond,
				r.Processor)
		}
		if err != nil {
			return err
		}
	}
	if c.JSON {
		return nil
	}
	return course.write(s.out)
}

func (c benchReplacesCommand) measure(ctx context.Context, documents int) (r replacesReport, err error) {
	if documents < 1 {
		return r, errors.New("--documents must be at least 1")
	}
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
	err = viewStores{MongoDatabase: benchDatabase}.withStore(ctx, running.mongoURL, func(store *readmodels.Store) error {
		r, err = c.replace(ctx, store, documents)
		return err
	})
	return r, err
}

// replace fills a collection, and replaces documents in it.
func (c benchReplacesCommand) replace(ctx context.Context, store *readmodels.Store, documents int) (replacesReport, error) {
	view, collection := patientviews.PatientLists, "bench-replaces"
	if err := store.IndexBuild(ctx, view, collection); err != nil {
		return replacesReport{}, err
	}
	position := int64(1)
	for from := 0; from < documents; from += replacesTogether {
		var batch []readmodels.Encoded
		for n := from; n < min(documents, from+replacesTogether); n++ {
			e, err := benchRow(n, position)
			if err != nil {
				return replacesReport{}, err
			}
			batch = append(batch, e)
		}
		if _, err := store.Insert(ctx, collection, batch); err != nil {
			return replacesReport{}, err
		}
	}
	some := func() error {
		position++
		chosen, batch := map[int]bool{}, []readmodels.Encoded(nil)
		for range replacesTogether {
			n := rand.IntN(documents) // #nosec G404 -- these are no secrets
			if chosen[n] {
				continue
			}
			chosen[n] = true
			e, err := benchRow(n, position)
			if err != nil {
				return err
			}
			batch = append(batch, e)
		}
		seenMore, err := store.Replace(ctx, collection, batch)
		if err == nil && seenMore > 0 {
			err = fmt.Errorf("%d documents had seen more", seenMore)
		}
		return err
	}
	for range replacesBefore {
		if err := some(); err != nil {
			return replacesReport{}, err
		}
	}
	used, began, commands := processorTime(), time.Now(), 0
	for ; time.Since(began) < c.Duration; commands++ {
		if err := some(); err != nil {
			return replacesReport{}, err
		}
	}
	replaced := float64(commands * replacesTogether)
	return replacesReport{Documents: documents, PerSecond: replaced / time.Since(began).Seconds(),
		Processor: float64((processorTime() - used).Microseconds()) / replaced}, nil
}

// benchRow returns a line of the list of patients.
func benchRow(n int, position int64) (readmodels.Encoded, error) {
	number := fmt.Sprintf("P%07d", n)
	row := &patientviews.PatientRow{
		Header:  readmodels.Header{ID: "BENCH." + number, Position: position},
		Patient: domain.PatientID("BENCH." + number), Study: "BENCH", Site: domain.SiteID(fmt.Sprintf("%02d", n%50)), ScreeningNumber: number,
		Status: patient.StatusEnrolled, ScreenedOn: "2026-02-01", LastActivityAt: time.UnixMilli(1_770_000_000_000 + position*1000).UTC(),
	}
	raw, err := readmodels.Encode(row)
	return readmodels.Encoded{Header: row.Header, Document: raw}, err
}
