package user

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/refuse"
)

// Signature is what a device makes with its key: ECDSA on P-256 with SHA-256, as base64url of r and s with 32 bytes each. That is the
// form in which Web Crypto signs (Web Cryptography API, section 23; IEEE Std 1363).
type Signature string

// signatureHalf is how many bytes r and s have each.
const signatureHalf = 32

// Schema implements domain.HasSchema.
func (Signature) Schema() domain.Schema { return domain.Schema{Pattern: `^[A-Za-z0-9_-]{86}$`} }

// Validate refuses what no key can have made (code invalid_signature). That it is right, Signed says.
func (s Signature) Validate() error {
	if _, ok := s.halves(); ok {
		return nil
	}
	return refuse.Malformed("invalid_signature", "the signature has %d characters, and is not 64 bytes in base64url", len(s)).
		At("signature").Do("keep the entry, and send it with r and s of the signature, 32 bytes each, as base64url; not in DER, nor as base64")
}

// halves returns the bytes of r and s; ok is false for what is none.
func (s Signature) halves() (rs []byte, ok bool) {
	if strings.ContainsAny(string(s), "\r\n") { // which the decoder passes over
		return nil, false
	}
	rs, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(string(s), "="))
	return rs, err == nil && len(rs) == 2*signatureHalf
}

// Signed says whether the signature of the content was made with this key. A malformed key or signature is no proof.
func (k DeviceKey) Signed(content []byte, s Signature) bool {
	halves, ok := s.halves()
	key := k.public()
	if !ok || key == nil {
		return false
	}
	sum := sha256.Sum256(content)
	return ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(halves[:signatureHalf]), new(big.Int).SetBytes(halves[signatureHalf:]))
}

// public returns the key in the form that signatures are verified with; nil if it is malformed.
func (k DeviceKey) public() *ecdsa.PublicKey {
	der, err := base64.StdEncoding.DecodeString(string(k))
	if err != nil {
		return nil
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil
	}
	key, _ := parsed.(*ecdsa.PublicKey)
	return key
}

// keyOfDevice is a key that an account knows of a device.
type keyOfDevice struct {
	device DeviceID
	key    DeviceKey
	// signs says that the device signs its entries since it was enrolled with the key.
	signs bool
}

// maxKeysOfDevice bounds the keys of a device that an account remembers. How many devices there are is bounded too.
const maxKeysOfDevice = 50

// KeysOf returns the keys with which a device was enrolled since it was last revoked, because it may send what it signed with an earlier
// one. signs says that it signs all its entries: also when it is enrolled again without a key, as somebody might who has none.
func (u User) KeysOf(id DeviceID) (keys []DeviceKey, signs bool) {
	for _, k := range u.deviceKeys {
		if k.device == id {
			keys, signs = append(keys, k.key), signs || k.signs
		}
	}
	return keys, signs
}

// Signs says whether a device of the account signs its entries.
func (u User) Signs() bool {
	return slices.ContainsFunc(u.deviceKeys, func(k keyOfDevice) bool { return k.signs })
}

// withDeviceKey notes the key of an enrolment.
func (u User) withDeviceKey(e DeviceEnrolled) User {
	if e.Key == "" {
		return u
	}
	all := slices.DeleteFunc(slices.Clone(u.deviceKeys), func(k keyOfDevice) bool { return k.device == e.Device && k.key == e.Key })
	all = append(all, keyOfDevice{device: e.Device, key: e.Key, signs: e.Signs})
	known, oldest := 0, -1
	for n, k := range all {
		if k.device != e.Device {
			continue
		}
		if known++; oldest < 0 {
			oldest = n
		}
	}
	if known > maxKeysOfDevice {
		// The duty to sign outlives the key with which it began.
		all[len(all)-1].signs = e.Signs || all[oldest].signs
		all = slices.Delete(all, oldest, oldest+1)
	}
	u.deviceKeys = all
	return u
}

// withoutDeviceKeys forgets the keys of a device that was revoked: whoever has the device has them.
func (u User) withoutDeviceKeys(id DeviceID) User {
	u.deviceKeys = slices.DeleteFunc(slices.Clone(u.deviceKeys), func(k keyOfDevice) bool { return k.device == id })
	return u
}
