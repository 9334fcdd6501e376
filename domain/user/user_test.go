package user_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/user"

	"pgregory.net/rapid"
)

const (
	anna = domain.UserID("anna")
	boss = domain.UserID("boss")
)

func by(actor domain.UserID) domain.Call {
	return domain.Call{At: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), Actor: actor}
}

type decision = func(user.User) ([]user.Event, error)

func registering(id domain.UserID, name, digest string) decision {
	return scenario.Sent(user.Register, user.RegisterUser{OfUser: domain.ForUser(id), Name: name, PasswordDigest: digest}, by(boss))
}

func changing(actor domain.UserID) decision {
	return scenario.Sent(user.SetPassword, user.ChangePassword{OfUser: domain.ForUser(anna), PasswordDigest: "digest-2"}, by(actor))
}

func signingIn(matches bool) decision { return entering(user.EnteredSecrets{Password: matches}) }

func entering(entered user.EnteredSecrets) decision {
	return scenario.SentWithFacts(user.EnterPassword, entered, user.SignIn{User: anna}, by("process:sign-in"))
}

func granting(g user.Grant) decision { return grantingBy(g, boss) }

func grantingBy(g user.Grant, actor domain.UserID) decision {
	return scenario.Sent(user.GiveRole, user.GrantRole{OfUser: domain.ForUser(anna), Grant: g}, by(actor))
}

func confirmingRole(g user.Grant, actor domain.UserID) decision {
	return scenario.Sent(user.ConfirmGrant, user.ConfirmRole{OfUser: domain.ForUser(anna), Grant: g}, by(actor))
}

func confirming(actor domain.UserID) decision {
	return scenario.Sent(user.Confirm, user.ConfirmAccount{OfUser: domain.ForUser(anna)}, by(actor))
}

func locking(reason string, actor domain.UserID) decision {
	return scenario.Sent(user.Lock, user.LockUser{OfUser: domain.ForUser(anna), Reasoned: domain.Because(reason)}, by(actor))
}

func unlocking(reason string, actor domain.UserID) decision {
	return scenario.Sent(user.Unlock, user.UnlockUser{OfUser: domain.ForUser(anna), Reasoned: domain.Because(reason)}, by(actor))
}

func signingOut(actor domain.UserID) decision {
	return scenario.Sent(user.EndSessions, user.SignOut{OfUser: domain.ForUser(anna)}, by(actor))
}

func ended(version int, cause user.EndCause) user.SessionsEnded {
	return user.SessionsEnded{User: anna, Version: version, At: by(anna).At, Cause: cause}
}

func revoking(g user.Grant, reason string, actor domain.UserID) decision {
	return scenario.Sent(user.TakeRole, user.RevokeRole{OfUser: domain.ForUser(anna), Grant: g, Reasoned: domain.Because(reason)}, by(actor))
}

func deactivating(reason string, actor domain.UserID) decision {
	return scenario.Sent(user.Deactivate, user.DeactivateUser{OfUser: domain.ForUser(anna), Reasoned: domain.Because(reason)}, by(actor))
}

var (
	registered  = user.Registered{User: anna, Name: "Anna Beck"}
	passwordSet = user.PasswordSet{User: anna, Digest: "digest-1"}
	newPassword = user.PasswordSet{User: anna, Digest: "digest-2"}
	signedIn    = user.SignedIn{User: anna}
	wrong       = user.SignInFailed{User: anna, Code: "wrong_password"}
	locked      = user.Locked{User: anna, Reason: "stolen phone"}
	lockedOfOld = user.Locked{User: anna} // by failed sign-ins, under an earlier version
	unlocked    = user.Unlocked{User: anna, Reason: "phone found"}
	handedOut   = user.PasswordHandedOut{User: anna, By: boss, Confirm: true}
	deactivated = user.Deactivated{User: anna, Reason: "left"}
	crc         = user.Grant{Role: user.CRC, Study: "PAIN1", Site: "A"}
	admin       = user.Grant{Role: user.Admin}
)

func account(t testing.TB) scenario.Given[user.User, user.Event] {
	return scenario.For(t, user.Decider).Strict().Given(registered, passwordSet)
}

func lockedAccount(t testing.TB) scenario.Given[user.User, user.Event] {
	return account(t).Given(locked, ended(1, user.AccountLocked))
}

func TestRegister(t *testing.T) {
	start := scenario.For(t, user.Decider).Strict()
	start.When(registering(anna, "Anna Beck", "digest-1")).Then(registered, passwordSet, handedOut)
	byRoot := domain.UserID("process:operator/root")
	byOperator := user.RegisterUser{OfUser: domain.ForUser(anna), Name: "Anna Beck", PasswordDigest: "digest-1"}
	start.When(scenario.Sent(user.Register, byOperator, by(byRoot))).
		Then(registered, passwordSet, user.PasswordHandedOut{User: anna, By: byRoot, Confirm: true},
			user.ConfirmationRequired{User: anna, By: byRoot, People: 1})
	start.When(registering(anna, "Anna Beck", "")). // an identity provider has the password
							Then(registered, user.ConfirmationRequired{User: anna, By: boss, People: 1})
	start.When(registering("Anna", "Anna Beck", "")).ThenRefused("malformed_id")
	start.When(registering("process:x", "Anna Beck", "")).ThenRefused("malformed_id")
	start.When(registering(anna, " ", "")).ThenRefused("value_missing")
	start.When(registering(anna, strings.Repeat("x", 201), "")).ThenRefused("value_too_long")
}

