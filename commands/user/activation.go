package user

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"

	"rsc.io/qr"
)

// ActivationCode is what the commands that make a code show to their sender.
type ActivationCode struct {
	Code string `json:"code" doc:"The code, for POST /api/v1/activate; it is good once"`
	URL  string `json:"url" doc:"User and code as one text, which the app reads from the QR code"`
	QR   string `json:"qr" doc:"The URL as a QR code: a PNG as a data URL, to be shown as it is" example:"data:image/png;base64,iVBORw0KGgo="`
	Days int    `json:"days" doc:"For how many days it is good"`
}

// newActivationCode returns a code of 80 random bits in groups that people can type, and its digest.
func newActivationCode() (code, digest string) {
	text := strings.ToLower(rand.Text()[:16])
	return strings.Join([]string{text[:4], text[4:8], text[8:12], text[12:]}, "-"), access.RecoveryDigest(text)
}

// shownCode is the code as the answer shows it.
func shownCode(of domain.UserID, code string) (*ActivationCode, error) {
	address := "casebook:activate?" + url.Values{"user": {string(of)}, "code": {code}}.Encode()
	picture, err := qr.Encode(address, qr.M)
	if err != nil {
		return nil, fmt.Errorf("draw the QR code: %w", err)
	}
	return &ActivationCode{Code: code, URL: address, Days: user.ActivationDays,
		QR: "data:image/png;base64," + base64.StdEncoding.EncodeToString(picture.PNG())}, nil
}

// typed returns a code as it was made, from how somebody types or dictates it: in groups, with hyphens, dashes or blanks between them.
func typed(code string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.Is(unicode.Dash, r) {
			return -1
		}
		return r
	}, code)
}

// activation declares a command that makes an activation code and shows it once.
func activation[C domain.AboutPatient](decide func(user.User, C, domain.Call) ([]user.Event, error), summary string, example C,
	code func(*C) (of domain.UserID, shown, digest *string)) commands.Command {
	return commands.Handle(user.Decider, decide).
		AllowedTo(access.SiteStaff).
		PreparedWith(func(_ context.Context, _ *commands.Handler, _ commands.Request, c *C) error {
			_, shown, digest := code(c)
			*shown, *digest = newActivationCode()
			return nil
		}).
		Secret().
		Revealing(commands.Shown(func(_ context.Context, _ commands.Reader, _ user.User, c C) (*ActivationCode, error) {
			of, shown, _ := code(&c)
			return shownCode(of, *shown)
		})).
		Described(summary, example)
}

// Activate lets a patient take the own account with the activation code that the site has handed out: the patient chooses the password,
// and the device is enrolled. Every failure gets the same refusal (activation_failed). It also refuses sign_in_delayed after repeated
// failures, value_missing without a device, what a device cannot be named, and weak_password.
func Activate(ctx context.Context, h *commands.Handler, e Entered) (access.Principal, error) {
	failed := refuse.Unauthenticated("activation_failed", "what was entered does not match a code that is good").
		Do("check user and code; a code is good once, for some days: the site can make another one")
	refused := func() (access.Principal, error) {
		h.RecordRefusal(ctx, access.Refused{Action: "Activation", Address: e.Address, TraceID: e.TraceID, Why: failed})
		return access.Principal{}, failed
	}
	if e.User.Validate() != nil {
		return refused()
	}
	if e.Device.ID == "" {
		return access.Principal{}, domain.At("device", domain.Text("id", "", 1))
	}
	if err := domain.First(e.Device.Validate(), access.CheckPasswordOf(e.User, "", e.Password)); err != nil {
		return access.Principal{}, err
	}
	begun, err := h.Attempts().Begin(ctx, e.User, e.Address)
	if err != nil {
		return access.Principal{}, err
	}
	u, err := commands.ReadNewest(ctx, h.Reader(), user.Decider, string(e.User))
	if err != nil {
		begun.Withdraw()
		return access.Principal{}, err
	}
	if !u.Exists() {
		return refused()
	}
	attempt := user.Activation{OfUser: domain.ForUser(e.User), Device: e.Device}
	digest := access.RecoveryDigest(typed(e.Code))
	good := u.ActivationDigest(h.Now())
	if attempt.CodeRight = good != "" && subtle.ConstantTimeCompare([]byte(digest), []byte(good)) == 1; attempt.CodeRight {
		if attempt.PasswordDigest, err = access.DigestPassword(ctx, e.Password); err != nil {
			begun.Withdraw()
			return access.Principal{}, err
		}
	}
	recorded, err := record(ctx, h, "Activation", attempt, e)
	switch {
	case err != nil:
		return access.Principal{}, err
	case !recorded.signedIn:
		return access.Principal{}, failed
	}
	h.Attempts().Succeeded(e.User, e.Address)
	p, err := h.Principal(ctx, e.User)
	p.AuthenticatedAt, p.Device = h.Now(), recorded.device
	return p, err
}
