package diary

import (
	"testing"
	"time"
)

// TestThePrintOfAnEntryStays holds the print to what it was when it first went into the ids of held entries: with another one, an entry
// that is sent again would be held a second time.
func TestThePrintOfAnEntryStays(t *testing.T) {
	at := time.Date(2026, 10, 25, 20, 30, 0, 123, time.FixedZone("", 3600))
	got := printOf("pain-diary", "phone-1", at, Answers{"worst": 5, "least": 1.5, "rescue": false, "note": "left knee", "skipped": nil})
	if want := uint64(0x5647ff41c7edd51a); got != want {
		t.Errorf("the print is %#x, want %#x", got, want)
	}
}
