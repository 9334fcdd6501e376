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
	// The official client keeps a goroutine per connection until it is closed. All tests close their clients, so no
	// goroutine is excepted here.
	goleak.VerifyTestMain(m)
}
