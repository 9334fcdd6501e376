package user_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/scenario"
	"casebook/domain/user"
)

// TestANameNeverBecomesAPatients: what RegisterUser has recorded of a person cannot be erased, so such an account is never a patient's,
// by a role that is given or by one that is confirmed.
func TestANameNeverBecomesAPatients(t *testing.T) {
	role := user.Grant{Role: user.PatientRole, Study: "PAIN1", Patient: "PAIN1.S-1"}
	mother := user.Grant{Role: user.Caregiver, Study: "PAIN1", Patient: "PAIN1.S-1", Relation: user.RelationParent}
	named := scenario.For(t, user.Decider).Given(user.Registered{User: anna, Name: "Anna Beck"})
	if refusal := named.When(granting(role)).ThenRefused("patient_account_named"); refusal.Field != "grant.role" {
		t.Errorf("it is refused at %q", refusal.Field)
	}
	named.Given(user.RoleProposed{User: anna, Grant: role, By: boss}).When(confirmingRole(role, "deputy")).ThenRefused("patient_account_named")
	named.When(granting(mother)).Then(user.RoleGranted{User: anna, Grant: mother})
	for _, name := range []string{"", string(anna)} {
		scenario.For(t, user.Decider).Given(user.Registered{User: anna, Name: name}).When(granting(role)).
			Then(user.RoleGranted{User: anna, Grant: role})
	}
	opened := scenario.Sent(user.OpenForPatient, user.OpenPatientAccount{OfUser: domain.ForUser(anna),
		OfPatient: domain.ForPatient("PAIN1.S-1"), CodeDigest: "digest"}, by(boss))
	events, err := opened(user.User{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if registered, is := e.(user.Registered); is && registered.Name != "" {
			t.Errorf("a patient's account is opened with the name %q", registered.Name)
		}
	}
}