func TestR14_UserIDsAreNeverReused(t *testing.T) {
	account(t).When(registering(anna, "Another Anna", "digest")).ThenRefused("user_exists")
	account(t).Given(deactivated).When(registering(anna, "Another Anna", "digest")).ThenRefused("user_exists")
	lockedAccount(t).When(registering(anna, "Another Anna", "digest")).ThenRefused("user_exists")
}

// TestR16_FailuresRaiseAnAlarmAndLockNobodyOut: a stranger who knows an id gets no further than an alarm.
func TestR16_FailuresRaiseAnAlarmAndLockNobodyOut(t *testing.T) {
	given := account(t).When(signingIn(true)).Then(signedIn)
	for n := 1; n <= 50; n++ {
		outcome := given.When(signingIn(false))
		if n == 5 {
			given = outcome.Then(wrong, user.PasswordGuessingSuspected{User: anna, Failures: n, At: by(anna).At})
		} else {
			given = outcome.Then(wrong)
		}
	}
	// The alarm is raised again after an hour, and not sooner, whether the owner has signed in meanwhile or not.
	later := func(after time.Duration) decision {
		call := domain.Call{At: by(anna).At.Add(after), Actor: "process:sign-in"}
		return scenario.SentWithFacts(user.EnterPassword, user.EnteredSecrets{}, user.SignIn{User: anna}, call)
	}
	given.When(later(59 * time.Minute)).Then(wrong)
	given.When(later(time.Hour)).Then(wrong, user.PasswordGuessingSuspected{User: anna, Failures: 51, At: by(anna).At.Add(time.Hour)})
	again := given.When(signingIn(true)).Then(signedIn)
	for range 10 {
		again = again.When(later(30 * time.Minute)).Then(wrong)
	}
	given = given.When(signingIn(true)).Then(signedIn)
	if s := given.State(); s.Locked || s.Sessions != 0 || s.FailedSignIns != 0 {
		t.Errorf("the account is %+v", s)
	}
}

// TestR16_LocksByFailuresHoldNobodyBackAnyMore: earlier versions recorded locks without a reason.
func TestR16_LocksByFailuresHoldNobodyBackAnyMore(t *testing.T) {
	given := account(t).Given(wrong, wrong, wrong, wrong, wrong, lockedOfOld)
	given.When(signingIn(true)).Then(signedIn)
	given.When(unlocking("found", boss)).ThenRefused("user_not_locked")
	given.When(locking("stolen phone", boss)).Then(locked, ended(1, user.AccountLocked)).
		Given(user.Unlocked{User: anna}). // together with a new password, under an earlier version
		When(signingIn(true)).Then(signedIn)
}

// An account of an identity provider has no password to guess.
func TestR16_AccountWithoutAPasswordCountsNoFailures(t *testing.T) {
	noPassword := user.SignInFailed{User: anna, Code: "no_password"}
	given := scenario.For(t, user.Decider).Strict().Given(registered)
	for i := range 12 {
		given = given.When(signingIn(i%2 == 0)).Then(noPassword)
	}
	if n := given.State().FailedSignIns; n != 0 {
		t.Errorf("%d failures are counted", n)
	}
}

func TestR16_OnlyAnAdministratorLocks(t *testing.T) {
	given := account(t).When(locking("stolen phone", boss)).Then(locked, ended(1, user.AccountLocked))
	given.When(locking("again", boss)).ThenRefused("user_locked")
	for _, matches := range []bool{true, false} {
		given.When(signingIn(matches)).Then(user.SignInFailed{User: anna, Code: "account_locked"})
	}
	// A new password does not unlock.
	given.When(changing(boss)).Then(newPassword, handedOut, ended(2, user.PasswordWasAssigned)).
		When(signingIn(true)).Then(user.SignInFailed{User: anna, Code: "account_locked"})
	given.When(unlocking("", boss)).ThenRefused("reason_required")
	given.When(unlocking("found", anna)).ThenRefused("not_oneself")
	given.When(unlocking("phone found", boss)).Then(unlocked).When(signingIn(true)).Then(signedIn)

	account(t).When(unlocking("found", boss)).ThenRefused("user_not_locked")
	account(t).When(locking("", boss)).ThenRefused("reason_required")
	account(t).When(locking("stolen phone", anna)).ThenRefused("not_oneself")
	account(t).Given(deactivated).When(locking("stolen phone", boss)).ThenRefused("account_deactivated")
	scenario.For(t, user.Decider).When(unlocking("found", boss)).ThenRefused("user_not_found")
}

