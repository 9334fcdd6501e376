package persistent_test

import (
	"maps"
	"testing"

	"casebook/domain/persistent"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Every version is as a plain map would be, also after others were made from it.
func TestOldVersionsStayAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m persistent.Map[int, int]
		plain := map[int]int{}
		type version struct {
			m    persistent.Map[int, int]
			want map[int]int
		}
		var versions []version
		for i := range rapid.IntRange(0, 300).Draw(t, "changes") {
			key := rapid.IntRange(0, 40).Draw(t, "key")
			if rapid.IntRange(0, 3).Draw(t, "what") == 0 {
				m = m.Delete(key)
				delete(plain, key)
			} else {
				m = m.Set(key, i)
				plain[key] = i
			}
			versions = append(versions, version{m, maps.Clone(plain)})
			if i%50 == 49 { // changes go on from an old version too
				old := rapid.SampledFrom(versions).Draw(t, "version")
				m, plain = old.m, maps.Clone(old.want)
			}
		}
		for _, v := range versions {
			if diff := cmp.Diff(v.want, maps.Collect(v.m.All())); diff != "" || v.m.Len() != len(v.want) || !maps.Equal(v.want, v.m.Plain()) {
				t.Fatalf("a version has changed (-want +got):\n%s", diff)
			}
			for key := range 41 {
				want, there := v.want[key]
				if got, ok := v.m.Get(key); ok != there || got != want {
					t.Fatalf("%d is %d, %v; want %d, %v", key, got, ok, want, there)
				}
			}
		}
		for range (persistent.Map[int, int]{}).All() {
			t.Fatal("the empty map has something")
		}
	})
}
