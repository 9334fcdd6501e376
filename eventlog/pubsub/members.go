package pubsub

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ThreeDotsLabs/watermill"
)

// memberPrefix begins the names of the connections of Subscribers.
const memberPrefix = "watermill-"

// watchMembers looks again and again which connections the group has, until ctx ends.
func (u *subscription) watchMembers(ctx context.Context) {
	every := time.NewTicker(u.config.MembersEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			u.lookForForeign(ctx)
		}
	}
}

// lookForForeign calls OnForeign if the group has other foreign connections than before.
func (u *subscription) lookForForeign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, u.config.Timeout)
	defer cancel()
	info, err := call(ctx, u.clients, func(client *esdb.Client) (*esdb.PersistentSubscriptionInfo, error) {
		return client.GetPersistentSubscriptionInfoToAll(ctx, u.group, esdb.GetPersistentSubscriptionOptions{})
	})
	if err != nil {
		u.logger.Debug("Could not look at the members of the consumer group", watermill.LogFields{"error": err})
		return
	}
	var foreign []string
	for _, c := range info.Connections {
		if !strings.HasPrefix(c.ConnectionName, memberPrefix) {
			foreign = append(foreign, c.ConnectionName+" from "+c.From)
		}
	}
	slices.Sort(foreign)
	if !slices.Equal(foreign, u.foreign) {
		u.foreign = foreign
		u.config.OnForeign(u.group, foreign)
	}
}