// TestR9_SessionsEnd: each end is a new version, which tokens of earlier sessions do not have.
func TestR9_SessionsEnd(t *testing.T) {
	given := account(t).When(signingOut(anna)).Then(ended(1, user.SignedOut)).
		When(changing(anna)).Then(newPassword, ended(2, user.PasswordChanged)).
		When(signingOut(boss)).Then(ended(3, user.SignedOut)).
		When(locking("stolen phone", boss)).Then(locked, ended(4, user.AccountLocked)).
		When(deactivating("left", boss)).Then(deactivated, ended(5, user.AccountDeactivated))
	if s := given.State(); s.Sessions != 5 || !s.SessionsEndedAt.Equal(by(anna).At) {
		t.Errorf("the sessions are %+v", s)
	}
	given.When(signingOut(anna)).ThenRefused("account_deactivated")
}

// TestR16_WhoeverHandledAnAccountDoesNotConfirmIt: a colleague who removes a lost factor does not clear the one who knows
// the password.
func TestR16_WhoeverHandledAnAccountDoesNotConfirmIt(t *testing.T) {
	given := account(t).Given(handedOut, newPassword, user.SecondFactorRemoved{User: anna, By: "deputy", Reason: "lost"})
	for _, one := range []domain.UserID{boss, "deputy", anna} {
		given.When(confirming(one)).ThenRefused("second_person_required")
	}
	confirmed := given.When(confirming("third")).Then(user.AccountConfirmed{User: anna})
	confirmed.Given(handedOut, newPassword).When(confirming("deputy")).Then(user.AccountConfirmed{User: anna})
}

// TestR4_OneAdministratorMakesNoOther: with a second account that one has appointed, one would be two people.
func TestR4_OneAdministratorMakesNoOther(t *testing.T) {
	proposed := account(t).When(granting(admin)).Then(user.RoleProposed{User: anna, Grant: admin, By: boss})
	proposed.When(confirmingRole(admin, boss)).ThenRefused("second_person_required")
	proposed.When(confirmingRole(admin, "deputy")).Then(user.RoleGranted{User: anna, Grant: admin}).
		When(granting(crc)).ThenRefused("roles_exclusive")
	byOperator := account(t).When(grantingBy(admin, "process:operator/root")).
		Then(user.RoleGranted{User: anna, Grant: admin}, user.ConfirmationRequired{User: anna, By: "process:operator/root", People: 1})
	if byOperator.State().CanAdminister() {
		t.Error("the operator alone has made an administrator")
	}
	account(t).Given(user.RoleGranted{User: anna, Grant: crc}).When(granting(admin)).ThenRefused("roles_exclusive")
}

// TestR27_WhoManagesSupplyHasNoPatients: who is shown kits without their patients would learn them with a second role.
func TestR27_WhoManagesSupplyHasNoPatients(t *testing.T) {
	in := func(role user.Role, study domain.StudyID) user.Grant { return user.Grant{Role: role, Study: study} }
	supply, unblinded := in(user.SupplyManager, "PAIN1"), in(user.UnblindedSupplyManager, "PAIN1")
	manager := in(user.DataManager, "PAIN1")
	account(t).Given(user.RoleGranted{User: anna, Grant: supply}).When(granting(manager)).ThenRefused("roles_exclusive")
	account(t).Given(user.RoleGranted{User: anna, Grant: supply}).When(granting(in(user.DataManager, "OTHER"))).
		Then(user.RoleGranted{User: anna, Grant: in(user.DataManager, "OTHER")})
	with := account(t).Given(user.RoleGranted{User: anna, Grant: manager})
	with.When(granting(supply)).ThenRefused("roles_exclusive")
	with.When(granting(unblinded)).ThenRefused("roles_exclusive")
	statistician := user.Grant{Role: user.Statistician, Study: manager.Study}
	with.When(granting(statistician)).ThenRefused("roles_exclusive")
	account(t).Given(user.RoleGranted{User: anna, Grant: statistician}).When(granting(manager)).ThenRefused("roles_exclusive")
	proposed := account(t).When(granting(unblinded)).Then(user.RoleProposed{User: anna, Grant: unblinded, By: boss})
	proposed.Given(user.RoleGranted{User: anna, Grant: manager}).When(confirmingRole(unblinded, "deputy")).ThenRefused("roles_exclusive")
	account(t).Given(user.RoleGranted{User: anna, Grant: supply}).When(granting(unblinded)).
		Then(user.RoleProposed{User: anna, Grant: unblinded, By: boss})
}

