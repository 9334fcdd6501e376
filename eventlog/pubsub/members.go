package pubsub

import (
	"context"
	"errors"
	"fmt"
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

// Members returns the connections of Subscribers to the consumer groups whose names begin with a prefix, each with its group.
func Members(ctx context.Context, url, prefix string) (members []string, err error) {
	connection, err := configuration(url)
	if err != nil {
		return nil, err
	}
	client, err := esdb.NewClient(connection)
	if err != nil {
		return nil, fmt.Errorf("list the members of consumer groups: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	groups, err := client.ListPersistentSubscriptionsToAll(ctx, esdb.ListPersistentSubscriptionsOptions{})
	if esdbErr, ok := esdb.FromError(err); !ok && esdbErr.Code() == esdb.ErrorCodeResourceNotFound {
		return nil, nil // there are no groups
	}
	if err != nil {
		return nil, fmt.Errorf("list the members of consumer groups: %w", err)
	}
	for _, g := range groups {
		if !strings.HasPrefix(g.GroupName, prefix) {
			continue
		}
		for _, c := range g.Connections {
			if strings.HasPrefix(c.ConnectionName, memberPrefix) {
				members = append(members, g.GroupName+": "+c.ConnectionName+" from "+c.From)
			}
		}
	}
	slices.Sort(members)
	return members, nil
}
