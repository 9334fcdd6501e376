package commands

import (
	"crypto/rand"
	"encoding/hex"
)

// NewSeed returns 32 random bytes in hex. Declarations put it into commands whose decision may have to fix a seed (see
// package chance): decisions themselves make no random numbers.
func NewSeed() (string, error) {
	seed := make([]byte, 32)
	if _, err := rand.Read(seed); err != nil {
		return "", err
	}
	return hex.EncodeToString(seed), nil
}
