package sagas_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"casebook/access"
	usercommands "casebook/commands/user"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
	"casebook/notify"
	userprocesses "casebook/sagas/user"
)

// TestR16_GuessedPasswordsAreToldToPeople: the alarm about an account is sent to every channel, once an hour at most. So is
// what the operator of the machine does alone.
func TestR16_GuessedPasswordsAreToldToPeople(t *testing.T) {
	w := newWorld(t, 10)
	if w.shared {
		t.Skip("it appoints the first administrator of a record")
	}
	broker := &recorder{name: "broker"}
	mail := &recorder{name: "email", fail: func(n int) error {
		if n < 2 {
			return errors.New("the server is away")
		}
		return nil
	}}
	refusing := &recorder{name: "webhook", fail: func(int) error { return fmt.Errorf("no: %w", notify.ErrRejected) }}
	w.drive(broker, mail, refusing)
	operator, of := access.Process("operator/carla"), domain.ForUser("anna")
	w.must(operator, user.RegisterUser{OfUser: of, Name: "Anna", Password: "gravel lantern oboe thicket"})
	w.must(operator, user.GrantRole{OfUser: of, Grant: user.Grant{Role: user.Admin}})
	for i := range 12 { // each from another network, so that none is delayed
		entered := usercommands.Entered{User: "anna", Password: "wrong", Address: fmt.Sprintf("192.0.2.%d", i)}
		_, err := usercommands.SignIn(t.Context(), w.handler, entered)
		if r, is := refuse.As(err); !is || r.Code != "sign_in_failed" {
			t.Fatal(err)
		}
	}
	for _, channel := range []*recorder{broker, mail} {
		for began := time.Now(); len(channel.ids()) < 2 && time.Since(began) < time.Minute; time.Sleep(5 * time.Millisecond) {
		}
	}
	for _, channel := range []*recorder{broker, mail} {
		found := map[string]int{}
		for _, m := range channel.got {
			var about userprocesses.AccountMessage
			if err := json.Unmarshal(m.Payload, &about); err != nil || about.User != "anna" || m.Topic != userprocesses.AccountTopic {
				t.Errorf("%s got %+v, %v", channel.name, m, err)
			}
			found[about.Event]++
		}
		if len(found) != 2 || found["FirstAdministratorAppointed"] != 1 || found["PasswordGuessingSuspected"] != 1 {
			t.Errorf("%s got %v", channel.name, found)
		}
	}
}