// TestR16_APasswordOfSomebodyElseIsGoodForNothingElse: nobody takes over an account by a reset.
func TestR16_APasswordOfSomebodyElseIsGoodForNothingElse(t *testing.T) {
	given := account(t).When(changing(boss)).Then(newPassword, handedOut, ended(1, user.PasswordWasAssigned))
	if s := given.State(); !s.MustChangePassword || !s.Unconfirmed {
		t.Errorf("the account is %+v", s)
	}
	given.When(confirming("deputy")).ThenRefused("password_not_changed")
	given = given.When(changing(anna)).Then(newPassword, ended(2, user.PasswordChanged))
	if s := given.State(); s.MustChangePassword || !s.Unconfirmed {
		t.Errorf("the account is %+v", s)
	}
	for _, one := range []domain.UserID{boss, anna, "process:operator.root"} {
		given.When(confirming(one)).ThenRefused("second_person_required")
	}
	given = given.When(confirming("deputy")).Then(user.AccountConfirmed{User: anna})
	if given.State().Unconfirmed {
		t.Error("the account is not confirmed")
	}
	given.When(confirming("deputy")).ThenRefused("account_confirmed")
	same := user.ChangePassword{OfUser: domain.ForUser(anna), PasswordDigest: "digest", Password: "same", CurrentPassword: "same"}
	given.When(scenario.Sent(user.SetPassword, same, by(anna))).ThenRefused("password_unchanged")
}

// TestR4_RolesThatSeeArmsNeedTwoPeople: no administrator alone gives one, and no administrator holds one.
func TestR4_RolesThatSeeArmsNeedTwoPeople(t *testing.T) {
	for role, g := range map[user.Role]user.Grant{
		user.Statistician: {Study: "PAIN1"}, user.UnblindedSupplyManager: {Study: "PAIN1"}, user.SafetyOfficer: {Study: "PAIN1"},
		user.QualifiedPerson: {Study: "PAIN1"},
		user.Investigator:    {Study: "PAIN1", Site: "A"},
	} {
		g.Role = role
		account(t).When(grantingBy(g, anna)).ThenRefused("not_oneself")
		account(t).When(grantingBy(g, "process:operator.root")).ThenRefused("second_person_required")
		account(t).When(confirmingRole(g, "deputy")).ThenRefused("grant_not_proposed")
		proposed := account(t).When(granting(g)).Then(user.RoleProposed{User: anna, Grant: g, By: boss})
		if len(proposed.State().Grants) != 0 {
			t.Errorf("a proposal gives %v", proposed.State().Grants)
		}
		proposed.When(granting(g)).ThenRefused("role_proposed")
		for _, one := range []domain.UserID{boss, anna, "process:operator.root"} {
			proposed.When(confirmingRole(g, one)).ThenRefused("second_person_required")
		}
		given := proposed.When(confirmingRole(g, "deputy")).Then(user.RoleGranted{User: anna, Grant: g})
		given.When(confirmingRole(g, "deputy")).ThenRefused("grant_not_proposed")
		given.When(granting(admin)).ThenRefused("roles_exclusive")
		proposed.When(revoking(g, "a mistake", boss)).Then(user.RoleProposalWithdrawn{User: anna, Grant: g, Reason: "a mistake"}).
			When(confirmingRole(g, "deputy")).ThenRefused("grant_not_proposed")
		// The account may have become an administrator's since.
		proposed.Given(user.RoleGranted{User: anna, Grant: admin}).When(confirmingRole(g, "deputy")).ThenRefused("roles_exclusive")
		account(t).Given(user.RoleGranted{User: anna, Grant: admin}).When(granting(g)).ThenRefused("roles_exclusive")
	}
	account(t).When(grantingBy(crc, anna)).ThenRefused("not_oneself")
	account(t).When(grantingBy(crc, "process:operator.root")).Then(user.RoleGranted{User: anna, Grant: crc})
}

func TestR15_TheSecondFactor(t *testing.T) {
	offering := scenario.Sent(user.OfferFactor, user.OfferSecondFactor{OfUser: domain.ForUser(anna), SealedSecret: "sealed"}, by(anna))
	enrolling := func(step int) decision {
		return scenario.Sent(user.EnrolFactor, user.EnrolSecondFactor{OfUser: domain.ForUser(anna), Step: step,
			RecoveryDigests: []string{"one", "two"}}, by(anna))
	}
	removing := func(actor domain.UserID) decision {
		lost := user.RemoveSecondFactor{OfUser: domain.ForUser(anna), Reasoned: domain.Because("lost")}
		return scenario.Sent(user.RemoveFactor, lost, by(actor))
	}
	account(t).When(enrolling(7)).ThenRefused("second_factor_not_offered")
	account(t).When(removing(boss)).ThenRefused("second_factor_missing")
	offered := account(t).When(offering).Then(user.SecondFactorOffered{User: anna, Secret: "sealed"})
	offered.When(enrolling(0)).ThenRefused("wrong_code")
	offered.When(signingIn(true)).Then(signedIn) // what is only offered is not needed
	enrolled := offered.When(enrolling(7)).
		Then(user.SecondFactorEnrolled{User: anna, RecoveryCodes: []string{"one", "two"}}, user.SecondFactorUsed{User: anna, Step: 7})
	enrolled.When(offering).ThenRefused("second_factor_enrolled")

	wrongCode := user.SignInFailed{User: anna, Code: "wrong_code"}
	enrolled.When(signingIn(true)).Then(wrongCode)
	enrolled.When(entering(user.EnteredSecrets{Password: true, CodeMissing: true})).Then(user.SignInFailed{User: anna, Code: "code_missing"})
	enrolled.When(entering(user.EnteredSecrets{CodeMissing: true})).Then(wrong)
	enrolled.When(signingIn(false)).Then(wrong)
	enrolled.When(entering(user.EnteredSecrets{Password: false, Step: 8})).Then(wrong)
	enrolled.When(entering(user.EnteredSecrets{Password: true, Step: 7})).Then(wrongCode) // no code is used twice
	enrolled.When(entering(user.EnteredSecrets{Password: true, RecoveryCode: "three"})).Then(wrongCode)
	used := enrolled.When(entering(user.EnteredSecrets{Password: true, Step: 8})).Then(signedIn, user.SecondFactorUsed{User: anna, Step: 8}).
		When(entering(user.EnteredSecrets{Password: true, RecoveryCode: "two"})).Then(signedIn, user.RecoveryCodeUsed{User: anna, Digest: "two"})
	used.When(entering(user.EnteredSecrets{Password: true, Step: 8})).Then(wrongCode)
	used.When(entering(user.EnteredSecrets{Password: true, RecoveryCode: "two"})).Then(wrongCode)

	used.When(removing(anna)).ThenRefused("not_oneself")
	removed := used.When(removing(boss)).
		Then(user.SecondFactorRemoved{User: anna, By: boss, Reason: "lost"}, ended(1, user.FactorWasRemoved))
	removed.When(signingIn(true)).Then(signedIn)
	removed.When(confirming(boss)).ThenRefused("second_person_required")
	removed.When(confirming("deputy")).Then(user.AccountConfirmed{User: anna})
}

