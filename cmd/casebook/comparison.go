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

// comparison is the report of a comparison between a build of a view and what this program makes of the same log. It is
// meant for a validation file.
type comparison struct {
	projections.Comparison
	Program string    `json:"program"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
}

// compare compares a build with a new fold of the log. It describes at most maxDifferences differences, and counts all.
func (v views) compare(
	ctx context.Context, s streams, p projections.Projection, build readmodels.Build, maxDifferences int,
) (comparison, error) {
	bar := newProgressBar(s.err, p.View.Name)
	defer bar.end()
	began := time.Now().UTC()
	c, err := projections.Compare(ctx, v.log, v.store, p, build, maxDifferences, bar.show)
	return comparison{c, buildID(), began, time.Now().UTC()}, err
}

func (c comparison) print(out io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(c)
	}
	fmt.Fprintf(out, "view       %s\nbuild      %s, version %d\n", c.View, c.Build.Collection, c.Build.Version)
	fmt.Fprintf(out, "compared   version %d of program %s, over the log up to position %d\n", c.Version, c.Program, c.Through.Commit)
	fmt.Fprintf(out, "events     %d\n", c.Events)
	fmt.Fprintf(out, "time       %s to %s\n", c.Began.Format(time.RFC3339), c.Ended.Format(time.RFC3339))
	fmt.Fprintf(out, "documents  %d\nequal      %d\ndiffering  %d\nmissing    %d\nextra      %d\n",
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
		fmt.Fprintf(out, "\n%d more differences are not described\n", more)
	}
	_, err := fmt.Fprintln(out)
	return err
}

// by describes the event that made a document or field.
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
