package pubsub

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"casebook/eventlog/leader"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/cenkalti/backoff/v5"
)

// ErrMissingRight means that the account may not make consumer groups, and that the group is not there.
var ErrMissingRight = errors.New("the event store's account lacks a right")

// prepareGroup makes the group if it is missing. While the server is away it tries again, until the time-out.
func (u *subscription) prepareGroup() error {
	until := backoff.WithMaxElapsedTime(u.config.Timeout)
	if u.config.WaitForServer {
		until = backoff.WithMaxElapsedTime(0)
	}
	_, err := backoff.Retry(u.stopped, func() (struct{}, error) {
		err := u.makeGroup()
		switch {
		case u.stopped.Err() != nil:
			return struct{}{}, backoff.Permanent(u.ended())
		case err == nil:
			return struct{}{}, nil
		case !u.passing(err):
			return struct{}{}, backoff.Permanent(err)
		}
		u.note(err)
		if u.config.WaitForServer {
			u.logger.Error("The consumer group cannot be made yet", err, nil)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(reconnectPause()), until)
	if err != nil && u.stopped.Err() != nil {
		return u.ended()
	}
	return err
}

// passing says whether the attempt to make the group may succeed later.
func (u *subscription) passing(err error) bool {
	switch codeOf(err) {
	case esdb.ErrorUnavailable, esdb.ErrorCodeNotLeader, esdb.ErrorCodeConnectionClosed:
		return true
	case esdb.ErrorCodeDeadlineExceeded, esdb.ErrorAborted:
		return u.config.WaitForServer
	case esdb.ErrorCodeUnknown:
		return u.config.WaitForServer && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, leader.ErrNoLeader))
	default:
		return false
	}
}

// makeGroup makes the group, and leaves an existing one as it is. A user who may not make groups may still consume from
// those that others made.
func (u *subscription) makeGroup() error {
	settings := *u.config.Settings
	if settings.MaxSubscriberCount == 0 {
		settings.MaxSubscriberCount = filterMark(u.filter)
	}
	options := esdb.PersistentAllSubscriptionOptions{
		Settings: &settings, StartFrom: esdb.Start{}, Filter: &u.filter, Deadline: &u.config.Timeout,
	}
	if u.config.FromEnd {
		options.StartFrom = esdb.End{}
	}
	_, err := ask(u, func(ctx context.Context, client *esdb.Client) (struct{}, error) {
		return struct{}{}, client.CreatePersistentSubscriptionToAll(ctx, u.group, options)
	})
	switch {
	case err == nil:
		u.logger.Info("Made the consumer group", nil)
	case codeOf(err) == esdb.ErrorCodeResourceAlreadyExists:
		u.compare(settings)
	case codeOf(err) == esdb.ErrorCodeAccessDenied:
		return u.mustExist()
	default:
		return fmt.Errorf("make the consumer group %q: %w", u.group, err)
	}
	return nil
}

// mustExist joins the group for a moment: a user who may not make it may consume from it, if it exists.
func (u *subscription) mustExist() error {
	c, err := u.join()
	switch {
	case err == nil:
		c.abort()
		u.logger.Info("The user may not make consumer groups, and uses the one that exists", nil)
		return nil
	case codeOf(err) == esdb.ErrorCodeResourceNotFound:
		return fmt.Errorf("%w: the consumer group %q is not there, and the account may not make it", ErrMissingRight, u.group)
	}
	return fmt.Errorf("join the consumer group %q: %w", u.group, err)
}

// compare logs how the group differs from the settings. It does not change the group: a filter cannot be changed, and each
// change of settings breaks the connections of all consumers. Subscribers with different settings would do so in turn.
func (u *subscription) compare(settings esdb.PersistentSubscriptionSettings) {
	info, err := ask(u, func(ctx context.Context, client *esdb.Client) (*esdb.PersistentSubscriptionInfo, error) {
		return client.GetPersistentSubscriptionInfoToAll(ctx, u.group, esdb.GetPersistentSubscriptionOptions{Deadline: &u.config.Timeout})
	})
	if err != nil || info.Settings == nil {
		u.logger.Debug("Could not compare the consumer group's settings", watermill.LogFields{"error": err})
		return
	}
	for _, difference := range differences(settings, *info.Settings) {
		u.logger.Error("The consumer group differs from the configuration and is left as it is", errors.New(difference), nil)
	}
}

// leastMark is the lowest mark. The server does not report a group's filter. So a group without a bound on its subscribers,
// which is the usual case, gets a bound that is never reached and identifies the filter: its mark.
const leastMark = 1 << 30

func filterMark(f esdb.SubscriptionFilter) int32 {
	h := fnv.New32a()
	fmt.Fprintf(h, "%d %q %q", f.Type, slices.Sorted(slices.Values(f.Prefixes)), f.Regex)
	return int32(leastMark | h.Sum32()&(leastMark-1))
}

// differences describes how a group differs from the wanted settings, marks included.
func differences(want, have esdb.PersistentSubscriptionSettings) []string {
	var found []string
	differ := func(name string, want, have any) {
		if want != have {
			found = append(found, fmt.Sprintf("%s is %v instead of %v; update the group, or delete it to have it made anew",
				name, have, want))
		}
	}
	marked := func(n int32) bool { return n >= leastMark }
	bound := func(n int32) int32 {
		if marked(n) {
			return 0
		}
		return n
	}
	if marked(want.MaxSubscriberCount) && marked(have.MaxSubscriberCount) && want.MaxSubscriberCount != have.MaxSubscriberCount {
		found = append(found, "the filter is a different one, so messages are missing or others are delivered; "+
			"name another group, or delete this one to have it made anew")
	}
	differ("the maximum subscriber count", bound(want.MaxSubscriberCount), bound(have.MaxSubscriberCount))
	differ("the message time-out", want.MessageTimeout, have.MessageTimeout)
	differ("the maximum retry count", want.MaxRetryCount, have.MaxRetryCount)
	differ("the minimum checkpoint count", want.CheckpointLowerBound, have.CheckpointLowerBound)
	differ("the maximum checkpoint count", want.CheckpointUpperBound, have.CheckpointUpperBound)
	differ("the time between checkpoints", want.CheckpointAfter, have.CheckpointAfter)
	differ("the live buffer size", want.LiveBufferSize, have.LiveBufferSize)
	differ("the history buffer size", want.HistoryBufferSize, have.HistoryBufferSize)
	differ("the read batch size", want.ReadBatchSize, have.ReadBatchSize)
	differ("the consumer strategy", strings.ToLower(string(want.ConsumerStrategyName)), strings.ToLower(string(have.ConsumerStrategyName)))
	differ("whether links are resolved", want.ResolveLinkTos, have.ResolveLinkTos)
	differ("whether there are extra statistics", want.ExtraStatistics, have.ExtraStatistics)
	return found
}
