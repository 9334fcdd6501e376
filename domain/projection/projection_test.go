package projection_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/projection"
	"casebook/domain/scenario"
)

var views = projection.Views{"alerts", "diaries"}

var call = domain.Call{At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Actor: "manager"}

func TestRebuildAndCancel(t *testing.T) {
	rebuild := func(c projection.RebuildProjection) func(projection.State) ([]projection.Event, error) {
		return scenario.AskedKnowing(projection.Rebuild, views, c, call)
	}
	cancel := scenario.AskedKnowing(projection.Cancel, views, projection.CancelRebuild{OfView: projection.OfView{Projection: "alerts"}, Reasoned: domain.Because("no")}, call)
	start := scenario.For(t, projection.Decider).Strict()
	start.When(rebuild(projection.RebuildProjection{OfView: projection.OfView{Projection: "nothing"}, Reasoned: domain.Because("x")})).ThenRefused("projection_not_found")
	start.When(rebuild(projection.RebuildProjection{OfView: projection.OfView{Projection: "alerts"}})).ThenRefused("reason_required")
	start.When(rebuild(projection.RebuildProjection{OfView: projection.OfView{Projection: "alerts"}, Reasoned: domain.Because("x"), EventsPerSecond: -1})).ThenRefused("value_out_of_range")
	start.When(cancel).ThenRefused("no_rebuild")
	one := start.When(rebuild(projection.RebuildProjection{OfView: projection.OfView{Projection: "alerts", Study: "S"}, Reasoned: domain.Because("x"), EventsPerSecond: 5})).
		Then(projection.RebuildRequested{Projection: "alerts", Study: "S", Reason: "x", EventsPerSecond: 5})
	if s := one.State(); s.Wanted() != 1 || s.EventsPerSecond != 5 {
		t.Errorf("asked for once it is %+v", s)
	}
	none := one.When(cancel).Then(projection.RebuildCancelled{Projection: "alerts", Reason: "no"})
	none.When(cancel).ThenRefused("no_rebuild")
	two := none.When(rebuild(projection.RebuildProjection{OfView: projection.OfView{Projection: "alerts"}, Reasoned: domain.Because("again")})).Then(projection.RebuildRequested{Projection: "alerts", Reason: "again"})
	if s := two.State(); s.Wanted() != 2 || s.Decisions != 3 {
		t.Errorf("asked for again it is %+v", s)
	}
}

func TestSkipRetryAndDrop(t *testing.T) {
	start := scenario.For(t, projection.Decider).Strict()
	skip := func(event projection.SkippedEvent, c projection.SkipProjectionEvent) func(projection.State) ([]projection.Event, error) {
		return scenario.AskedKnowing(projection.Skip, event, c, call)
	}
	c := projection.SkipProjectionEvent{OfView: projection.OfView{Projection: "alerts", Study: "S"}, Version: 2, Stream: "safety-1", Revision: 3, Reasoned: domain.Because("seen to")}
	there := projection.SkippedEvent{Views: views, Exists: true, Study: "S"}
	start.When(skip(projection.SkippedEvent{Views: views}, c)).ThenRefused("event_not_found")
	start.When(skip(projection.SkippedEvent{Views: views, Exists: true, Study: "T"}, c)).ThenRefused("event_not_found")
	skipped := start.When(skip(there, c)).Then(projection.EventSkipped{Projection: c.Projection, Study: c.Study, Version: c.Version, Stream: c.Stream, Revision: c.Revision, Reason: c.Reason})
	skipped.When(skip(there, c)).ThenRefused("event_skipped")
	if s := skipped.State(); !s.Skips(2, "safety-1", 3) || s.Skips(1, "safety-1", 3) || s.Skips(2, "safety-1", 4) || s.Skips(2, "safety-2", 3) {
		t.Errorf("it passes over %+v", s.Skipped)
	}
	start.When(scenario.AskedKnowing(projection.Retry, views, projection.RetryProjection{OfView: projection.OfView{Projection: "alerts"}, Reasoned: domain.Because("mended")}, call)).
		Then(projection.Retried{Projection: "alerts", Reason: "mended"})
	drop := scenario.AskedKnowing(projection.Drop, views, projection.DropProjectionBuild{OfView: projection.OfView{Projection: "alerts"}, Collection: "alerts_v1", Reasoned: domain.Because("space")}, call)
	start.When(drop).Then(projection.BuildDropped{Projection: "alerts", Collection: "alerts_v1", Reason: "space"}).When(drop).ThenRefused("build_dropped")
}
