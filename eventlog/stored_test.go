package eventlog_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"

	"casebook/eventlog"

	"github.com/google/uuid"
)

// TestStoredMetadataStillRead reads metadata as earlier programs stored them. A name that was changed would lose its
// value, and with it who did what, the hash chain, or the recognition of repeated commands.
func TestStoredMetadataStillRead(t *testing.T) {
	stored, err := os.ReadFile("testdata/metadata.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var m eventlog.Metadata
	decoder := json.NewDecoder(bytes.NewReader(stored))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(m)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("metadata.golden.json has no value for %s: add the field with its name in JSON", v.Type().Field(i).Name)
		}
	}
	written, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(written) + "\n"; got != string(stored) {
		t.Errorf("stored metadata are written differently now:\n%s", got)
	}
}

// TestHashesAndIDsOfStoredEventsStay: the hash chain of everything that is recorded, and the recognition of an append
// that is sent again across an upgrade, depend on them.
func TestHashesAndIDsOfStoredEventsStay(t *testing.T) {
	command := uuid.MustParse("7b3f1a52-9a0c-4c53-b0f9-0d8f6f0f1f11")
	data, metadata := []byte(`{"patient":"PAIN1.S-0001"}`), []byte(`{"actor":"crc.berlin"}`)
	id := eventlog.EventID(command, 1, data, metadata)
	if id.String() != "f6898ab7-dd3e-51ca-a502-c6d660ff152e" {
		t.Errorf("the event's id is %s", id)
	}
	if hash := eventlog.Hash(id, "PatientScreened", data, metadata); hash != "XxDa14L3qIBJD8G2cSdCsUcU/0ucx1R3wAebhQo3mZM=" {
		t.Errorf("its hash is %s", hash)
	}
}
