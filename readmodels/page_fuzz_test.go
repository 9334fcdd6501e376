package readmodels

import (
	"testing"
	"time"

	"casebook/domain/refuse"
)

// FuzzCursor reads whatever a caller sends as a cursor: it is one of this list, and then means one place, or it is refused.
func FuzzCursor(f *testing.F) {
	for _, values := range [][]any{{0.5, "patient/S.1"}, {1.0, ""}, {"a", "b"}, {0.5}, {0.5, nil}, {0.5, "a", "b"}, {time.Unix(0, 0), "a"},
		nil} {
		made, err := cursor(values...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(made)
	}
	f.Add("")
	f.Add("???")
	f.Add("W10=")
	f.Fuzz(func(t *testing.T, sent string) {
		order, id := -1.0, "untouched"
		more, err := Page{Cursor: sent}.after(&order, &id)
		if err != nil {
			if r, ok := refuse.As(err); more || !ok || r.Code != "malformed_cursor" || r.Field != "cursor" || r.Remedy == "" {
				t.Fatalf("%q is answered %v, %v", sent, more, err)
			}
			return
		}
		if more != (sent != "") {
			t.Fatalf("%q is answered %v", sent, more)
		}
		if !more {
			return
		}
		again, err := cursor(order, id)
		if err != nil {
			t.Fatal(err)
		}
		sameOrder, sameID := -2.0, ""
		if _, err := (Page{Cursor: again}).after(&sameOrder, &sameID); err != nil || sameOrder != order || sameID != id {
			t.Fatalf("%q means %v and %q, and once more %v and %q, %v", sent, order, id, sameOrder, sameID, err)
		}
	})
}