func TestPasswordCannotBeRemoved(t *testing.T) {
	withoutDigest := scenario.Sent(user.SetPassword, user.ChangePassword{OfUser: domain.ForUser(anna)}, by(boss))
	for _, given := range []scenario.Given[user.User, user.Event]{account(t), lockedAccount(t)} {
		if r := given.When(withoutDigest).ThenRefused("value_missing"); r.Field != "password" {
			t.Errorf("got %+v", r)
		}
	}
}

func TestSignInToUnknownAndDeactivatedAccounts(t *testing.T) {
	scenario.For(t, user.Decider).Strict().When(signingIn(true)).ThenRefused("user_not_found")
	account(t).Given(deactivated).When(signingIn(true)).Then(user.SignInFailed{User: anna, Code: "account_deactivated"})
}

func TestDeactivate(t *testing.T) {
	account(t).When(deactivating("left", boss)).Then(deactivated, ended(1, user.AccountDeactivated)).
		When(deactivating("left", boss)).ThenRefused("account_deactivated")
	account(t).When(deactivating("left", anna)).ThenRefused("not_oneself")
	account(t).When(deactivating(" ", boss)).ThenRefused("reason_required")
	scenario.For(t, user.Decider).Strict().When(deactivating("left", boss)).ThenRefused("user_not_found")
}

func TestMalformedIDOfAnUnknownUserIsRefused(t *testing.T) {
	_, err := user.Deactivate(user.User{}, user.DeactivateUser{OfUser: domain.ForUser("No Id"), Reasoned: domain.Because("left")}, by(boss))
	if r, ok := refuse.As(err); !ok || r.Code != "malformed_id" {
		t.Errorf("got %v", err)
	}
}

// TestR4_GrantsNeedTheScopeOfTheirRole tries every role with every kind of scope.
func TestR4_GrantsNeedTheScopeOfTheirRole(t *testing.T) {
	const p = domain.PatientID("PAIN1.S-1")
	scopes := map[string]user.Grant{
		"nothing": {}, "study": {Study: "PAIN1"}, "site": {Study: "PAIN1", Site: "A"}, "patient": {Study: "PAIN1", Patient: p},
		"all": {Study: "PAIN1", Site: "A", Patient: p}, "a site alone": {Site: "A"}, "a patient alone": {Patient: p},
		"site and patient": {Site: "A", Patient: p},
	}
	fitting := map[user.Role][]string{
		user.Admin: {"nothing"}, user.CRC: {"site"}, user.Investigator: {"site"}, user.Monitor: {"study", "site"},
		user.PatientRole: {"patient"}, user.Caregiver: {"patient"}, user.DataManager: {"study"},
		user.SupplyManager: {"study"}, user.SafetyOfficer: {"study"},
		user.Statistician: {"study"}, user.Auditor: {"study"}, user.UnblindedSupplyManager: {"study"}, user.QualifiedPerson: {"study"},
	}
	for role, fit := range fitting {
		for name, g := range scopes {
			g.Role = role
			if role == user.Caregiver {
				g.Relation = user.RelationSpouse
			}
			t.Run(fmt.Sprintf("%s/%s", role, name), func(t *testing.T) {
				given := account(t)
				if role == user.PatientRole { // whose account has no name
					given = scenario.For(t, user.Decider).Strict().Given(user.Registered{User: anna})
				}
				outcome := given.When(granting(g))
				if slices.Contains(fit, name) && role.NeedsSecond(boss) {
					outcome.Then(user.RoleProposed{User: anna, Grant: g, By: boss})
				} else if slices.Contains(fit, name) {
					outcome.Then(user.RoleGranted{User: anna, Grant: g})
				} else if r := outcome.ThenRefused("invalid_grant_scope"); !strings.HasPrefix(r.Field, "grant.") || r.Remedy == "" {
					t.Errorf("got %+v", r)
				}
			})
		}
	}
	for name, g := range scopes {
		g.Role = user.System
		t.Run("system/"+name, func(t *testing.T) { account(t).When(granting(g)).ThenRefused("role_not_grantable") })
		for _, role := range []user.Role{"", "Admin", "root", user.Role(strings.Repeat("x", 100))} {
			g.Role = role
			account(t).When(granting(g)).ThenRefused("unknown_role")
		}
	}
}

