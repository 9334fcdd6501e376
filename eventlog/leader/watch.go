package leader

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// watchEvery is how often a node is asked whether it still leads, and watchElection how often while it does not.
	watchEvery    = 500 * time.Millisecond
	watchElection = 100 * time.Millisecond
)

// Watch returns when a node is to be left, with the reason: it does not answer, or another node leads. It returns nil when
// ctx ends. Watch asks at once when suspected receives a value.
func (f *Finder) Watch(ctx context.Context, node Node, suspected <-chan struct{}) error {
	wait := watchEvery
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-suspected:
		case <-time.After(wait):
		}
		wait = watchEvery
		timeout := f.settings.KeepAliveTimeout
		if timeout <= 0 {
			timeout = keepAliveTimeout
		}
		asking, cancel := context.WithTimeout(ctx, timeout)
		members, err := f.gossip(asking, node.Address)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the caller has stopped it
		case status.Code(err) == codes.Unimplemented:
			continue // it has no others beside it
		case err != nil:
			return fmt.Errorf("%s does not answer: %w", node.Address, err)
		case !node.Clustered && len(members) <= 1:
			continue
		}
		t := told{by: node.Address, members: members}
		switch leads := t.leader(); {
		case leads == node.Address:
		case leads != "" && (len(members) > 1 || node.Clustered):
			return fmt.Errorf("%s does not lead any more, and %s does", node.Address, leads)
		default:
			// There is an election, or the node is cut off from the others: somebody else may know the leader.
			attempting, cancel := context.WithTimeout(ctx, f.timeout())
			other, err := f.attempt(attempting)
			cancel()
			if err == nil && other.Address != node.Address {
				return fmt.Errorf("%s does not lead any more, and %s does", node.Address, other.Address)
			}
			wait = watchElection
		}
	}
}
