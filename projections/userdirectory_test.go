package projections_test

import (
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/projections"
	userprojections "casebook/projections/user"
	"casebook/readmodels"
	userviews "casebook/readmodels/user"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestTheDirectoryShowsAccountsAndTheirGrants(t *testing.T) {
	site, whole, self := user.Grant{Role: user.CRC, Study: "S", Site: "01"}, user.Grant{Role: user.Auditor, Study: "T"},
		user.Grant{Role: user.PatientRole, Study: "U", Patient: "U.1"}
	var events []projections.Envelope
	at := func(n int) time.Time { return recordedAt.Add(time.Duration(n) * time.Minute) }
	for n, event := range []any{
		user.Registered{User: "nurse", Name: "A. Nurse"}, user.PasswordSet{User: "nurse", Digest: "$argon2id$secret"},
		user.RoleGranted{User: "nurse", Grant: site},
		user.RoleGranted{User: "nurse", Grant: whole}, user.RoleGranted{User: "nurse", Grant: self},
		user.SignInFailed{User: "nurse", Code: "wrong_password"},
		user.SignedIn{User: "nurse"}, user.RoleRevoked{User: "nurse", Grant: whole, Reason: "done"}, user.SignInFailed{User: "nurse"},
		user.SignInFailed{User: "nurse"},
		user.Locked{User: "nurse"}, // by failed sign-ins, under an earlier version: it locks nothing any more
		user.Locked{User: "nurse", Reason: "stolen phone"},
	} {
		e := envelope("user-nurse", event, eventlog.Metadata{Actor: "admin", RecordedAt: at(n)})
		e.Position = domain.Position{Commit: uint64(100 + n), Prepare: uint64(100 + n)}
		events = append(events, e)
	}
	failed, set := at(9), at(1)
	want := &userviews.User{Header: readmodels.Header{ID: "nurse", Position: 111}, User: "nurse", Name: "A. Nurse",
		Status: userviews.UserLocked, Since: at(11), Reason: "stolen phone",
		RegisteredAt: at(0), RegisteredBy: "admin", LastSignInAt: at(6), LastFailedAt: &failed, FailedSignIns: 2, PasswordSetAt: &set,
		Grants:  []userviews.Granted{{Grant: site, By: "admin", At: at(2)}, {Grant: self, By: "admin", At: at(4)}},
		StaffOf: []domain.StudyID{"S"}}
	documents := fold(t, userprojections.UserDirectory, events)
	if diff := cmp.Diff(map[string]readmodels.Document{"nurse": want}, documents); diff != "" {
		t.Error(diff)
	}
	raw, err := bson.Marshal(documents["nurse"])
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "secret") {
		t.Error("it holds the password's digest")
	}
	want.OnlyIn("S")
	if len(want.Grants) != 1 || want.Grants[0].Grant != site {
		t.Errorf("somebody in the study sees %+v", want.Grants)
	}
}
