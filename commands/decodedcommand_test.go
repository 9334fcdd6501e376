package commands_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"testing"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain/canonical"
	"casebook/domain/patient"
	sagas "casebook/domain/process"
	"casebook/domain/user"
	"casebook/eventlog"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// TestProcessesSendCommandsAsTheyAre: what a process sends without encoding it is recorded as if it had been sent as JSON.
func TestProcessesSendCommandsAsTheyAre(t *testing.T) {
	p := run(t)
	sender := access.Process("enrollment")
	take := sagas.TakeStep{Step: sagas.StepTaken{Instance: sagas.Instance{Process: "enrollment", Of: uuid.NewString()}, Trigger: "t",
		TriggerType: "T <&>", Stage: "waits", State: []byte(`{"n":1.0}`),
		Commands: []sagas.Command{{Name: "HoldStock", Body: []byte(`{"a":"b"}`)}}},
		Set: []sagas.Timer{{Name: sagas.AnswerTimer, At: time.Now()}}}
	var recorded [2][]eventlog.Recorded
	for i, request := range []commands.Request{{Command: take}, {}} {
		if i == 1 {
			other := take
			other.Step.Instance.Of = uuid.NewString()
			request.Body, _ = encoded(t, other)
		}
		request.Name, request.Principal = "TakeStep", sender
		request.Recorded = func(events []eventlog.Recorded) { recorded[i] = events }
		if _, err := p.Do(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	one, other := recorded[0][0].Event.(sagas.StepTaken), recorded[1][0].Event.(sagas.StepTaken)
	other.Of = one.Of
	if diff := cmp.Diff(one, other); diff != "" || len(recorded[0]) != len(recorded[1]) {
		t.Errorf("the steps differ: %s", diff)
	}
	text, err := canonical.JSON(take)
	if err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256(append([]byte("TakeStep\x00"), text...))
	if got := recorded[0][0].Metadata.CommandHash; got != base64.StdEncoding.EncodeToString(want[:]) {
		t.Errorf("its hash %s is not that of its JSON", got)
	}
}

func TestOnlyProcessesSendCommandsAsTheyAre(t *testing.T) {
	p := run(t)
	for name, r := range map[string]commands.Request{
		"a person":                  {Name: "ScreenPatient", Command: patient.ScreenPatient{}, Principal: access.Principal{User: "crc"}},
		"with a key":                {Name: "TakeStep", Command: sagas.TakeStep{}, Key: "k", Principal: access.Process("enrollment")},
		"a command of another name": {Name: "TakeStep", Command: user.RegisterUser{}, Principal: access.Process("enrollment")},
	} {
		if answer, err := p.Do(context.Background(), r); err == nil {
			t.Errorf("%s: %+v", name, answer)
		}
	}
}
