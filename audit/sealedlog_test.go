package audit_test

import (
	"bytes"
	"errors"
	"testing"

	"casebook/domain"
	"casebook/embedded/storetest"
	"casebook/eventlog"
)

// sealedLog returns an empty log of streams whose blinded values are sealed with keys that it has.
func sealedLog(t *testing.T, streams []domain.StreamType) *eventlog.Log {
	t.Helper()
	keys, err := eventlog.NewBlindingKeys(bytes.Repeat([]byte{7}, eventlog.BlindingKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	url, stop, err := storetest.EventStore(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: url, Registry: eventlog.NewRegistry(streams...), BlindingKeys: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(log.Close(), stop()); err != nil {
			t.Error(err)
		}
	})
	return log
}
