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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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

// passing says whether the attempt to make the group may succeed later. Where it waits for the server, it goes on whatever the server
// says: a node that has lost its leader, or has just started, uses many codes. Only what somebody has to change ends it.
func (u *subscription) passing(err error) bool {
	return away(err) || u.config.WaitForServer && !lasting(err)
}

// away says that the server is away.
func away(err error) bool {
	switch codeOf(err) {
	case esdb.ErrorUnavailable, esdb.ErrorCodeNotLeader, esdb.ErrorCodeConnectionClosed:
		return true
	default:
		return false
	}
}

// lasting says that making the group fails until somebody changes something: the rights of the account, the server, or the program.
func lasting(err error) bool {
	if errors.Is(err, ErrMissingRight) || errors.Is(err, leader.ErrTooOld) || errors.Is(err, ErrClosed) {
		return true
	}
	switch codeOf(err) {
	case esdb.ErrorCodeAccessDenied, esdb.ErrorCodeUnauthenticated, esdb.ErrorCodeUnsupportedFeature:
		return true
	default:
		return status.Code(err) == codes.InvalidArgument // the server does not understand the filter or the settings
	}
}

// delayed says that an update may succeed later. Other failures leave the group as it is, which then works with its former settings.
func (u *subscription) delayed(err error) bool {
	switch codeOf(err) {
	case esdb.ErrorCodeDeadlineExceeded, esdb.ErrorAborted:
		return u.config.WaitForServer
	case esdb.ErrorCodeUnknown:
		return u.config.WaitForServer && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, leader.ErrNoLeader))
	default:
		return away(err)
	}
}

// makeGroup makes the group. It leaves the settings of an existing one as they are. A user who may not make groups may still
// consume from those that others made.
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
		return u.compare(settings)
	case codeOf(err) == esdb.ErrorCodeAccessDenied:
		if err := u.mustExist(); err != nil {
			return err
		}
		return u.compare(settings)
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

// compare updates a group whose settings differ, where the subscriber is configured to, and logs how it differs otherwise. It
// returns an error if the update may succeed later.
func (u *subscription) compare(settings esdb.PersistentSubscriptionSettings) error {
	info := u.describe()
	if info == nil {
		return nil
	}
	if filterDiffers(settings, *info.Settings) {
		u.logger.Error("The consumer group differs from the configuration and is left as it is",
			errors.New("the filter is a different one, so messages are missing or others are delivered; "+
				"name another group, or delete this one to have it made anew"), nil)
	}
	found := differences(settings, *info.Settings)
	if len(found) == 0 {
		return nil
	}
	why := errors.New("update the group, or delete it to have it made anew")
	if u.config.UpdateGroup {
		switch why = u.update(settings, info); {
		case why == nil:
			u.logger.Info("Updated the consumer group, because it differed from the configuration", watermill.LogFields{"differences": found})
			if u.config.OnUpdate != nil {
				u.config.OnUpdate(u.group, found)
			}
			return nil
		case u.delayed(why):
			return fmt.Errorf("update the consumer group %q: %w", u.group, why)
		}
	}
	for _, difference := range found {
		u.logger.Error("The consumer group differs from the configuration and is left as it is", fmt.Errorf("%s; %w", difference, why), nil)
	}
	return nil
}

// describe asks the server for the group. It returns nil, and logs why, if the group cannot be compared with the configuration.
func (u *subscription) describe() *esdb.PersistentSubscriptionInfo {
	info, err := ask(u, func(ctx context.Context, client *esdb.Client) (*esdb.PersistentSubscriptionInfo, error) {
		return client.GetPersistentSubscriptionInfoToAll(ctx, u.group, esdb.GetPersistentSubscriptionOptions{Deadline: &u.config.Timeout})
	})
	if err != nil || info.Settings == nil {
		u.logger.Debug("Could not compare the consumer group's settings", watermill.LogFields{"error": err})
		return nil
	}
	return info
}

var (
	errUpdatedBefore = errors.New("this subscriber has updated the group before, and another program has changed it back")
	errNoPlace       = errors.New("the group has no checkpoint yet, and would begin at the start of the log")
	errMayNotUpdate  = errors.New("the account may not update consumer groups; have an administrator update the group")
)

// update gives the group the settings. A server lets all consumers of a group connect again then, so a Subscriber does it once
// for each group: two versions of a program that run side by side would do it in turn for ever.
func (u *subscription) update(settings esdb.PersistentSubscriptionSettings, info *esdb.PersistentSubscriptionInfo) error {
	switch {
	case u.config.FromEnd && (info.Stats == nil || info.Stats.LastCheckpointedPosition == nil):
		// The client's update cannot name the end of the log. A group that has a checkpoint keeps it.
		return errNoPlace
	case u.subscriber.hasUpdated(u.group):
		return errUpdatedBefore
	}
	if marked(settings.MaxSubscriberCount) {
		// An update does not change the filter, so the group keeps the mark of the one that it has.
		settings.MaxSubscriberCount = 0
		if marked(info.Settings.MaxSubscriberCount) {
			settings.MaxSubscriberCount = info.Settings.MaxSubscriberCount
		}
	}
	options := esdb.PersistentAllSubscriptionOptions{Settings: &settings, StartFrom: esdb.Start{}, Deadline: &u.config.Timeout}
	_, err := ask(u, func(ctx context.Context, client *esdb.Client) (struct{}, error) {
		return struct{}{}, client.UpdatePersistentSubscriptionToAll(ctx, u.group, options)
	})
	switch {
	case err == nil:
		u.subscriber.noteUpdated(u.group)
	case codeOf(err) == esdb.ErrorCodeAccessDenied:
		return errMayNotUpdate
	}
	return err
}

// leastMark is the lowest mark. The server does not report a group's filter. So a group without a bound on its subscribers,
// which is the usual case, gets a bound that is never reached and identifies the filter: its mark.
const leastMark = 1 << 30

func filterMark(f esdb.SubscriptionFilter) int32 {
	h := fnv.New32a()
	fmt.Fprintf(h, "%d %q %q", f.Type, slices.Sorted(slices.Values(f.Prefixes)), f.Regex)
	return int32(leastMark | h.Sum32()&(leastMark-1))
}

// marked says whether a bound on the subscribers is the mark of a filter.
func marked(bound int32) bool { return bound >= leastMark }

// filterDiffers says whether the marks of the wanted settings and of a group are those of two filters.
func filterDiffers(want, have esdb.PersistentSubscriptionSettings) bool {
	return marked(want.MaxSubscriberCount) && marked(have.MaxSubscriberCount) && want.MaxSubscriberCount != have.MaxSubscriberCount
}

// differences describes how a group differs from the wanted settings.
func differences(want, have esdb.PersistentSubscriptionSettings) []string {
	var found []string
	differ := func(name string, want, have any) {
		if want != have {
			found = append(found, fmt.Sprintf("%s is %v instead of %v", name, have, want))
		}
	}
	bound := func(n int32) int32 {
		if marked(n) {
			return 0
		}
		return n
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
