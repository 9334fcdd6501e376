package store

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestIndexesAndBackupsOfAScavengedLog: indexes lose the links to scavenged events and keep their other numbers; a
// backup has the same stubs as the log.
func TestIndexesAndBackupsOfAScavengedLog(t *testing.T) {
	s := openStore(t, Options{})
	mustAppend(t, s, "cat-1", NoStream, 1, 2, 3, 4)
	mustAppend(t, s, "cat-2", NoStream, 1)
	setMetadata(t, s, "cat-1", `{"$maxCount":1}`)
	if st, err := s.Stream("$ce-cat"); err != nil || st.Last != 4 {
		t.Fatalf("%+v, %v", st, err)
	}
	scavenge(t, s, ScavengeOptions{})
	mustAppend(t, s, "cat-2", 0, 2)
	want := []string{"3: 3@cat-1", "4: 0@cat-2", "5: 1@cat-2"}
	for _, page := range []int{1, 100} {
		st, err := s.Stream("$ce-cat")
		check(t, err)
		var got []string
		for from := uint64(0); ; {
			links, err := s.ReadStreamForward(st.ID, from, nil, Page{Events: page, Bytes: 1 << 20})
			check(t, err)
			if len(links) == 0 {
				break
			}
			for _, r := range links {
				got = append(got, string(rune('0'+r.Revision))+": "+string(r.Data()))
				from = r.Revision + 1
			}
		}
		if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
			t.Errorf("the index links to %v", got)
		}
	}
	var archive bytes.Buffer
	_, err := s.Backup(t.Context(), &archive)
	check(t, err)
	report, err := Restore(t.Context(), vfs.NewMem(), "copy", &archive)
	if err != nil || report.Scavenged != 3 || report.End != s.End() {
		t.Fatalf("%+v, %v", report, err)
	}
}