// TestR4_CaregiversHaveARelation: they have one to each of their patients, and nobody else has any.
func TestR4_CaregiversHaveARelation(t *testing.T) {
	mother := user.Grant{Role: user.Caregiver, Study: "PAIN1", Patient: "PAIN1.S-1", Relation: user.RelationParent}
	given := account(t).When(granting(mother)).Then(user.RoleGranted{User: anna, Grant: mother})
	other := mother
	other.Patient = "PAIN1.S-2"
	given.When(granting(other)).Then(user.RoleGranted{User: anna, Grant: other})
	other.Patient, other.Relation = mother.Patient, user.RelationGuardian
	given.When(granting(other)).ThenRefused("role_granted")
	for _, g := range []user.Grant{
		{Role: user.Caregiver, Study: "PAIN1", Patient: "PAIN1.S-1"},
		{Role: user.Caregiver, Study: "PAIN1", Patient: "PAIN1.S-1", Relation: "cat"},
		{Role: user.PatientRole, Study: "PAIN1", Patient: "PAIN1.S-1", Relation: user.RelationParent},
		{Role: user.DataManager, Study: "PAIN1", Relation: user.RelationParent},
	} {
		account(t).When(granting(g)).ThenRefused("invalid_grant_scope")
	}
}

func TestGrantsNeedValidIDs(t *testing.T) {
	for _, g := range []user.Grant{
		{Role: user.DataManager, Study: "no id"}, {Role: user.CRC, Study: "PAIN1", Site: "no id"},
		{Role: user.PatientRole, Study: "PAIN1", Patient: "PAIN1.no id"}, {Role: user.PatientRole, Study: "PAIN1", Patient: "PAIN1.S.1"},
	} {
		if r := account(t).When(granting(g)).ThenRefused("malformed_id"); !strings.HasPrefix(r.Field, "grant.") {
			t.Errorf("got %+v", r)
		}
	}
	for _, p := range []domain.PatientID{"PAIN2.S-1", "PAIN1", "S-1"} {
		account(t).When(granting(user.Grant{Role: user.PatientRole, Study: "PAIN1", Patient: p})).ThenRefused("invalid_grant_scope")
	}
}

func TestR17_RolesAreGrantedAndRevoked(t *testing.T) {
	other := user.Grant{Role: user.CRC, Study: "PAIN1", Site: "B"}
	given := account(t).When(granting(crc)).Then(user.RoleGranted{User: anna, Grant: crc}).
		When(granting(other)).Then(user.RoleGranted{User: anna, Grant: other})
	given.When(granting(crc)).ThenRefused("role_granted")
	given.When(revoking(crc, "", boss)).ThenRefused("reason_required")
	given.When(revoking(user.Grant{Role: user.CRC, Study: "PAIN1"}, "left", boss)).ThenRefused("grant_not_found")
	given = given.When(revoking(crc, "left", boss)).Then(user.RoleRevoked{User: anna, Grant: crc, Reason: "left"})
	given.When(revoking(crc, "left", boss)).ThenRefused("grant_not_found")
	if got := given.State().Grants; !slices.Equal(got, []user.Grant{other}) {
		t.Errorf("the grants are %v", got)
	}
	given.When(granting(crc)).Then(user.RoleGranted{User: anna, Grant: crc})

	gone := given.Given(deactivated)
	gone.When(granting(crc)).ThenRefused("account_deactivated")
	gone.When(revoking(other, "left", boss)).ThenRefused("account_deactivated")
	scenario.For(t, user.Decider).Strict().When(granting(crc)).ThenRefused("user_not_found")
	scenario.For(t, user.Decider).Strict().When(revoking(crc, "left", boss)).ThenRefused("user_not_found")
}

func TestAdministratorsKeepTheirOwnRole(t *testing.T) {
	given := account(t).Given(user.RoleGranted{User: anna, Grant: admin}, user.RoleGranted{User: anna, Grant: crc})
	given.When(revoking(admin, "left", anna)).ThenRefused("not_oneself")
	given.When(revoking(admin, "left", boss)).Then(user.RoleRevoked{User: anna, Grant: admin, Reason: "left"})
	given.When(revoking(crc, "left", anna)).Then(user.RoleRevoked{User: anna, Grant: crc, Reason: "left"})
}

