package projection_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/projection"
	"casebook/domain/scenario"
)

var (
	views = projection.Views{"alerts", "diaries"}
	call  = domain.Call{At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Actor: "manager"}

	ofAlerts      = projection.OfView{Projection: "alerts"}
	ofAlertsInS   = projection.OfView{Projection: "alerts", Study: "S"}
	ofUnknownView = projection.OfView{Projection: "nothing"}
)

type decision = func(projection.State) ([]projection.Event, error)

func rebuilding(c projection.RebuildProjection) decision {
	return scenario.SentWithFacts(projection.Rebuild, views, c, call)
}

func skipping(event projection.SkippedEvent, c projection.SkipProjectionEvent) decision {
	return scenario.SentWithFacts(projection.Skip, event, c, call)
}

func TestRebuildAndCancel(t *testing.T) {
	cancel := scenario.SentWithFacts(projection.Cancel, views,
		projection.CancelRebuild{OfView: ofAlerts, Reasoned: domain.Because("no")}, call)
	start := scenario.For(t, projection.Decider).Strict()
	start.When(rebuilding(projection.RebuildProjection{OfView: ofUnknownView, Reasoned: domain.Because("x")})).
		ThenRefused("view_not_found")
	start.When(rebuilding(projection.RebuildProjection{OfView: ofAlerts})).ThenRefused("reason_required")
	start.When(rebuilding(projection.RebuildProjection{OfView: ofAlerts, Reasoned: domain.Because("x"), EventsPerSecond: -1})).
		ThenRefused("value_out_of_range")
	start.When(cancel).ThenRefused("no_rebuild")
	one := start.When(rebuilding(projection.RebuildProjection{OfView: ofAlertsInS, Reasoned: domain.Because("x"), EventsPerSecond: 5})).
		Then(projection.RebuildRequested{Projection: "alerts", Study: "S", Reason: "x", EventsPerSecond: 5})
	if s := one.State(); s.Wanted() != 1 || s.EventsPerSecond != 5 {
		t.Errorf("after one request the state is %+v", s)
	}
	none := one.When(cancel).Then(projection.RebuildCancelled{Projection: "alerts", Reason: "no"})
	none.When(cancel).ThenRefused("no_rebuild")
	two := none.When(rebuilding(projection.RebuildProjection{OfView: ofAlerts, Reasoned: domain.Because("again")})).
		Then(projection.RebuildRequested{Projection: "alerts", Reason: "again"})
	if s := two.State(); s.Wanted() != 2 || s.Decisions != 3 {
		t.Errorf("after the second request the state is %+v", s)
	}
}

func TestSkipRetryAndDrop(t *testing.T) {
	start := scenario.For(t, projection.Decider).Strict()
	c := projection.SkipProjectionEvent{OfView: ofAlertsInS, Version: 2, Stream: "safety-1", Revision: 3, Reasoned: domain.Because("seen to")}
	existing := projection.SkippedEvent{Views: views, Exists: true, Study: "S"}
	start.When(skipping(projection.SkippedEvent{Views: views}, c)).ThenRefused("event_not_found")
	start.When(skipping(projection.SkippedEvent{Views: views, Exists: true, Study: "T"}, c)).ThenRefused("event_not_found")
	skipped := start.When(skipping(existing, c)).Then(projection.EventSkipped{Projection: c.Projection, Study: c.Study,
		Version: c.Version, Stream: c.Stream, Revision: c.Revision, Reason: c.Reason})
	skipped.When(skipping(existing, c)).ThenRefused("event_skipped")
	s := skipped.State()
	if !s.Skips(2, "safety-1", 3) || s.Skips(1, "safety-1", 3) || s.Skips(2, "safety-1", 4) || s.Skips(2, "safety-2", 3) {
		t.Errorf("the state skips %+v", s.Skipped)
	}
	retry := projection.RetryProjection{OfView: ofAlerts, Reasoned: domain.Because("mended")}
	start.When(scenario.SentWithFacts(projection.Retry, views, retry, call)).Then(projection.Retried{Projection: "alerts", Reason: "mended"})
	drop := scenario.SentWithFacts(projection.Drop, views,
		projection.DropProjectionBuild{OfView: ofAlerts, Collection: "alerts_v1", Reasoned: domain.Because("space")}, call)
	start.When(drop).Then(projection.BuildDropped{Projection: "alerts", Collection: "alerts_v1", Reason: "space"}).
		When(drop).ThenRefused("build_dropped")
}
