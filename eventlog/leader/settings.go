// Package leader finds the node of an EventStoreDB cluster that leads, and watches whether it still does. All requests go
// to that node: others lag behind it, so that an end of the log that one node tells means nothing to another.
//
// Where to begin: settings.go reads connection strings, finder.go finds the leader, watch.go watches it.
package leader

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

const (
	// A node that does not answer for this long is left, unless the connection string names other values.
	keepAliveInterval = 2 * time.Second
	keepAliveTimeout  = 2 * time.Second
	// gossipTimeout bounds the wait for what one node knows of the others, in seconds, as the client counts it.
	gossipTimeout = 1
)

// Settings returns the settings of a connection string, with defaults of our own for what it does not name. The error does
// not contain the connection string, which may hold a password.
func Settings(connection string) (*esdb.Configuration, error) {
	settings, err := esdb.ParseConnectionString(connection)
	if err != nil {
		return nil, errors.New("the event store's connection string is malformed; it should look like " +
			"esdb://user:password@host:2113?tls=true, or esdb://user:password@a:2113,b:2113,c:2113 for a cluster")
	}
	if err := settings.Validate(); err != nil {
		return nil, fmt.Errorf("the event store's connection string: %w", err)
	}
	if settings.NodePreference != esdb.NodePreferenceLeader {
		return nil, fmt.Errorf("the event store's connection string prefers nodes of the kind %q: others than the leader lag behind it; "+
			"leave nodePreference out", settings.NodePreference)
	}
	named := namedIn(connection)
	if !named["keepaliveinterval"] {
		settings.KeepAliveInterval = keepAliveInterval
	}
	if !named["keepalivetimeout"] {
		settings.KeepAliveTimeout = keepAliveTimeout
	}
	if !named["gossiptimeout"] {
		settings.GossipTimeout = gossipTimeout
	}
	settings.Logger = esdb.NoopLogging() // failures are returned as errors
	// A client whose search for its server fails is thrown away: it never recovers, and blocks its callers while it searches.
	settings.MaxDiscoverAttempts = 1
	return settings, nil
}

// namedIn returns the settings that a connection string names, in lower case.
func namedIn(connection string) map[string]bool {
	named := map[string]bool{}
	_, query, _ := strings.Cut(connection, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return named
	}
	for name := range values {
		named[strings.ToLower(name)] = true
	}
	return named
}

// Addresses returns the addresses that the settings name, for messages.
func Addresses(settings *esdb.Configuration) string {
	if len(settings.GossipSeeds) == 0 {
		return settings.Address
	}
	var all []string
	for _, seed := range settings.GossipSeeds {
		all = append(all, seed.String())
	}
	return strings.Join(all, ",")
}
