package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"casebook/cmd/casebook/contexts"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// TestR4_NobodyGetsIntoTheStoresWithoutCredentials attacks the stores of a running server as any user of the machine could:
// without credentials, and with those that may only look in.
func TestR4_NobodyGetsIntoTheStoresWithoutCredentials(t *testing.T) {
	in := install(t)
	in.account("anna")
	var urls struct{ EventStore, Mongo string }
	if err := json.Unmarshal([]byte(tool(t, exitOK, "stores", "--data", in.dir, "--json")), &urls); err != nil {
		t.Fatal(err)
	}
	if only := tool(t, exitOK, "stores", "--data", in.dir, "--only", "mongo"); strings.TrimSpace(only) != urls.Mongo {
		t.Errorf("--only mongo prints %s", only)
	}
	group := contexts.Processes()[0].Group()
	event := esdb.EventData{EventType: "RoleGranted", ContentType: esdb.ContentTypeJson, Data: []byte("{}")}
	for name, url := range map[string]string{
		"nobody": withoutUser(urls.EventStore), "unencrypted": "esdb://" + in.stores.node.Addr() + "?tls=false", "reader": urls.EventStore,
	} {
		c := esdbClient(t, url)
		if _, err := c.AppendToStream(t.Context(), "user-anna", esdb.AppendToStreamOptions{}, event); err == nil {
			t.Errorf("%s forges an event", name)
		}
		if _, err := c.TombstoneStream(t.Context(), "user-anna", esdb.TombstoneStreamOptions{}); err == nil {
			t.Errorf("%s tombstones a stream", name)
		}
		sub, err := c.SubscribeToPersistentSubscriptionToAll(t.Context(), group, esdb.SubscribeToPersistentSubscriptionOptions{})
		if err == nil {
			t.Errorf("%s joins a group of consumers", name)
			_ = sub.Close()
		}
		read, err := c.ReadAll(t.Context(), esdb.ReadAllOptions{}, 1)
		if err == nil {
			_, err = read.Recv()
			read.Close()
		}
		if (err == nil) != (name == "reader") {
			t.Errorf("%s reads: %v", name, err)
		}
	}
	owner := strings.TrimSpace(tool(t, exitOK, "stores", "--data", in.dir, "--owner", "--only", "eventstore"))
	if _, err := esdbClient(t, owner).TombstoneStream(t.Context(), "user-anna", esdb.TombstoneStreamOptions{}); err == nil {
		t.Error("the owner tombstones a stream of the trial")
	}
	sub, err := esdbClient(t, owner).SubscribeToPersistentSubscriptionToAll(t.Context(), group,
		esdb.SubscribeToPersistentSubscriptionOptions{})
	if err != nil {
		t.Errorf("the owner cannot join the group %s, so that the refusals above prove nothing: %v", group, err)
	} else {
		_ = sub.Close()
	}
	for name, url := range map[string]string{"nobody": withoutUser(urls.Mongo), "reader": urls.Mongo} {
		c, err := mongo.Connect(options.Client().ApplyURI(url))
		if err != nil {
			t.Fatal(err)
		}
		views := c.Database("casebook").Collection("user-directory_v1")
		_, err = views.UpdateOne(t.Context(), bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: "Eve"}}}})
		var refused mongo.CommandError
		if !errors.As(err, &refused) || refused.Code != 13 {
			t.Errorf("%s changes a view: %v", name, err)
		}
		if _, err := views.CountDocuments(t.Context(), bson.D{}); (err == nil) != (name == "reader") {
			t.Errorf("%s reads a view: %v", name, err)
		}
		_ = c.Disconnect(t.Context())
	}
}

// withoutUser returns a connection string without user and password.
func withoutUser(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	_, address, _ := strings.Cut(rest, "@")
	return scheme + "://" + address
}

func esdbClient(t *testing.T, url string) *esdb.Client {
	t.Helper()
	config, err := esdb.ParseConnectionString(url)
	if err != nil {
		t.Fatal(err)
	}
	config.Logger, config.MaxDiscoverAttempts = esdb.NoopLogging(), 2
	c, err := esdb.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
