package user_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/scenario"
	"casebook/domain/user"
)

func TestActivation(t *testing.T) {
	of, at := domain.ForPatient("PAIN1.S-0001"), by("crc").At
	opening := scenario.Sent(user.OpenForPatient, user.OpenPatientAccount{OfUser: domain.ForUser(anna), OfPatient: of, CodeDigest: "d1"},
		by("crc"))
	issued := user.ActivationCodeIssued{User: anna, Patient: of.Patient, Digest: "d1", Until: at.AddDate(0, 0, user.ActivationDays)}
	grant := user.RoleGranted{User: anna, Grant: user.Grant{Role: user.PatientRole, Study: "PAIN1", Patient: of.Patient}}
	activating := func(right bool, device user.DeviceID, days int) decision {
		call := by("process:sign-in")
		call.At = at.AddDate(0, 0, days)
		return scenario.Sent(user.Activate, user.Activation{OfUser: domain.ForUser(anna), CodeRight: right, PasswordDigest: "p1",
			Device: user.DeviceAtSignIn{ID: device}}, call)
	}
	wrong := user.SignInFailed{User: anna, Code: "wrong_activation_code"}
	opened := scenario.For(t, user.Decider).When(opening).Then(user.Registered{User: anna}, grant, issued)
	opened.When(opening).ThenRefused("user_exists")
	opened.When(activating(false, "phone-1", 0)).Then(wrong)
	opened.When(activating(true, "phone-1", user.ActivationDays)).Then(wrong) // no longer good
	opened.When(activating(true, "", 0)).Then(wrong)
	active := opened.When(activating(true, "phone-1", user.ActivationDays-1)).Then(user.AccountActivated{User: anna},
		user.PasswordSet{User: anna, Digest: "p1"}, user.SignedIn{User: anna}, enrolled("phone-1", 1))
	active.When(activating(true, "phone-1", 0)).Then(wrong) // it was used
	active.Given(user.Locked{User: anna, Reason: "r"}).When(activating(true, "phone-1", 0)).
		Then(user.SignInFailed{User: anna, Code: "account_locked"})

	issuing := func(lost bool, reason string) decision {
		return scenario.Sent(user.IssueCode, user.IssueActivationCode{OfUser: domain.ForUser(anna), OfPatient: of, PhoneLost: lost,
			Reasoned: domain.Because(reason), CodeDigest: "d1"}, by("crc"))
	}
	another := issued
	another.Reason = "stolen"
	active.When(issuing(true, " ")).ThenRefused("reason_required")
	active.When(issuing(false, "stolen")).Then(another)
	replaced := active.When(issuing(true, "stolen")).Then(another, user.DeviceRevoked{User: anna, Device: "phone-1", Reason: "stolen"})
	// A device whose sessions have ended may be the lost one too. What comes from it is not taken as the patient's any more.
	ended := active.Given(user.SessionsEnded{User: anna, Version: 1}).When(issuing(true, "stolen")).
		Then(another, user.DeviceRevoked{User: anna, Device: "phone-1", Reason: "stolen"})
	if u := ended.State(); u.HasEnrolled("phone-1") || !u.HasRevoked("phone-1") || u.Trusts("phone-1") {
		t.Errorf("a lost device is still trusted: %+v", u)
	}
	call := by("process:sign-in")
	replaced.When(activating(true, "phone-2", 0)).Then(user.AccountActivated{User: anna}, user.PasswordSet{User: anna, Digest: "p1"},
		user.SessionsEnded{User: anna, Version: 1, At: call.At, Cause: user.PasswordChanged}, user.SignedIn{User: anna}, enrolled("phone-2", 2))
	active.Given(user.RoleGranted{User: anna, Grant: user.Grant{Role: user.CRC, Study: "PAIN1", Site: "01"}}).
		When(issuing(false, "r")).ThenRefused("not_a_patients_account")
}
