package eventlog

import (
	"reflect"
	"testing"

	"github.com/google/uuid"
)

// TestRecentMetadataAreThoseOfTheBytes: what is kept of one event never stands for other bytes, even under its id, and names that
// readers could understand differently are not kept at all.
func TestRecentMetadataAreThoseOfTheBytes(t *testing.T) {
	r := NewRegistry()
	id := uuid.New()
	recorded := func(metadata string) *Recorded { return &Recorded{ID: id, RawMetadata: []byte(metadata)} }
	sound := `{"actor":"ana","commandId":"c","recordedAt":"2026-01-01T00:00:00Z","schema":1,"previousHash":"h"}`
	for range 2 { // decoded, then kept
		if meta, ok := r.recent.of(recorded(sound)); !ok || meta.Actor != "ana" || meta.PreviousHash != "h" {
			t.Errorf("%+v, %v", meta, ok)
		}
		if got, want := r.linkOf(recorded(sound)), linkOf(recorded(sound)); !reflect.DeepEqual(got, want) {
			t.Errorf("the link is %+v, and %+v when it is decoded alone", got, want)
		}
	}
	altered := `{"actor":"eve","commandId":"c","recordedAt":"2026-01-01T00:00:00Z","schema":1,"previousHash":"h"}`
	if meta, ok := r.recent.of(recorded(altered)); !ok || meta.Actor != "eve" {
		t.Errorf("other bytes under the same id: %+v, %v", meta, ok)
	}
	for _, doubtful := range []string{
		`{"actor":"ana","actor":"eve","schema":1,"previousHash":"h","recordedAt":"2026-01-01T00:00:00Z"}`,
		`{"Actor":"eve","schema":1,"recordedAt":"2026-01-01T00:00:00Z"}`,
		`{"actor":"ana","schema":1,"later":true,"recordedAt":"2026-01-01T00:00:00Z"}`,
		`{"actor":`, ``,
	} {
		if meta, ok := r.recent.of(recorded(doubtful)); ok {
			t.Errorf("%s is kept as %+v", doubtful, meta)
		}
		if got, want := r.linkOf(recorded(doubtful)), linkOf(recorded(doubtful)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the link is %+v, and %+v when it is decoded alone", doubtful, got, want)
		}
	}
}
