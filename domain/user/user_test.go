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

func signingIn(matches bool) decision {
	return scenario.SentWithFacts(user.EnterPassword, user.PasswordCheck{Matches: matches}, user.SignIn{User: anna}, by("process:sign-in"))
}

func granting(g user.Grant) decision {
	return scenario.Sent(user.GiveRole, user.GrantRole{OfUser: domain.ForUser(anna), Grant: g}, by(boss))
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
	locked      = user.Locked{User: anna}
	unlocked    = user.Unlocked{User: anna}
	deactivated = user.Deactivated{User: anna, Reason: "left"}
	crc         = user.Grant{Role: user.CRC, Study: "PAIN1", Site: "A"}
	admin       = user.Grant{Role: user.Admin}
)

func account(t testing.TB) scenario.Given[user.User, user.Event] {
	return scenario.For(t, user.Decider).Strict().Given(registered, passwordSet)
}

func lockedAccount(t testing.TB) scenario.Given[user.User, user.Event] {
	return account(t).Given(wrong, wrong, wrong, wrong, wrong, locked)
}

func TestRegister(t *testing.T) {
	start := scenario.For(t, user.Decider).Strict()
	start.When(registering(anna, "Anna Beck", "digest-1")).Then(registered, passwordSet)
	start.When(registering(anna, "Anna Beck", "")).Then(registered) // an identity provider has the password
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

func TestPasswordRules(t *testing.T) {
	for password, good := range map[string]bool{
		"correct horse":                 true,
		strings.Repeat("ab", 100):       true,
		"ÄÖÜ-ßéêèàñçøå":                 true,
		"annanna-at-work-2026":          true,
		"":                              false,
		"short":                         false,
		"elevenchars":                   false,
		strings.Repeat("ab", 100) + "a": false,
		"anna12345678":                  false, // the id and eight characters
		"12345ANNA678":                  false,
		"anna123456789012":              true,
		"aaaaaaaaaaaaaaaa":              false,
		"éééééééééééééééé":              false,
		"中中中中中中中中中中中中":                  false,
		"            ":                  false,
	} {
		for _, err := range []error{
			user.RegisterUser{OfUser: domain.ForUser(anna), Password: password}.CheckPassword(),
			user.ChangePassword{OfUser: domain.ForUser(anna), Password: password}.CheckPassword(),
		} {
			r, refused := refuse.As(err)
			if good != (err == nil) || refused && r.Code != "weak_password" {
				t.Errorf("%q: %v", password, err)
			}
			if refused && password != "" && strings.Contains(r.Error(), password) {
				t.Errorf("the refusal repeats the password: %v", r)
			}
		}
	}
}

func TestR16_FiveFailuresInARowLockTheAccount(t *testing.T) {
	given := account(t).When(signingIn(true)).Then(signedIn)
	for range 4 {
		given = given.When(signingIn(false)).Then(wrong)
	}
	// A success in between resets the count.
	again := given.When(signingIn(true)).Then(signedIn)
	for range 4 {
		again = again.When(signingIn(false)).Then(wrong)
	}
	again.When(signingIn(false)).Then(wrong, locked)

	given = given.When(signingIn(false)).Then(wrong, locked)
	for _, matches := range []bool{true, false} {
		given = given.When(signingIn(matches)).Then(user.SignInFailed{User: anna, Code: "account_locked"})
	}
	if !given.State().Locked {
		t.Error("the account is not locked")
	}
}

// An account of an identity provider has no password to guess, so strangers cannot lock it by guessing.
func TestR16_AccountWithoutAPasswordIsNeverLocked(t *testing.T) {
	noPassword := user.SignInFailed{User: anna, Code: "no_password"}
	given := scenario.For(t, user.Decider).Strict().Given(registered)
	for i := range 12 {
		given = given.When(signingIn(i%2 == 0)).Then(noPassword)
	}
	// These failures do not count either when the account gets a password later.
	given = given.When(changing(boss)).Then(newPassword)
	for range 4 {
		given = given.When(signingIn(false)).Then(wrong)
	}
	given.When(signingIn(true)).Then(signedIn)
	given.When(signingIn(false)).Then(wrong, locked)
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

func TestR16_OwnerCannotUnlockTheAccount(t *testing.T) {
	lockedAccount(t).When(changing(anna)).ThenRefused("account_locked")
	given := lockedAccount(t).When(changing(boss)).Then(newPassword, unlocked)
	if s := given.State(); s.Locked || s.FailedSignIns != 0 || s.Digest != "digest-2" {
		t.Errorf("the account is %+v", s)
	}
	given.When(signingIn(true)).Then(signedIn)
	given.When(signingIn(false)).Then(wrong) // the count of failures has started again

	account(t).When(changing(anna)).Then(newPassword)
	account(t).When(changing(boss)).Then(newPassword)
	account(t).Given(deactivated).When(changing(boss)).ThenRefused("account_deactivated")
	scenario.For(t, user.Decider).Strict().When(changing(boss)).ThenRefused("user_not_found")
}

func TestDeactivate(t *testing.T) {
	account(t).When(deactivating("left", boss)).Then(deactivated).When(deactivating("left", boss)).ThenRefused("account_deactivated")
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
		user.PatientRole: {"patient"}, user.DataManager: {"study"}, user.SupplyManager: {"study"}, user.SafetyOfficer: {"study"},
		user.Statistician: {"study"}, user.Auditor: {"study"},
	}
	for role, fit := range fitting {
		for name, g := range scopes {
			g.Role = role
			t.Run(fmt.Sprintf("%s/%s", role, name), func(t *testing.T) {
				outcome := account(t).When(granting(g))
				if slices.Contains(fit, name) {
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

// For any commands in any order: an account is locked exactly after five wrong passwords in a row, its owner never
// unlocks it, no grant is held twice, and Evolve does not change old states.
func TestAccountsKeepTheirRules(t *testing.T) {
	grants := rapid.SampledFrom([]user.Grant{crc, admin, {Role: user.Monitor, Study: "PAIN1"}, {Role: user.DataManager, Study: "PAIN2"}})
	actors := rapid.SampledFrom([]domain.UserID{anna, boss})
	rapid.Check(t, func(t *rapid.T) {
		u, inARow := user.User{}, 0
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			actor, matches := actors.Draw(t, "actor"), rapid.IntRange(0, 4).Draw(t, "right") == 0
			what := rapid.SampledFrom([]int{0, 1, 2, 2, 2, 2, 2, 2, 3, 4, 5, 6}).Draw(t, "what")
			if what == 6 && rapid.IntRange(0, 9).Draw(t, "really") > 0 {
				continue // deactivate rarely, because not much can happen afterwards
			}
			events, err := []decision{
				registering(anna, "Anna Beck", "digest-1"), changing(actor), signingIn(matches), granting(grants.Draw(t, "grant")),
				granting(grants.Draw(t, "grant")), revoking(grants.Draw(t, "grant"), "left", actor), deactivating("left", actor),
			}[what](u)
			if _, refused := refuse.As(err); err != nil && !refused {
				t.Fatalf("failed: %v", err)
			}
			for _, e := range events {
				switch e := e.(type) {
				case user.SignedIn:
					if inARow = 0; u.Locked || u.Deactivated {
						t.Fatalf("a sign-in to the account %+v", u)
					}
				case user.SignInFailed:
					if e.Code == "wrong_password" {
						inARow++
					}
				case user.Unlocked:
					if inARow = 0; actor == anna {
						t.Fatal("the owner has unlocked the account")
					}
				}
				u = scenario.Evolve(t, user.Decider, u, e)
			}
			if u.Locked != (inARow >= 5) {
				t.Fatalf("after %d wrong passwords in a row, locked is %v", inARow, u.Locked)
			}
			for i, g := range u.Grants {
				if slices.Contains(u.Grants[:i], g) {
					t.Fatalf("%v is held twice", g)
				}
			}
		}
	})
}
