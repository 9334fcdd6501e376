package sagas

import (
	"slices"
	"testing"
	"time"
)

func TestAgendaKeepsTheOrder(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 2, n, 0, 0, 0, 0, time.UTC) }
	var a agenda[string, int]
	for i, key := range []string{"d", "a", "c", "b", "e"} {
		a.put(key, i, day(i+1))
	}
	a.put("d", 7, day(10))
	a.put("e", 4, day(1))
	a.remove("c")
	a.remove("nobody")
	if value, ok := a.get("d"); !ok || value != 7 {
		t.Errorf("d has %d, %v", value, ok)
	}
	if _, due := a.due(day(1).Add(-time.Nanosecond)); due {
		t.Error("an appointment is due before its time")
	}
	if first, due := a.due(day(1)); !due || first.key != "e" {
		t.Errorf("due is %+v, %v", first, due)
	}
	var order []string
	for next, ok := a.first(); ok; next, ok = a.first() {
		order = append(order, next.key)
		a.remove(next.key)
	}
	if !slices.Equal(order, []string{"e", "a", "b", "d"}) {
		t.Errorf("the order is %v", order)
	}
}
