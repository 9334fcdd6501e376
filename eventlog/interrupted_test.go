package eventlog

import (
	"errors"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestWhateverAServerSaysASubscriptionGoesOn: a node that has lost its leader answers with many codes, and none of them ends who
// follows.
func TestWhateverAServerSaysASubscriptionGoesOn(t *testing.T) {
	l := &Log{settings: &esdb.Configuration{}}
	for code := codes.Canceled; code < codes.Unauthenticated; code++ {
		var interrupted *interruption
		if err := l.interrupted(status.Error(code, "no leader")); !errors.As(err, &interrupted) && code != codes.PermissionDenied {
			t.Errorf("after %s the subscription ends with %v", code, err)
		}
	}
	own := errors.New("an event that cannot be decoded")
	if err := l.interrupted(own); !errors.Is(err, own) || errors.As(err, new(*interruption)) {
		t.Errorf("an error of the program's own becomes %v", err)
	}
}
