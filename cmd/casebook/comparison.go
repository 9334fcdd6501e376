package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"casebook/projections"
	"casebook/readmodels"
)

// comparison is the report of a build compared with what this program makes of the log, as it goes into a validation file.
type comparison struct {
	projections.Comparison
	Program string    `json:"program"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
}

func (v views) compare(ctx context.Context, s streams, p projections.Projection, build readmodels.Build, most int) (comparison, error) {
	bar := newProgressBar(s.err, p.View.Name)
	defer bar.end()
	began := time.Now().UTC()
	c, err := projections.Compare(ctx, v.log, v.store, p, build, most, bar.show)
	return comparison{c, buildID(), began, time.Now().UTC()}, err
}

func (c comparison) print(out io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(c)
	}
	fmt.Fprintf(out, "view       %s\nbuild      %s, version %d\ncompared   version %d of program %s, over the log up to position %d\nevents     %d\ntime       %s to %s\ndocuments  %d\nequal      %d\ndiffering  %d\nmissing    %d\nextra      %d\n",
		c.View, c.Build.Collection, c.Build.Version, c.Version, c.Program, c.Through.Commit, c.Events, c.Began.Format(time.RFC3339), c.Ended.Format(time.RFC3339),
		c.Documents, c.Equal, c.Differing, c.Missing, c.Extra)
	for _, field := range slices.Sorted(maps.Keys(c.Fields)) {
		fmt.Fprintf(out, "field      %s: %d documents\n", field, c.Fields[field])
	}
	for _, d := range c.Differences {
		fmt.Fprintf(out, "\n%s %s%s\n", d.Key, d.Kind, by(d.By))
		for _, f := range d.Fields {
			fmt.Fprintf(out, "  %s\n    has    %s\n    makes  %s%s\n", f.Path, orNothing(f.Has), orNothing(f.Makes), by(f.By))
		}
	}
	if more := c.Differing + c.Missing + c.Extra - len(c.Differences); more > 0 {
		fmt.Fprintf(out, "\n%d more differences are counted and not described\n", more)
	}
	_, err := fmt.Fprintln(out)
	return err
}

func by(s *projections.Source) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("  (%s of %s@%d, position %d, %s)", s.Type, s.Stream, s.Revision, s.Position, s.RecordedAt.Format(time.RFC3339))
}

func orNothing(value string) string {
	if value == "" {
		return "nothing"
	}
	return value
}
