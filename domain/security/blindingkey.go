package security

import (
	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// KeyEvent is an event of the record of a key.
type KeyEvent interface{ keyEvent() }

// BlindingKeyRecorded records which blinding key the values of the log are sealed with. A process with another key does not
// start: it would seal values that the others cannot open.
type BlindingKeyRecorded struct {
	// Check is derived from the key, and does not reveal it. Another key has another check.
	Check string `json:"check"`
}

// BlindingKeyReplaced says why another blinding key is recorded than before: the former was lost, or was the wrong one. It comes
// before the BlindingKeyRecorded of the new key.
type BlindingKeyReplaced struct {
	Check string `json:"check"`
	// Replaced is the check of the key that was recorded before.
	Replaced string `json:"replaced"`
	Reason   string `json:"reason"`
}

func (BlindingKeyRecorded) keyEvent() {}
func (BlindingKeyReplaced) keyEvent() {}

// About implements domain.Described.
func (e BlindingKeyReplaced) About() string { return "the blinding key: " + e.Reason }

// About implements domain.Described.
func (BlindingKeyRecorded) About() string { return "the blinding key" }

// Key is the state of the record of a key. Its check is empty where none is recorded.
type Key struct {
	Check string
}

// KeyDecider is the decider of the record of keys. The only one that is recorded is the blinding key.
var KeyDecider = domain.Decider[Key, KeyEvent]{Category: "key", Key: ofKey, Evolve: evolveKey, Events: []domain.EventType{
	domain.Stored[BlindingKeyRecorded]("BlindingKeyRecorded").InNoView("the audit trail shows it"),
	domain.Stored[BlindingKeyReplaced]("BlindingKeyReplaced").ForReaders().InNoView("the audit trail shows it"),
}}

// BlindingKey is the id of the stream that records the blinding key.
const BlindingKey = "blinding"

// RecordBlindingKey records which blinding key the log's values are sealed with. The product itself sends it.
type RecordBlindingKey struct {
	Check string `json:"check"`
	// Replaces is the check of the recorded key, if that one was lost before it sealed any value, or is not the one that the values
	// are sealed with; empty otherwise. Reason says what happened.
	Replaces string `json:"replaces,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// RecordKey records the blinding key, unless it is recorded already. It refuses value_missing,
// value_too_long, blinding_key_differs if another key is recorded that is not replaced, and reason_required if it is replaced
// without a reason.
func RecordKey(recorded Key, cmd RecordBlindingKey, _ domain.Call) ([]KeyEvent, error) {
	if err := domain.Text("check", cmd.Check, 100); err != nil {
		return nil, err
	}
	switch recorded.Check {
	case cmd.Check:
		return nil, nil
	case "":
		if cmd.Replaces == "" {
			return []KeyEvent{BlindingKeyRecorded{Check: cmd.Check}}, nil
		}
	case cmd.Replaces:
		if err := domain.Reason(personal.Text(cmd.Reason)); err != nil {
			return nil, err
		}
		return []KeyEvent{BlindingKeyReplaced{Check: cmd.Check, Replaced: cmd.Replaces, Reason: cmd.Reason},
			BlindingKeyRecorded{Check: cmd.Check}}, nil
	}
	return nil, refuse.WrongState("blinding_key_differs", "the values of the log are sealed with another blinding key").
		At("check").Do("put the right one back from your backup")
}

func evolveKey(k Key, e KeyEvent) Key {
	if e, is := e.(BlindingKeyRecorded); is {
		k.Check = e.Check
	}
	return k
}

// ofKey is the Key of KeyDecider.
func ofKey(command any) (id string, ok bool) {
	_, ok = command.(RecordBlindingKey)
	return BlindingKey, ok
}
