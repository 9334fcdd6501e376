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
	short, long := encode("A"), encode("an arm with a long name that could be told by its length")
	if len(short) != len(long) {
		t.Errorf("a sealed value is %d bytes long, or %d: its length tells something", len(short), len(long))
	}
	if bytes.Equal(short, encode("A")) {
		t.Error("the same value looks the same twice")
	}
	if bytes.Contains(long, []byte("long name")) {
		t.Errorf("it shows: %s", long)
	}
	back, err := r.Decode("Drawn", 1, short, keys, "S1")
	if err != nil {
		t.Fatal(err)
	}
	if arm, open := back.(drawn).Arm.Open(); !open || arm != "A" {
		t.Errorf("it opens as %q, %v", arm, open)
	}
	// Another secret, another study, a moved or damaged value: an error, and no value.
	damaged := bytes.Replace(short, []byte(`sealed:1:`), []byte(`sealed:1:AAAA`), 1)
	for name, try := range map[string]struct {
		keys  *eventlog.BlindingKeys
		study domain.StudyID
		data  []byte
	}{
		"another secret": {keysOf(t, 2), "S1", short}, "another study": {keys, "S2", short}, "no study": {keys, "", short}, "damaged": {keys, "S1", damaged},
		"in the clear": {keys, "S1", []byte(`{"arm":"A"}`)}, "no text": {keys, "S1", []byte(`{"arm":7}`)},
	} {
		if event, err := r.Decode("Drawn", 1, try.data, try.keys, try.study); err == nil {
			t.Errorf("%s: it opens as %+v", name, event)
		} else if strings.Contains(err.Error(), "A\"") {
			t.Errorf("%s: the error shows something: %v", name, err)
		}
	}
	if _, err := eventlog.NewBlindingKeys([]byte("short")); err == nil {
		t.Error("a short secret is taken")
	}
}

// A program without keys reads the same stream, knows who was drawn and not into what, and can write no such event.
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
	out, err := unblinded.Append(t.Context(), name, eventlog.EmptyTail, uuid.New(), m, drawn{Patient: "P1", Arm: blind.Of(domain.ArmID("ARM-X"))})
	if err != nil {
		t.Fatal(err)
	}
	for log, knows := range map[*eventlog.Log]bool{unblinded: true, blinded: false} {
		all := readAll(t, log, name)
		if len(all) != 1 {
			t.Fatalf("read %d events", len(all))
		}
		e := all[0].Event.(drawn)
		arm, open := e.Arm.Open()
		if e.Patient != "P1" || open != knows || knows != (arm == "ARM-X") {
			t.Errorf("with keys %v it reads %+v, %q", knows, e, arm)
		}
		if err := eventlog.CheckChain(eventlog.EmptyTail, all[0]); err != nil {
			t.Error(err)
		}
	}
	if _, err := blinded.Append(t.Context(), name, out.Tail, uuid.New(), m, drawn{Arm: blind.Of(domain.ArmID("ARM-Y"))}); err == nil {
		t.Error("a program without keys has written an arm")
	}
	if _, err := unblinded.Append(t.Context(), name, out.Tail, uuid.New(), m, readAll(t, blinded, name)[0].Event); err == nil {
		t.Error("a sealed value was written down again")
	}
}
