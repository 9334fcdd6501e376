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
	Other   blind.Value[domain.ArmID] `json:"other,omitzero"`
}

// swapped has the same fields under another name.
type swapped drawn

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
		domain.StreamType{Category: "draw", Events: []domain.EventType{domain.Stored[drawn]("Drawn"), domain.Stored[swapped]("Swapped")}},
		domain.StreamType{Category: "note", Events: []domain.EventType{domain.Stored[noted]("Noted")}})
}

func TestR27_BlindedValuesAreSealed(t *testing.T) {
	r, keys := blindRegistry(), keysOf(t, 1)
	at := eventlog.Origin{Study: "S1", Stream: "draw-1", CommandID: "c1"}
	encode := func(arm domain.ArmID) []byte {
		t.Helper()
		_, _, data, err := r.Encode(drawn{Patient: "P1", Arm: blind.Of(arm)}, eventlog.Keys{Blinding: keys}, at)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	short, long := encode("A"), encode(domain.ArmID(strings.Repeat("<", 50))) // JSON writes each of these in six bytes
	if len(short) != len(long) {
		t.Errorf("sealed values of different arms have %d and %d bytes", len(short), len(long))
	}
	if bytes.Equal(short, encode("A")) {
		t.Error("the same value is sealed twice to the same bytes")
	}
	if bytes.Contains(long, []byte("<<")) {
		t.Errorf("the sealed value shows the arm: %s", long)
	}
	back, err := r.Decode("Drawn", 1, short, eventlog.Keys{Blinding: keys}, at)
	if err != nil {
		t.Fatal(err)
	}
	if arm, open := back.(drawn).Arm.Open(); !open || arm != "A" {
		t.Errorf("it opens as %q, %v", arm, open)
	}
	damaged := bytes.Replace(short, []byte(`sealed:2:`), []byte(`sealed:2:AAAA`), 1)
	elsewhere := func(change func(*eventlog.Origin)) eventlog.Origin {
		other := at
		change(&other)
		return other
	}
	for name, c := range map[string]struct {
		keys *eventlog.BlindingKeys
		at   eventlog.Origin
		as   string
		data []byte
	}{
		"another secret":     {keysOf(t, 2), at, "Drawn", short},
		"another study":      {keys, elsewhere(func(o *eventlog.Origin) { o.Study = "S2" }), "Drawn", short},
		"no study":           {keys, elsewhere(func(o *eventlog.Origin) { o.Study = "" }), "Drawn", short},
		"another stream":     {keys, elsewhere(func(o *eventlog.Origin) { o.Stream = "draw-2" }), "Drawn", short},
		"another command":    {keys, elsewhere(func(o *eventlog.Origin) { o.CommandID = "c2" }), "Drawn", short},
		"another event type": {keys, at, "Swapped", short},
		"another field":      {keys, at, "Drawn", bytes.Replace(short, []byte(`"arm"`), []byte(`"other"`), 1)},
		"damaged":            {keys, at, "Drawn", damaged},
		"not sealed":         {keys, at, "Drawn", []byte(`{"arm":"A"}`)},
		"not a string":       {keys, at, "Drawn", []byte(`{"arm":7}`)},
	} {
		if event, err := r.Decode(c.as, 1, c.data, eventlog.Keys{Blinding: c.keys}, c.at); err == nil {
			t.Errorf("%s: it opens as %+v", name, event)
		} else if strings.Contains(err.Error(), "A\"") {
			t.Errorf("%s: the error shows the arm: %v", name, err)
		}
	}
	if _, err := eventlog.NewBlindingKeys([]byte("short")); err == nil {
		t.Error("NewBlindingKeys accepts a secret that is too short")
	}
}

// formerlySealed is what an earlier program stored for the arm A, in study S1, under the key of 32 bytes of 1.
const formerlySealed = `{"patient":"P1","arm":"` +
	"sealed:1:ReguMyt8hODd87KRPzukWJFyjShzloe8GB2d2Iy4gQJieSHd8VVn9XDFX3hGq0YqXhEpM4iEBdmMCyUeP5DmnzYhlcGIS4kpWDiZE" +
	"MxVvQdtWaKYVsGtXhMiGzS/52zE2daT8tsPw846Ydx9NCYbXYoIbrGHeAXX+c217t4ojXoY2i6hV3fjO2gban0UqmIdMLURXkQFFyYyWyy1cWQ" +
	"s8vaGI4zFLtvqRj6Yqt3WEbJ9A89iCSfh/EV2/sUykupqRTHn+C8nxexWXXlkuxAT95hAa7iovdJbS7yBFMjl5hB1lS0cc8eZMlfRM9EqG48wP" +
	"/h2MZcqvmRF1mDv5mNhSbucaElm/1lJW0SiQ6KaRBou+3zT/V9gTg8DMyA=" + `"}`

// Values that an earlier program sealed, bound to study and event type only, open as before.
func TestFormerlySealedValuesOpen(t *testing.T) {
	r, keys := blindRegistry(), keysOf(t, 1)
	for _, at := range []eventlog.Origin{{Study: "S1"}, {Study: "S1", Stream: "draw-1", CommandID: "c1"}} {
		event, err := r.Decode("Drawn", 1, []byte(formerlySealed), eventlog.Keys{Blinding: keys}, at)
		if err != nil {
			t.Fatal(err)
		}
		if arm, open := event.(drawn).Arm.Open(); !open || arm != "A" {
			t.Errorf("it opens as %q, %v", arm, open)
		}
	}
	if _, err := r.Decode("Swapped", 1, []byte(formerlySealed), eventlog.Keys{Blinding: keys}, eventlog.Origin{Study: "S1"}); err == nil {
		t.Error("it opens as another type of event")
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
		if _, damage := log.Registry().CheckNext(eventlog.EmptyTail, all[0]); damage != nil {
			t.Error(damage.Reason)
		}
	}
	if _, err := blinded.Append(t.Context(), name, out.Tail, uuid.New(), m, drawn{Arm: blind.Of(domain.ArmID("ARM-Y"))}); err == nil {
		t.Error("a program without keys has written an arm")
	}
	if _, err := unblinded.Append(t.Context(), name, out.Tail, uuid.New(), m, readAll(t, blinded, name)[0].Event); err == nil {
		t.Error("a value was written that was still sealed")
	}
}
