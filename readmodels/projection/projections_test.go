package projection

import (
	"testing"

	"casebook/access"
	"casebook/domain/user"
	"casebook/readmodels"
)

// TestWhereAViewStoppedIsShownToThoseItConcerns and to nobody else.
func TestWhereAViewStoppedIsShownToThoseItConcerns(t *testing.T) {
	at := readmodels.BuildStatus{Checkpoint: readmodels.Checkpoint{View: "v", State: readmodels.Stopped,
		FailedAt: &readmodels.FailedAt{Study: "S", Stream: "patient-S.1", Type: "PatientScreened"}}}
	for _, c := range []struct {
		grant user.Grant
		shown bool
	}{
		{user.Grant{Role: user.DataManager, Study: "S"}, true}, {user.Grant{Role: user.Admin}, true},
		{user.Grant{Role: user.DataManager, Study: "T"}, false}, {user.Grant{Role: user.Auditor, Study: "T"}, false},
	} {
		who := access.Principal{User: "somebody", Grants: []user.Grant{c.grant}}
		if got := shownTo(who, at).FailedAt; (got != nil) != c.shown {
			t.Errorf("%+v is shown %+v", c.grant, got)
		}
	}
}
