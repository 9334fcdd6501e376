package sagas

import (
	"testing"

	"casebook/domain/process"
)

// TestKeysOfRecordedStepsStay: a step that an earlier version of the program recorded is sent again with the same keys.
// With other keys its commands would be carried out twice.
func TestKeysOfRecordedStepsStay(t *testing.T) {
	key := commandKey(process.Instance{Process: "enrollment", Of: "PAIN1.S-0001"}, 3, 1)
	if key != "enrollment.PAIN1.S-0001/3/1" {
		t.Errorf("the key of a command is %q", key)
	}
	if id := refusalID("enrollment.PAIN1.S-0001/3/1"); id != "cc3099e7-f16b-52df-9ac2-df5fd840dcf6" {
		t.Errorf("the id of its refusal is %s", id)
	}
}