// For any commands in any order: only a lock with a reason locks, only an administrator changes it, no grant is held
// twice, nobody sees arms without two people, sessions only ever get newer, and Evolve does not change old states.
func TestAccountsKeepTheirRules(t *testing.T) {
	statistician := user.Grant{Role: user.Statistician, Study: "PAIN1"}
	grants := rapid.SampledFrom([]user.Grant{crc, admin, statistician, {Role: user.DataManager, Study: "PAIN2"}})
	actors := rapid.SampledFrom([]domain.UserID{anna, boss, "deputy"})
	rapid.Check(t, func(t *rapid.T) {
		u, locked, proposedBy := user.User{}, false, map[user.Grant]domain.UserID{}
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			actor, matches := actors.Draw(t, "actor"), rapid.IntRange(0, 4).Draw(t, "right") == 0
			what := rapid.SampledFrom([]int{0, 1, 2, 2, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 9, 10}).Draw(t, "what")
			if what == 10 && rapid.IntRange(0, 9).Draw(t, "really") > 0 {
				continue // deactivate rarely, because not much can happen afterwards
			}
			g := grants.Draw(t, "grant")
			events, err := []decision{
				registering(anna, "Anna Beck", "digest-1"), changing(actor), signingIn(matches), grantingBy(g, actor), confirmingRole(g, actor),
				revoking(g, "left", actor), locking("stolen", actor), unlocking("found", actor), signingOut(actor), confirming(actor),
				deactivating("left", actor),
			}[what](u)
			if _, refused := refuse.As(err); err != nil && !refused {
				t.Fatalf("failed: %v", err)
			}
			for _, e := range events {
				switch e := e.(type) {
				case user.SignedIn:
					if u.Locked || u.Deactivated {
						t.Fatalf("a sign-in to the account %+v", u)
					}
				case user.Locked:
					locked = true
				case user.Unlocked:
					locked = false
				case user.RoleProposed:
					proposedBy[e.Grant] = actor
				case user.RoleGranted:
					if (e.Grant == statistician || e.Grant == admin) && (actor == proposedBy[e.Grant] || actor == anna) {
						t.Fatal("one person alone has given a role that sees arms, or made an administrator")
					}
				case user.AccountConfirmed:
					if actor == anna || slices.Contains(u.HandledBy, actor) {
						t.Fatal("one person alone has confirmed the account")
					}
				case user.SessionsEnded:
					if e.Version != u.Sessions+1 {
						t.Fatalf("sessions %d follow on %d", e.Version, u.Sessions)
					}
				}
				if actor == anna && (what == 6 || what == 7) {
					t.Fatal("the owner locks or unlocks")
				}
				u = scenario.Evolve(t, user.Decider, u, e)
			}
			if u.Locked != locked {
				t.Fatalf("locked is %v", u.Locked)
			}
			for i, g := range u.Grants {
				if slices.Contains(u.Grants[:i], g) {
					t.Fatalf("%v is held twice", g)
				}
			}
			if slices.Contains(u.Grants, admin) && len(u.Grants) > 1 {
				t.Fatal("an administrator works in a study")
			}
		}
	})
}

// onMachine is the call of the operator of the machine.
var onMachine = by("process:operator/root")

// TestR4_TheOperatorMakesTheFirstAdministratorAlone, and no other one.
func TestR4_TheOperatorMakesTheFirstAdministratorAlone(t *testing.T) {
	appointing := func(all user.Administrators) decision {
		return scenario.Sent(user.GiveRole, user.GrantRole{OfUser: domain.ForUser(anna), Grant: admin, Administrators: all}, onMachine)
	}
	required := func(people int) user.ConfirmationRequired {
		return user.ConfirmationRequired{User: anna, By: onMachine.Actor, People: people}
	}
	granted := user.RoleGranted{User: anna, Grant: admin}
	first := account(t).Given(handedOut, newPassword).When(appointing(user.Administrators{None: true, Machine: "trial1"})).
		Then(granted, user.FirstAdministratorAppointed{User: anna, By: onMachine.Actor, Machine: "trial1"})
	if !first.State().CanAdminister() {
		t.Error("the first administrator cannot administer")
	}
	for people, usable := range map[int][]domain.UserID{1: {boss, anna}, 2: {boss, "deputy"}} {
		given := account(t).When(appointing(user.Administrators{Usable: usable})).Then(granted, required(people))
		if given.State().CanAdminister() {
			t.Error("the operator alone has made another administrator")
		}
	}
	account(t).When(appointing(user.Administrators{})).Then(granted, required(1)) // all administrators are locked
}

