package node

import (
	"context"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
)

// serverVersion is the version of EventStoreDB that the node behaves like. Clients accept only three plain numbers.
const serverVersion = "24.10.0"

type featuresService struct {
	serverfeatures.UnimplementedServerFeaturesServer
}

// GetSupportedMethods lists the methods that the node serves, in lower case, because clients compare lower-case names.
func (featuresService) GetSupportedMethods(context.Context, *shared.Empty) (*serverfeatures.SupportedMethods, error) {
	const (
		streams = "event_store.client.streams.streams"
		ops     = "event_store.client.operations.operations"
		groups  = "event_store.client.persistent_subscriptions.persistentsubscriptions"
	)
	method := func(service, name string, features ...string) *serverfeatures.SupportedMethod {
		return &serverfeatures.SupportedMethod{ServiceName: service, MethodName: name, Features: features}
	}
	return &serverfeatures.SupportedMethods{
		EventStoreServerVersion: serverVersion,
		Methods: []*serverfeatures.SupportedMethod{
			method(streams, "append"),
			method(streams, "batchappend"),
			method(streams, "read", "position", "events"),
			method(streams, "delete"),
			method(streams, "tombstone"),
			method(groups, "create", "stream", "all"),
			method(groups, "update", "stream", "all"),
			method(groups, "delete", "stream", "all"),
			method(groups, "read", "stream", "all"),
			method(groups, "getinfo", "stream", "all"),
			method(groups, "replayparked", "stream", "all"),
			method(groups, "list", "stream", "all"),
			method(groups, "restartsubsystem"),
			method(ops, "startscavenge"),
			method(ops, "stopscavenge"),
			method(ops, "mergeindexes"),
			method(ops, "resignnode"),
			method(ops, "setnodepriority"),
			method(ops, "restartpersistentsubscriptions"),
			method("event_store.client.gossip.gossip", "read"),
			method("event_store.client.server_features.serverfeatures", "getsupportedmethods"),
		},
	}, nil
}
