package readmodels_test

import (
	"reflect"
	"testing"

	"casebook/readmodels"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// bookkeeping is what earlier programs stored about a view, by collection. A program that read it differently would build
// the view anew, or keep it beside another program.
var bookkeeping = map[string]string{
	"builds": `{"_id":"patient-list","token":{"$numberLong":"7"},
		"live":{"collection":"patient-list_v2_b2","version":2,"request":1,"begun":{"$date":"2026-03-01T10:00:00Z"}},
		"building":{"collection":"patient-list_v2_b3","version":2,"request":2,"begun":{"$date":"2026-03-02T10:00:00Z"}},
		"kept":[{"collection":"patient-list_v1","version":1,"request":0,"begun":{"$date":"2026-02-01T10:00:00Z"}}],
		"count":3,"request":1,"since":{"$date":"2026-03-01T11:00:00Z"}}`,
	"checkpoints": `{"_id":"patient-list_v2_b2","view":"patient-list","version":2,
		"position":{"commit":{"$numberLong":"48210"},"prepare":{"$numberLong":"48200"}},"state":"stopped","reason":"it cannot be folded",
		"events":{"$numberLong":"1200"},"batch":3,"lastEventAt":{"$date":"2026-03-01T11:59:00Z"},"lagMillis":{"$numberLong":"12"},
		"at":{"$date":"2026-03-01T12:00:00Z"},"token":{"$numberLong":"7"},
		"failedAt":{"study":"PAIN1","stream":"patient-PAIN1.S-0001","revision":{"$numberLong":"4"},"type":"Enrolled",
			"position":{"commit":{"$numberLong":"48211"},"prepare":{"$numberLong":"48211"}}},
		"leftOut":[{"study":"PAIN1","stream":"patient-PAIN1.S-0002","revision":{"$numberLong":"3"},"type":"Enrolled",
			"position":{"commit":{"$numberLong":"48000"},"prepare":{"$numberLong":"48000"}},"reason":"it cannot be read",
			"since":{"$date":"2026-03-01T12:00:00Z"},"unreadable":true,"reconsidered":2}],
		"complete":true,"rate":150.5,"remainingMillis":{"$numberLong":"900"},"end":{"$numberLong":"50000"},
		"last":{"stream":"patient-PAIN1.S-0001","revision":{"$numberLong":"3"},"id":"8d9c6a52-7a53-5f0e-9a53-6f1de7a3c6b1",
			"position":{"commit":{"$numberLong":"48205"},"prepare":{"$numberLong":"48205"}}},
		"lost":{"since":{"$date":"2026-03-01T12:30:00Z"},"requests":1}}`,
	"leases": `{"_id":"patient-list","holder":"host/17/5d9e1b0c","token":{"$numberLong":"7"},"beat":{"$numberLong":"19"},
		"since":{"$date":"2026-03-01T10:00:00Z"},"renewed":{"$date":"2026-03-01T12:00:00Z"},"lastsMillis":{"$numberLong":"10000"}}`,
}

// TestStoredBookkeepingStillReads stores it as earlier programs did, reads it, and looks for values that were not found.
func TestStoredBookkeepingStillReads(t *testing.T) {
	database := newDatabase()
	s := connect(t, database)
	client, err := driver.Connect(options.Client().ApplyURI(mongoURL))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(t.Context()) }()
	view := readmodels.View{Name: "patient-list", Version: 2}
	builds := func() (any, error) { return s.BuildsOf(t.Context(), view) }
	for collection, read := range map[string]func() (any, error){
		"builds":      builds,
		"checkpoints": func() (any, error) { return s.LoadBuildCheckpoint(t.Context(), view, "patient-list_v2_b2") },
		"leases":      func() (any, error) { return s.LeaseOf(t.Context(), view.Name) },
	} {
		var stored bson.D
		if err := bson.UnmarshalExtJSON([]byte(bookkeeping[collection]), false, &stored); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Database(database).Collection(collection).InsertOne(t.Context(), stored); err != nil {
			t.Fatal(err)
		}
		got, err := read()
		if err != nil {
			t.Fatal(err)
		}
		value := reflect.ValueOf(got)
		for i := range value.NumField() {
			if field := value.Type().Field(i); value.Field(i).IsZero() {
				t.Errorf("the field %s of %s has no value: is it stored under another name now?", field.Name, collection)
			}
		}
		raw, err := bson.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var written, want map[string]any
		if err := bson.Unmarshal(raw, &written); err != nil {
			t.Fatal(err)
		}
		before, err := bson.Marshal(stored)
		if err != nil {
			t.Fatal(err)
		}
		if err := bson.Unmarshal(before, &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, written); diff != "" {
			t.Errorf("%s is written differently now (-stored +now):\n%s", collection, diff)
		}
	}
}
