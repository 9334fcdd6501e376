package eventlog_test

import (
	"bytes"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/eventlog"

	"github.com/google/uuid"
)

type drawn struct {
	Patient string                    `json:"patient"`
	Arm     blind.Value[domain.ArmID] `json:"arm"`
}

func keysOf(t *testing.T, b byte) *eventlog.BlindingKeys {
	t.Helper()
	keys, err := eventlog.NewBlindingKeys(bytes.Repeat([]byte{b}, eventlog.BlindingKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func blindRegistry() *eventlog.Registry {
	return eventlog.NewRegistry(
		domain.StreamType{Category: "draw", Events: []domain.EventType{domain.Stored[drawn]("Drawn")}},
		domain.StreamType{Category: "note", Events: []domain.EventType{domain.Stored[noted]("Noted")}})
}

func TestR27_BlindedValuesAreSealed(t *testing.T) {
	r, keys := blindRegistry(), keysOf(t, 1)
	encode := func(arm domain.ArmID) []byte {
		t.Helper()
		_, _, data, err := r.Encode(drawn{Patient: "P1", Arm: blind.Of(arm)}, keys, "S1")
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	short, long := encode("A"), encode("an arm with a long name that its length could reveal")
	if len(short) != len(long) {
		t.Errorf("sealed values of different arms have %d and %d bytes", len(short), len(long))
	}
	if bytes.Equal(short, encode("A")) {
		t.Error("the same value is sealed twice to the same bytes")
	}
	if bytes.Contains(long, []byte("long name")) {
		t.Errorf("the sealed value shows the arm: %s", long)
	}
	back, err := r.Decode("Drawn", 1, short, keys, "S1")
	if err != nil {
		t.Fatal(err)
	}
	if arm, open := back.(drawn).Arm.Open(); !open || arm != "A" {
		t.Errorf("it opens as %q, %v", arm, open)
	}
	damaged := bytes.Replace(short, []byte(`sealed:1:`), []byte(`sealed:1:AAAA`), 1)
	for name, c := range map[string]struct {
		keys  *eventlog.BlindingKeys
		study domain.StudyID
		data  []byte
	}{
		"another secret": {keysOf(t, 2), "S1", short},
		"another study":  {keys, "S2", short},
		"no study":       {keys, "", short},
		"damaged":        {keys, "S1", damaged},
		"not sealed":     {keys, "S1", []byte(`{"arm":"A"}`)},
		"not a string":   {keys, "S1", []byte(`{"arm":7}`)},
	} {
		if event, err := r.Decode("Drawn", 1, c.data, c.keys, c.study); err == nil {
			t.Errorf("%s: it opens as %+v", name, event)
		} else if strings.Contains(err.Error(), "A\"") {
			t.Errorf("%s: the error shows the arm: %v", name, err)
		}
	}
	if _, err := eventlog.NewBlindingKeys([]byte("short")); err == nil {
		t.Error("NewBlindingKeys accepts a secret that is too short")
	}
}

// A program without keys reads the same stream. It learns who was randomised, but not to which arm, and it cannot write
// such an event.
func TestALogWithoutKeysIsBlinded(t *testing.T) {
	open := func(keys *eventlog.BlindingKeys) *eventlog.Log {
		t.Helper()
		log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: eventStoreURL, Registry: blindRegistry(), BlindingKeys: keys})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := log.Close(); err != nil {
				t.Error(err)
			}
		})
		return log
	}
	unblinded, blinded := open(keysOf(t, 1)), open(nil)
	name, m := stream("draw"), meta("x")
	m.Study = "S1"
	draw := drawn{Patient: "P1", Arm: blind.Of(domain.ArmID("ARM-X"))}
	out, err := unblinded.Append(t.Context(), name, eventlog.EmptyTail, uuid.New(), m, draw)
	if err != nil {
		t.Fatal(err)
	}
	for log, hasKeys := range map[*eventlog.Log]bool{unblinded: true, blinded: false} {
		all := readAll(t, log, name)
		if len(all) != 1 {
			t.Fatalf("read %d events", len(all))
		}
		e := all[0].Event.(drawn)
		arm, open := e.Arm.Open()
		if e.Patient != "P1" || open != hasKeys || hasKeys != (arm == "ARM-X") {
			t.Errorf("with keys %v it reads %+v, %q", hasKeys, e, arm)
		}
		if err := eventlog.CheckChain(eventlog.EmptyTail, all[0]); err != nil {
			t.Error(err)
		}
	}
	if _, err := blinded.Append(t.Context(), name, out.Tail, uuid.New(), m, drawn{Arm: blind.Of(domain.ArmID("ARM-Y"))}); err == nil {
		t.Error("a program without keys has written an arm")
	}
	if _, err := unblinded.Append(t.Context(), name, out.Tail, uuid.New(), m, readAll(t, blinded, name)[0].Event); err == nil {
		t.Error("a value was written that was still sealed")
	}
}
