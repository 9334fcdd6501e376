package readmodels_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"casebook/readmodels"
)

// TestFormerBuildsThatNobodyNeedsAreOutlived: of each version the last former build is kept, for some time after it was replaced and
// after a process of its version was seen.
func TestFormerBuildsThatNobodyNeedsAreOutlived(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	build := func(name string, version int, until time.Time) readmodels.Build {
		return readmodels.Build{Collection: name, Version: version, Until: until}
	}
	for name, c := range map[string]struct {
		kept []readmodels.Build
		seen map[int]time.Time
		want []string
	}{
		"just replaced":                      {[]readmodels.Build{build("a", 2, ago(time.Minute))}, nil, nil},
		"of an older version, long replaced": {[]readmodels.Build{build("a", 2, ago(8*day))}, nil, []string{"a"}},
		"of a version that runs":             {[]readmodels.Build{build("a", 2, ago(80*day))}, map[int]time.Time{2: ago(time.Minute)}, nil},
		"of a version that was seen long ago": {[]readmodels.Build{build("a", 2, ago(80*day))}, map[int]time.Time{2: ago(8 * day)},
			[]string{"a"}},
		"of the active version":        {[]readmodels.Build{build("a", 3, ago(8*day))}, map[int]time.Time{3: now}, []string{"a"}},
		"of the active version, fresh": {[]readmodels.Build{build("a", 3, ago(day))}, map[int]time.Time{3: now}, nil},
		"several of one version": {[]readmodels.Build{build("a", 3, ago(time.Hour)), build("b", 2, ago(time.Hour)),
			build("c", 3, ago(time.Minute))}, map[int]time.Time{2: now, 3: now}, []string{"a"}},
		"of an earlier program": {[]readmodels.Build{build("a", 2, time.Time{})}, nil, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := readmodels.Builds{Active: readmodels.Build{Collection: "live", Version: 3}, Kept: c.kept, Since: ago(9 * day)}
			var got []string
			for _, build := range b.Outlived(now, c.seen, 7*day) {
				got = append(got, build.Collection)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("outlived are %v, want %v", got, c.want)
			}
		})
	}
}

// TestProcessesNoteTheVersionsThatTheyKnow: each note replaces the former one of the same version.
func TestProcessesNoteTheVersionsThatTheyKnow(t *testing.T) {
	s := connect(t, newDatabase())
	view := s.Views()[0]
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		begun := time.Now()
		go func() { ended <- s.NoteVersions(ctx, slog.New(slog.DiscardHandler)) }()
		for noted := false; !noted; time.Sleep(5 * time.Millisecond) {
			seen, err := s.VersionsSeen(t.Context(), view.Name)
			if err != nil || time.Since(begun) > 10*time.Second {
				t.Fatalf("nothing is noted: %v", err)
			}
			noted = seen[view.Version].After(begun.Add(-time.Second))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if seen, err := s.VersionsSeen(t.Context(), view.Name); err != nil || len(seen) != 1 {
		t.Errorf("seen are %v: %v", seen, err)
	}
}
