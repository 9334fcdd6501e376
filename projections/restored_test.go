package projections_test

import (
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/domain/projection"
	"casebook/readmodels"
)

// TestOldDecisionsAreNotObeyedAgain: the log was restored, the views were not. The rebuilds that people asked for long ago are
// done by the first build of each view, and a build that gets the name of a dropped one is not dropped.
func TestOldDecisionsAreNotObeyedAgain(t *testing.T) {
	w := newWorldAlone(t)
	w.screen(1)
	again := contexts.Views()[0]
	for _, v := range contexts.Views() {
		w.decide(v.Name, projection.RebuildRequested{Projection: v.Name, Reason: "a document was damaged"})
	}
	w.decide(again.Name, projection.RebuildRequested{Projection: again.Name, Reason: "another one was"},
		projection.BuildDropped{Projection: again.Name, Collection: again.Collection(), Reason: "space"},
		projection.BuildDropped{Projection: again.Name, Collection: again.Collection() + "_b2", Reason: "space"})
	stop := w.run()
	defer func() { stop() }()
	w.screen(2)
	once := func(v readmodels.View) {
		t.Helper()
		b := w.builds(v)
		if b.Building != nil || len(b.Kept) != 0 || v.Name != again.Name && b.Active.Collection != v.Collection() {
			t.Errorf("the builds of %s are %+v", v.Name, b)
		}
	}
	for _, v := range contexts.Views() {
		w.wait(v)
		once(v)
	}
	first := w.builds(again).Active.Collection
	if first == again.Collection() || first == again.Collection()+"_b2" {
		t.Errorf("the build %s has the name of one that was dropped", first)
	}
	stop() // and nothing is obeyed when the engine starts again
	stop = w.run()
	w.screen(3)
	for _, v := range contexts.Views() {
		w.wait(v)
		once(v)
	}
	w.decide(again.Name, projection.RebuildRequested{Projection: again.Name, Reason: "it was restored wrongly"})
	until(t, func() bool { return w.builds(again).Active.Request == 3 })
	if b := w.builds(again); len(b.Kept) != 1 || b.Kept[0].Collection != first || b.Active.Collection == first {
		t.Errorf("after a new request the builds are %+v", b)
	}
}
