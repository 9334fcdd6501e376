package user

import (
	"context"
	"encoding/json"
	"slices"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
)

// Device is the device that a sign-in names.
type Device = user.DeviceAtSignIn

// Entered is what somebody enters to sign in, and from where.
type Entered struct {
	User     domain.UserID
	Password string
	// Code is a code of the second factor, or a recovery code; empty where none was entered.
	Code string
	// Device is the device to enrol, which counts for the accounts of patients.
	Device           Device
	Address, TraceID string
}

// signInAttempt is the internal command that records an attempt.
type signInAttempt struct {
	domain.OfUser
	Password     bool                `json:"password"`
	CodeMissing  bool                `json:"codeMissing,omitempty"`
	Step         int                 `json:"step,omitempty"`
	RecoveryCode string              `json:"recoveryCode,omitempty"`
	Device       user.DeviceAtSignIn `json:"device,omitzero"`
}

// SignIn checks what was entered and records the attempt. Every failure gets the same refusal (sign_in_failed), so that
// the answer does not show which accounts exist. It also refuses sign_in_delayed after repeated failures, and, to those who
// know the password, code_required if the account has a second factor and no code was entered, record_damaged if nothing can
// be recorded in the account's stream, and too_many_devices; and malformed_id and what else a device cannot be named.
func SignIn(ctx context.Context, h *commands.Handler, e Entered) (access.Principal, error) {
	failed := refuse.Unauthenticated("sign_in_failed", "what was entered does not match an active account").
		Do("check user, password and code; after repeated failures each attempt has to wait longer")
	refused := func() (access.Principal, error) {
		h.RecordRefusal(ctx, access.Refused{Action: "SignIn", Address: e.Address, TraceID: e.TraceID, Why: failed})
		return access.Principal{}, failed
	}
	if e.User.Validate() != nil {
		return refused()
	}
	if err := e.Device.Validate(); err != nil {
		return access.Principal{}, err
	}
	begun, err := h.Attempts().Begin(ctx, e.User, e.Address)
	if err != nil {
		return access.Principal{}, err
	}
	u, err := commands.Read(ctx, h.Reader(), user.Decider, string(e.User))
	if err != nil {
		begun.Withdraw()
		return access.Principal{}, err
	}
	attempt := signInAttempt{OfUser: domain.ForUser(e.User), Device: e.Device}
	if attempt.Password, err = access.PasswordMatches(ctx, begun.Share(), u.Digest, e.Password); err != nil {
		begun.Withdraw()
		return access.Principal{}, err
	}
	if !u.Exists() {
		return refused()
	}
	if u.HasSecondFactor() && attempt.Password {
		if attempt.CodeMissing = e.Code == ""; !attempt.CodeMissing {
			if err := attempt.enter(h, u, e.Code); err != nil {
				return access.Principal{}, err
			}
		}
	}
	asksForCode := attempt.CodeMissing && !u.Locked && !u.Deactivated
	recorded, err := record(ctx, h, "SignInAttempt", attempt, e)
	if r, is := refuse.As(err); is && r.Code == "record_damaged" && !asksForCode {
		if !attempt.proves(u) { // a stranger learns nothing of the account
			return refused()
		}
		h.RecordRefusal(ctx, access.Refused{User: e.User, Action: "SignIn", Address: e.Address, TraceID: e.TraceID, Why: err})
	}
	if err != nil && !asksForCode {
		return access.Principal{}, err
	}
	if asksForCode {
		return access.Principal{}, refuse.Unauthenticated("code_required", "the account has a second factor").At("code").
			Do("send a code of the app, or a recovery code, together with user and password")
	}
	if !recorded.signedIn && !recorded.tooManyDevices {
		return access.Principal{}, failed
	}
	h.Attempts().Succeeded(e.User, e.Address)
	if recorded.tooManyDevices {
		return access.Principal{}, refuse.WrongState(user.TooManyDevices, "the account has as many devices as it may have").At("device").
			Do("sign in without a device, and send RevokeDevice for one of the devices that /api/v1/me shows, or SignOut for all")
	}
	p, err := h.Principal(ctx, e.User)
	// The password was compared with the account as it was read above: a session of a later version is not proven.
	p.Sessions, p.AuthenticatedAt, p.SecondFactor = u.Sessions, h.Now(), u.HasSecondFactor()
	p.Device = recorded.device
	return p, err
}

// entered is what the attempt has entered.
func (a *signInAttempt) entered() user.EnteredSecrets {
	return user.EnteredSecrets{Password: a.Password, CodeMissing: a.CodeMissing, Step: a.Step, RecoveryCode: a.RecoveryCode}
}

// proves says that the attempt would be a sign-in to the account.
func (a *signInAttempt) proves(u user.User) bool {
	events, err := user.EnterPassword(u, a.entered(), user.SignIn{User: u.ID}, domain.Call{})
	return err == nil && slices.ContainsFunc(events, func(e user.Event) bool { return e == user.SignedIn{User: u.ID} })
}

