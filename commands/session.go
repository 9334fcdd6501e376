package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/eventlog"
)

// Principal returns the user with the grants that hold now, or held within the last second. It refuses account_not_found,
// account_locked and account_deactivated, and rights_not_known if the event store cannot be asked.
func (h *Handler) Principal(ctx context.Context, id domain.UserID) (access.Principal, error) {
	p, _, err := h.principal(ctx, id)
	return p, err
}

// Authenticated returns the user of a verified token with the grants of Principal, and refuses what Principal refuses, and
// session_ended if the token belongs to a session that has ended.
func (h *Handler) Authenticated(ctx context.Context, proof access.Proof) (access.Principal, error) {
	p, u, err := h.principal(ctx, proof.User)
	if err != nil {
		return p, err
	}
	if ended(u, proof) {
		return access.Principal{}, refuse.Unauthenticated("session_ended", "the session of %s has ended", proof.User).Do("sign in again")
	}
	p.AuthenticatedAt, p.SecondFactor = proof.AuthenticatedAt, proof.SecondFactor
	if at := slices.IndexFunc(u.Devices, func(d user.Device) bool { return proof.InSession && d.ID == proof.Device }); at >= 0 {
		p.Device = u.Devices[at]
	}
	return p, nil
}

// ended says whether a token belongs to a session that has ended, or to a device that was revoked or enrolled anew. A token of
// an identity provider, or of the operator, names no session: it has to be younger than the end of the account's sessions, and
// so does the sign-in behind it.
func ended(u user.User, proof access.Proof) bool {
	if proof.InSession {
		return proof.Version != u.Sessions || proof.Device != "" && !u.HasDevice(proof.Device, proof.Enrolment)
	}
	if u.SessionsEndedAt.IsZero() {
		return false
	}
	return !proof.IssuedAt.After(u.SessionsEndedAt) ||
		!proof.AuthenticatedAt.IsZero() && !proof.AuthenticatedAt.After(u.SessionsEndedAt)
}

func (h *Handler) principal(ctx context.Context, id domain.UserID) (access.Principal, user.User, error) {
	past := h.log.Past()
	u, claimed, damage, err := ReadClaimed(ctx, h.Reader(), user.Decider, string(id))
	var damaged error
	if err == nil && damage != nil {
		u, damaged = restricted(u, claimed), recordDamaged(*damage)
	}
	switch {
	case h.log.Past() != past:
		return access.Principal{}, u, logReplaced("it was asked what the rights of " + string(id) + " are")
	case eventlog.IsAway(err) && !errors.Is(ctx.Err(), context.Canceled): // otherwise nobody waits for an answer
		away := refuse.Overload("rights_not_known", "the event store cannot be asked at present whether %s still has the same rights", id).
			Do("send the same again in a moment, a command with the same Idempotency-Key")
		return access.Principal{}, u, fmt.Errorf("%w: %w", away, err)
	case err != nil:
		return access.Principal{}, u, fmt.Errorf("load user %s: %w", id, err)
	case !u.Exists():
		return access.Principal{}, u, refuse.Unauthenticated("account_not_found", "%s has no account here", id).Do("ask an administrator for one")
	case u.Deactivated:
		return access.Principal{}, u, refuse.Unauthenticated("account_deactivated", "the account %s is deactivated", id).
			Do("use another account of yours, or ask an administrator for one: this one stays closed")
	case u.Locked:
		return access.Principal{}, u, refuse.Unauthenticated("account_locked", "the account %s is locked", id).
			Do("ask an administrator to unlock it")
	}
	return access.Principal{User: id, Grants: u.Grants, Sessions: u.Sessions, Devices: u.Devices,
		MustChangePassword: u.MustChangePassword, Unconfirmed: u.Unconfirmed, Damaged: damaged, Past: uint64(past)}, u, nil
}

// restricted returns a damaged account as far as both its sound part and its whole stream allow it: what was put there must
// not give a role, and an altered event must not give one back that was taken away.
func restricted(sound, claimed user.User) user.User {
	sound.Locked = sound.Locked || claimed.Locked
	sound.Deactivated = sound.Deactivated || claimed.Deactivated
	sound.Grants = slices.DeleteFunc(slices.Clone(sound.Grants), func(g user.Grant) bool { return !slices.Contains(claimed.Grants, g) })
	sound.MustChangePassword = sound.MustChangePassword || claimed.MustChangePassword
	sound.Unconfirmed = sound.Unconfirmed || claimed.Unconfirmed
	sound.Devices = slices.DeleteFunc(slices.Clone(sound.Devices), func(d user.Device) bool { return !slices.Contains(claimed.Devices, d) })
	if claimed.Sessions > sound.Sessions {
		sound.Sessions, sound.SessionsEndedAt = claimed.Sessions, claimed.SessionsEndedAt
	}
	return sound
}

// mustBePresent refuses a sender who may be somebody else than the owner of the account: account_not_confirmed,
// reauthentication_required and second_factor_required, as far as the command asks for it.
func (d *Declaration[S, E, F, C]) mustBePresent(ctx context.Context, h *Handler, r Request, scope domain.Scope) error {
	if d.confirmed || d.freshSignIn {
		if err := r.Principal.MustBeConfirmed(d.name); err != nil {
			return err
		}
	}
	if !d.freshSignIn {
		return nil
	}
	if err := r.Principal.MustHaveSignedInRecently(d.name, h.now()); err != nil {
		return err
	}
	s, err := Read(ctx, h.Reader(), study.Decider, string(scope.Study))
	if err != nil || !s.SecondFactor {
		return err
	}
	return r.Principal.MustHaveSecondFactor(d.name)
}

// ownersMustBePresent refuses reauthentication_required, if the command on one's own account asks for a fresh sign-in: a
// stolen token must not be enough. The account need not be confirmed, because its owner makes it safe with such commands.
func (d *Declaration[S, E, F, C]) ownersMustBePresent(h *Handler, r Request) error {
	if !d.freshSignIn {
		return nil
	}
	err := r.Principal.MustHaveSignedInRecently(d.name, h.now())
	if err != nil {
		d.recordRefusal(r, domain.Scope{}, err)
	}
	return err
}

// Attempts delays attempts to guess passwords and codes.
func (h *Handler) Attempts() *access.Attempts { return h.attempts }

// Factors checks second factors. It refuses second_factor_unavailable in a program that was started without.
func (h *Handler) Factors() (*access.Factors, error) {
	if h.factors == nil {
		return nil, refuse.Overload("second_factor_unavailable", "this program cannot check second factors").Do("use a server with the role api")
	}
	return h.factors, nil
}

// Logger is the program's log.
func (h *Handler) Logger() *slog.Logger { return h.logger }

// Now is the time by the handler's clock.
func (h *Handler) Now() time.Time { return h.now() }
