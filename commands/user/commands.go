// Package user declares the commands of the context user: which decision, which facts, which roles.
package user

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/user"
)

// Commands are the commands on accounts and their grants. An account that was reset and not confirmed yet cannot
// administer others: otherwise an administrator could reset the account of another one and be two people.
var Commands = []commands.Command{
	commands.Handle(user.Decider, user.Register).
		AllowedTo(access.Admins, access.Processes).
		ByConfirmedAccounts().
		PreparedWith(func(ctx context.Context, h *commands.Handler, r commands.Request, c *user.RegisterUser) (err error) {
			if c.Administrators, err = onMachine(ctx, h, r); err != nil || c.Password == "" {
				return err
			}
			if err := access.CheckPasswordOf(c.User, c.Name, c.Password); err != nil {
				return err
			}
			c.PasswordDigest, err = access.DigestPassword(ctx, c.Password)
			c.Password = ""
			return err
		}).
		Secret().
		Described("Open an account",
			user.RegisterUser{OfUser: domain.ForUser("nurse.weber"), Name: "Anna Weber", Password: examplePhrase}),
	commands.Handle(user.Decider, user.SetPassword).
		AllowedTo(access.Admins, access.Processes).
		AllowedToSelf().
		ByConfirmedAccounts().
		PreparedWith(prepareNewPassword).
		Secret().
		Described("Set a new password; for one's own account with the old one",
			user.ChangePassword{OfUser: domain.ForUser("nurse.weber"), Password: examplePhrase, CurrentPassword: "a former pass phrase"}),
	commands.Handle(user.Decider, user.Confirm).
		AllowedTo(access.Admins).
		ByConfirmedAccounts().
		Described("Confirm as a second person that a new or reset account is in its owner's hands",
			user.ConfirmAccount{OfUser: domain.ForUser("nurse.weber")}),
	commands.Handle(user.Decider, user.Recover).
		AllowedTo(access.Processes).
		PreparedWith(withAdministrators(func(c *user.RecoverAdministration) *user.Administrators { return &c.Administrators })),
	commands.Handle(user.Decider, user.Issue).
		AllowedTo(access.Processes),
	commands.Handle(user.Decider, user.EndSessions).
		AllowedTo(access.Admins, access.Processes).
		AllowedToSelf().
		ByConfirmedAccounts().
		Described("End all sessions of an account", user.SignOut{OfUser: domain.ForUser("nurse.weber")}),
	commands.Handle(user.Decider, user.Revoke).
		AllowedTo(access.Admins, access.Processes).
		AllowedToSelf().
		ByConfirmedAccounts().
		Described("End the sessions of one device of a patient's account",
			user.RevokeDevice{OfUser: domain.ForUser("patient.0001"), Device: "3f2b8c1e-6d0a-4b57-9a43-c5e1f07d2b88",
				Reasoned: domain.Because("The phone is lost")}),
	commands.Handle(user.Decider, user.Lock).
		AllowedTo(access.Admins, access.Processes).
		ByConfirmedAccounts().
		Described("Lock an account",
			user.LockUser{OfUser: domain.ForUser("nurse.weber"), Reasoned: domain.Because("The phone was stolen")}),
	commands.Handle(user.Decider, user.Unlock).
		AllowedTo(access.Admins, access.Processes).
		ByConfirmedAccounts().
		PreparedWith(withAdministrators(func(c *user.UnlockUser) *user.Administrators { return &c.Administrators })).
		Described("Unlock an account",
			user.UnlockUser{OfUser: domain.ForUser("nurse.weber"), Reasoned: domain.Because("The phone was found")}),
	commands.Handle(user.Decider, user.GiveRole).
		AllowedTo(access.Admins, access.Processes).
		ByConfirmedAccounts().
		PreparedWith(func(ctx context.Context, h *commands.Handler, r commands.Request, c *user.GrantRole) (err error) {
			if c.Grant.Role == user.Admin {
				c.Administrators, err = onMachine(ctx, h, r)
			}
			return err
		}).
		Described("Give a user a role, or propose one that sees arms",
			user.GrantRole{OfUser: domain.ForUser("nurse.weber"), Grant: user.Grant{Role: user.CRC, Study: "PAIN1", Site: "DE-01"}}),
	commands.Handle(user.Decider, user.ConfirmGrant).
		AllowedTo(access.Admins).
		ByConfirmedAccounts().
		Described("Give a role that another administrator has proposed",
			user.ConfirmRole{OfUser: domain.ForUser("dr.lindner"),
				Grant: user.Grant{Role: user.Investigator, Study: "PAIN1", Site: "DE-01"}}),
	commands.Handle(user.Decider, user.TakeRole).
		AllowedTo(access.Admins, access.Processes).
		ByConfirmedAccounts().
		Described("Take a role from a user, or a proposal back",
			user.RevokeRole{OfUser: domain.ForUser("nurse.weber"), Grant: user.Grant{Role: user.CRC, Study: "PAIN1", Site: "DE-01"},
				Reasoned: domain.Because("Has left the site")}),
	commands.Handle(user.Decider, user.Deactivate).
		AllowedTo(access.Admins, access.Processes).
		ByConfirmedAccounts().
		Described("End an account",
			user.DeactivateUser{OfUser: domain.ForUser("nurse.weber"), Reasoned: domain.Because("Has left the hospital")}),
	activation(user.OpenForPatient, "Open a patient's account; shows once the code with which the patient activates it",
		user.OpenPatientAccount{OfUser: domain.ForUser("patient.0001"), OfPatient: domain.ForPatient("PAIN1.S-0001")},
		func(c *user.OpenPatientAccount) (domain.UserID, *string, *string) {
			return c.User, &c.Code, &c.CodeDigest
		}),
	activation(user.IssueCode, "Make another activation code for a patient's account, such as for a new phone; shows it once",
		user.IssueActivationCode{OfUser: domain.ForUser("patient.0001"), OfPatient: domain.ForPatient("PAIN1.S-0001"), PhoneLost: true,
			Reasoned: domain.Because("The phone was stolen")},
		func(c *user.IssueActivationCode) (domain.UserID, *string, *string) {
			return c.User, &c.Code, &c.CodeDigest
		}),
	commands.Handle(user.Decider, user.Activate).
		Secret().
		AllowedTo(access.Processes),
	commands.Handle(user.Decider, user.OfferFactor).
		AllowedToSelf().
		Reauthenticated().
		PreparedWith(prepareOffer).
		Secret().
		Revealing(commands.Shown(func(_ context.Context, _ commands.Reader, _ user.User, c user.OfferSecondFactor) (*OfferedFactor, error) {
			return &OfferedFactor{URL: c.URL}, nil
		})).
		Described("Make a second factor; asks for a fresh sign-in, and shows its secret once",
			user.OfferSecondFactor{OfUser: domain.ForUser("dr.lindner")}),
	commands.Handle(user.Decider, user.EnrolFactor).
		AllowedToSelf().
		Reauthenticated().
		PreparedWith(prepareEnrolment).
		Secret().
		Revealing(commands.Shown(func(_ context.Context, _ commands.Reader, _ user.User, c user.EnrolSecondFactor) (*EnrolledFactor, error) {
			return &EnrolledFactor{RecoveryCodes: c.RecoveryCodes}, nil
		})).
		Described("Start to use the second factor; asks for a fresh sign-in, and shows recovery codes once",
			user.EnrolSecondFactor{OfUser: domain.ForUser("dr.lindner"), Code: "123456"}),
	commands.Handle(user.Decider, user.RemoveFactor).
		AllowedTo(access.Admins, access.Processes).
		ByConfirmedAccounts().
		PreparedWith(withAdministrators(func(c *user.RemoveSecondFactor) *user.Administrators { return &c.Administrators })).
		Described("Remove a lost second factor",
			user.RemoveSecondFactor{OfUser: domain.ForUser("dr.lindner"), Reasoned: domain.Because("The phone is lost")}),
	commands.Handle(user.Decider, func(s user.User, c signInAttempt, call domain.Call) ([]user.Event, error) {
		return user.EnterPassword(s, c.entered(), user.SignIn{User: c.User, Device: c.Device}, call)
	}).
		Secret().
		AllowedTo(access.Processes),
}

// OfferedFactor is what OfferSecondFactor shows to its sender.
type OfferedFactor struct {
	URL string `json:"url" doc:"The secret, as authenticator apps read it (otpauth://)"`
}

// EnrolledFactor is what EnrolSecondFactor shows to its sender.
type EnrolledFactor struct {
	RecoveryCodes []string `json:"recoveryCodes" doc:"Each replaces a code of the app once; keep them apart from the phone"`
}

// examplePhrase is the password of the examples.
const examplePhrase = "a long pass phrase"