// enter checks the code of a second factor.
func (a *signInAttempt) enter(h *commands.Handler, u user.User, code string) error {
	if len(code) > codeLength {
		a.RecoveryCode = access.RecoveryDigest(code)
		return nil
	}
	factors, err := h.Factors()
	if err != nil {
		return err
	}
	a.Step, err = factors.StepOf(u.ID, u.Secret, code, h.Now())
	return err
}

// codeLength is the length of an app's code; recovery codes are longer.
const codeLength = 6

// recordedAttempt is what an attempt came to.
type recordedAttempt struct {
	signedIn, tooManyDevices bool
	// device is the device that was enrolled, if one was.
	device user.Device
}

// record records an attempt by its command, and says what it came to. An alarm goes to the program's log as well, where those who
// run the system look.
func record(ctx context.Context, h *commands.Handler, command string, attempt any, entered Entered) (outcome recordedAttempt, err error) {
	body, err := json.Marshal(attempt)
	if err != nil {
		return outcome, err
	}
	answer, err := h.Do(ctx, commands.Request{Name: command, Body: body, Principal: access.Process("sign-in"),
		Address: entered.Address, TraceID: entered.TraceID})
	if err != nil {
		return outcome, err
	}
	for _, event := range answer.Events {
		switch e := event.Data.(type) {
		case user.SignedIn:
			outcome.signedIn = true
		case user.SignInFailed:
			outcome.tooManyDevices = e.Code == user.TooManyDevices
		case user.DeviceEnrolled:
			outcome.device = user.Device{ID: e.Device, Name: e.Name, Enrolment: e.Enrolment}
		case user.PasswordGuessingSuspected:
			h.Logger().Warn("many sign-ins to an account have failed in a row", "user", e.User, "failures", e.Failures,
				"traceId", entered.TraceID)
		}
	}
	return outcome, nil
}

// prepareNewPassword proves that owners know their old password, so that a stolen token does not take the account, and
// replaces the new password by its digest. It refuses current_password_required, wrong_password, sign_in_delayed,
// reauthentication_required and weak_password.
func prepareNewPassword(ctx context.Context, h *commands.Handler, r commands.Request, c *user.ChangePassword) error {
	u, err := commands.Read(ctx, h.Reader(), user.Decider, string(c.User))
	if err != nil {
		return err
	}
	if c.Administrators, err = onMachine(ctx, h, r); err != nil {
		return err
	}
	if r.Principal.User == c.User {
		if err := proveOwner(ctx, h, r, u, c.CurrentPassword); err != nil {
			return err
		}
	}
	if err := access.CheckPasswordOf(c.User, u.Name, c.Password); err != nil {
		return err
	}
	c.PasswordDigest, err = access.DigestPassword(ctx, c.Password)
	return err
}

// proveOwner proves that the sender knows the password of the own account, or has signed in just now where the account
// has none.
func proveOwner(ctx context.Context, h *commands.Handler, r commands.Request, u user.User, password string) error {
	if u.Digest == "" {
		return r.Principal.MustHaveSignedInRecently(r.Name, h.Now())
	}
	if password == "" {
		return refuse.Forbidden("current_password_required", "the old password is missing").At("currentPassword").
			Do("send it, or ask an administrator to set a new password")
	}
	begun, err := h.Attempts().Begin(ctx, u.ID, r.Address)
	if err != nil {
		return err
	}
	matches, err := access.PasswordMatches(ctx, access.OfOwners, u.Digest, password)
	if err != nil {
		begun.Withdraw()
		return err
	}
	if matches {
		h.Attempts().Succeeded(u.ID, r.Address)
		return nil
	}
	attempt := signInAttempt{OfUser: domain.ForUser(u.ID)}
	if _, err := record(ctx, h, "SignInAttempt", attempt, Entered{User: u.ID, Address: r.Address, TraceID: r.TraceID}); err != nil {
		return err
	}
	return refuse.Forbidden("wrong_password", "the old password is wrong").At("currentPassword").Do("send the old password")
}

// prepareOffer makes the secret of a second factor.
func prepareOffer(_ context.Context, h *commands.Handler, _ commands.Request, c *user.OfferSecondFactor) error {
	factors, err := h.Factors()
	if err != nil {
		return err
	}
	c.URL, c.SealedSecret, err = factors.Offer(c.User)
	return err
}

// prepareEnrolment checks the code of a new second factor, and makes recovery codes.
func prepareEnrolment(ctx context.Context, h *commands.Handler, _ commands.Request, c *user.EnrolSecondFactor) error {
	factors, err := h.Factors()
	if err != nil {
		return err
	}
	u, err := commands.ReadNewest(ctx, h.Reader(), user.Decider, string(c.User))
	if err != nil {
		return err
	}
	c.Step, err = factors.StepOf(c.User, u.OfferedSecret, c.Code, h.Now())
	c.RecoveryCodes, c.RecoveryDigests = access.NewRecoveryCodes()
	return err
}
