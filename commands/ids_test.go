package commands

import (
	"testing"

	"casebook/access"
)

// TestCommandIDsStay: who sends a command again after an upgrade is recognised by the id that is derived from account and
// key. With another id the command would be carried out twice.
func TestCommandIDsStay(t *testing.T) {
	r := Request{Principal: access.Principal{User: "crc.berlin"}, Key: "evening-1"}
	if id := r.commandID().String(); id != "72243cfd-cae9-56cc-a0c7-4d3f69edb475" {
		t.Errorf("the command's id is %s", id)
	}
}