// TestR4_TheOperatorIsNotOneOfTwoPeople: the record cannot tell the operator from one of the administrators, so that what
// the operator has handled needs two of them where there are two.
func TestR4_TheOperatorIsNotOneOfTwoPeople(t *testing.T) {
	two := user.Administrators{Usable: []domain.UserID{boss, "deputy", anna}}
	reset := user.ChangePassword{OfUser: domain.ForUser(anna), PasswordDigest: "digest-2", Administrators: two}
	unlock := user.UnlockUser{OfUser: domain.ForUser(anna), Reasoned: domain.Because("found"), Administrators: two}
	lost := user.RemoveSecondFactor{OfUser: domain.ForUser(anna), Reasoned: domain.Because("lost"), Administrators: two}
	for what, decided := range map[string]func() ([]user.Event, error){
		"a new account": func() ([]user.Event, error) {
			return user.Register(user.User{}, user.RegisterUser{OfUser: domain.ForUser(anna), Name: "Anna", Administrators: two}, onMachine)
		},
		"a new password": func() ([]user.Event, error) { return user.SetPassword(account(t).State(), reset, onMachine) },
		"unlocking":      func() ([]user.Event, error) { return user.Unlock(lockedAccount(t).State(), unlock, onMachine) },
		"removing a second factor": func() ([]user.Event, error) {
			return user.RemoveFactor(account(t).Given(user.SecondFactorOffered{User: anna, Secret: "x"},
				user.SecondFactorEnrolled{User: anna}).State(), lost, onMachine)
		},
	} {
		t.Run(what, func(t *testing.T) {
			events, err := decided()
			if err != nil {
				t.Fatal(err)
			}
			given := scenario.For(t, user.Decider).Strict().Given(registered).Given(events...).Given(newPassword)
			for _, one := range []domain.UserID{anna, onMachine.Actor} {
				given.When(confirming(one)).ThenRefused("second_person_required")
			}
			once := given.When(confirming(boss)).Then(user.ConfirmationGiven{User: anna, By: boss})
			if !once.State().Unconfirmed {
				t.Error("one administrator has confirmed it")
			}
			once.When(confirming(boss)).ThenRefused("second_person_required")
			once.When(confirming("deputy")).Then(user.AccountConfirmed{User: anna})
			// What happens after the first confirmation is not confirmed by it.
			once.Given(user.ConfirmationRequired{User: anna, By: onMachine.Actor, People: 1}).
				When(confirming("deputy")).Then(user.ConfirmationGiven{User: anna, By: "deputy"})
		})
	}
}

// TestR4_AdministrationIsRecoveredWhenNobodyIsLeft, by the operator alone, and for everybody to see.
func TestR4_AdministrationIsRecoveredWhenNobodyIsLeft(t *testing.T) {
	recovering := func(reason string, usable ...domain.UserID) decision {
		return scenario.Sent(user.Recover, user.RecoverAdministration{OfUser: domain.ForUser(anna), Reasoned: domain.Because(reason),
			Administrators: user.Administrators{Usable: usable, Machine: "trial1"}}, onMachine)
	}
	given := account(t).Given(user.RoleGranted{User: anna, Grant: admin}, handedOut)
	given.When(recovering("nobody is left")).ThenRefused("password_not_changed")
	given = given.Given(newPassword)
	given.When(recovering("nobody is left", boss)).ThenRefused("administrators_exist")
	given.When(recovering(" ")).ThenRefused("reason_required")
	given.Given(locked).When(recovering("nobody is left")).ThenRefused("user_locked")
	given.Given(deactivated).When(recovering("nobody is left")).ThenRefused("account_deactivated")
	account(t).When(recovering("nobody is left")).ThenRefused("not_an_administrator")
	recovered := given.When(recovering("nobody is left")).
		Then(user.AdministrationRecovered{User: anna, By: onMachine.Actor, Machine: "trial1", Reason: "nobody is left"})
	if !recovered.State().CanAdminister() {
		t.Error("nobody administers")
	}
}

// TestNoTokenForWhoCannotWork: the operator gets no token for an account that could not be used otherwise, or is not in its
// owner's hands without doubt.
func TestNoTokenForWhoCannotWork(t *testing.T) {
	until := by(anna).At.Add(time.Hour)
	issuing := scenario.Sent(user.Issue, user.IssueToken{OfUser: domain.ForUser(anna), Until: until}, onMachine)
	account(t).When(issuing).Then(user.TokenIssued{User: anna, By: onMachine.Actor, Until: until})
	lockedAccount(t).When(issuing).ThenRefused("user_locked")
	account(t).Given(deactivated).When(issuing).ThenRefused("account_deactivated")
	account(t).Given(handedOut).When(issuing).ThenRefused("password_not_changed")
	account(t).Given(handedOut, newPassword).When(issuing).ThenRefused("confirmation_pending")
	scenario.For(t, user.Decider).Strict().When(issuing).ThenRefused("user_not_found")
	// With such a token the operator would be one of two people, and see arms.
	for _, role := range []user.Role{user.Admin, user.Investigator, user.SafetyOfficer, user.Statistician, user.UnblindedSupplyManager,
		user.QualifiedPerson} {
		account(t).Given(user.RoleGranted{User: anna, Grant: user.Grant{Role: role, Study: "S"}}).When(issuing).ThenRefused("role_needs_sign_in")
	}
	tooLong := scenario.Sent(user.Issue, user.IssueToken{OfUser: domain.ForUser(anna), Until: onMachine.At.Add(25 * time.Hour)}, onMachine)
	account(t).When(tooLong).ThenRefused("value_out_of_range")
}
