package node

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		runVictim(dir)
	}
	// The official client leaves the state machine of a connection behind until its channel is closed; all tests close
	// their clients, so nothing is excused here.
	goleak.VerifyTestMain(m)
}
