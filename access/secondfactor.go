package access

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"casebook/domain"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

const (
	// A code is good in its time step of 30 seconds and in the two beside it, because clocks differ (RFC 6238, section 5.2).
	codeStep = 30
	codeSkew = 1
	// recoveryCodes is how many recovery codes an account gets; each has 26 letters and digits, which are 130 random bits.
	recoveryCodes = 8
)

// Factors makes and checks second factors: codes by time (TOTP, RFC 6238). It encrypts their secrets, so that neither the
// log nor a backup of it gives codes away.
type Factors struct{ sealing cipher.AEAD }

// NewFactors returns Factors whose encryption key is derived from the key that signs tokens.
func NewFactors(tokenKey []byte) (*Factors, error) {
	key, err := hkdf.Key(sha256.New, tokenKey, nil, "casebook second factors", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the key of second factors: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	sealing, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Factors{sealing: sealing}, nil
}

// Offer makes a secret for a user: the URL that authenticator apps read, and the encrypted secret.
func (f *Factors) Offer(u domain.UserID) (url, sealed string, err error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "Casebook", AccountName: string(u), Rand: rand.Reader})
	if err != nil {
		return "", "", fmt.Errorf("make a second factor: %w", err)
	}
	encrypted := f.sealing.Seal(nil, nil, []byte(key.Secret()), []byte(u)) // #nosec G407 -- the cipher makes the nonce itself
	return key.URL(), base64.StdEncoding.EncodeToString(encrypted), nil
}

// StepOf returns the time step of a code, or 0 if the code is not one of the secret at this time.
func (f *Factors) StepOf(u domain.UserID, sealed, code string, now time.Time) (int, error) {
	if sealed == "" || code == "" {
		return 0, nil
	}
	encrypted, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return 0, fmt.Errorf("the stored second factor of %s is damaged: %w", u, err)
	}
	secret, err := f.sealing.Open(nil, nil, encrypted, []byte(u))
	if err != nil {
		return 0, ErrFactorDoesNotOpen
	}
	current := now.Unix() / codeStep
	for step := current - codeSkew; step <= current+codeSkew; step++ {
		want, err := totp.GenerateCodeCustom(string(secret), time.Unix(step*codeStep, 0),
			totp.ValidateOpts{Period: codeStep, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return 0, fmt.Errorf("compute the code of %s: %w", u, err)
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			return int(step), nil
		}
	}
	return 0, nil
}

// ErrFactorDoesNotOpen says that a second factor was encrypted with another token key. Recovery codes still work.
var ErrFactorDoesNotOpen = errors.New("the second factor does not open: it was enrolled under another token key")

// NewRecoveryCodes returns codes that each replace one code of the app, and their digests.
func NewRecoveryCodes() (codes, digests []string) {
	for range recoveryCodes {
		code := strings.ToLower(rand.Text())
		codes = append(codes, code)
		digests = append(digests, RecoveryDigest(code))
	}
	return codes, digests
}

// RecoveryDigest returns the digest of a recovery code. The codes are random and long, so that they need no salt.
func RecoveryDigest(code string) string {
	digest := sha256.Sum256([]byte("casebook recovery code\x00" + strings.ToLower(strings.TrimSpace(code))))
	return hex.EncodeToString(digest[:])
}
