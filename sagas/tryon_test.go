package sagas

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestWhatARelayTriesOnIsNeverGivenUp: however often it was delivered, while other failures are parked after some deliveries.
func TestWhatARelayTriesOnIsNeverGivenUp(t *testing.T) {
	down := errors.New("it answered 503")
	for _, before := range []int{0, deliveries, deliveriesToNewer, 1_000_000} {
		if GivesUp(before, fmt.Errorf("remind: %w", TryOn(down))) {
			t.Errorf("it is given up after %d deliveries", before)
		}
	}
	if !GivesUp(deliveries, down) {
		t.Error("what fails otherwise is not given up")
	}
}

// TestARelayRestsLongerAndLonger: and never so long that the store delivers the event to another program beside.
func TestARelayRestsLongerAndLonger(t *testing.T) {
	last := time.Duration(0)
	for before := range 1000 {
		rest := relayPause(before)
		if rest < last || rest > relayRest {
			t.Fatalf("after %d deliveries it rests %s, and %s before", before, rest, last)
		}
		last = rest
	}
	if last != relayRest || relayPause(0) > time.Second || relayRest >= relayTime/2 {
		t.Errorf("it rests from %s to %s of %s", relayPause(0), last, relayTime)
	}
}
