package simulation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"

	"casebook/domain/diary"
	"casebook/domain/user"
)

// signatureHalf is how many bytes each half of a signature has.
const signatureHalf = 32

// PhoneKey is the key with which the app on a phone signs its entries.
type PhoneKey struct {
	private *ecdsa.PrivateKey
	// Public is what the app sends when it enrols the phone.
	Public user.DeviceKey
}

// NewPhoneKey makes a key.
func NewPhoneKey() (PhoneKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return PhoneKey{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	return PhoneKey{private: private, Public: user.DeviceKey(base64.StdEncoding.EncodeToString(der))}, err
}

// Sign returns an entry with its signature, as docs/epro.md says.
func (k PhoneKey) Sign(c diary.SubmitDiary) (diary.SubmitDiary, error) {
	content, err := diary.SignedContent(c.Patient, c.Instrument, c.CapturedAt, c.Zone, c.Answers, diary.Entered{Device: c.Device,
		Language: c.Language, Sequence: c.Sequence, MonotonicMs: c.MonotonicMs, Respondent: c.Respondent})
	if err != nil {
		return c, err
	}
	sum := sha256.Sum256(content)
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil {
		return c, err
	}
	halves := make([]byte, 2*signatureHalf)
	r.FillBytes(halves[:signatureHalf])
	s.FillBytes(halves[signatureHalf:])
	c.Signature = user.Signature(base64.RawURLEncoding.EncodeToString(halves))
	return c, nil
}
