// Package chance makes random numbers that follow from a recorded seed. Decisions that need chance take their numbers from
// it, so that they stay pure functions and can be repeated: a seed is fixed before its first number is used, its hash (the
// commitment) is recorded in the clear, and the seed itself is recorded as a blinded value.
package chance

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"strconv"
)

// Seed is the source of random numbers: the n-th number for a purpose is the HMAC-SHA-256, with the seed as the key, of
// the purpose's name, a slash and n. Once the seed is public, anybody can compute the numbers again.
type Seed [32]byte

// Parse reads a seed of 32 bytes in hex. Callers cannot send a seed, so an error is a failure and not a refusal.
func Parse(text string) (Seed, error) {
	bytes, err := hex.DecodeString(text)
	if err != nil || len(bytes) != len(Seed{}) {
		return Seed{}, errors.New("the seed is not 32 bytes in hex")
	}
	return Seed(bytes), nil
}

// String returns the seed in hex.
func (s Seed) String() string { return hex.EncodeToString(s[:]) }

// Commitment is the hash of the seed, in hex. It is public from the beginning, and the seed cannot be computed from it.
func (s Seed) Commitment() string {
	sum := sha256.Sum256(s[:])
	return hex.EncodeToString(sum[:])
}

// Number returns the n-th number for a purpose.
func (s Seed) Number(purpose string, n int) uint64 {
	mac := hmac.New(sha256.New, s[:])
	mac.Write([]byte(purpose + "/" + strconv.Itoa(n)))
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// Unit returns the n-th number for a purpose as a number in [0, 1). It has the number of bits that a float64 holds
// exactly.
func (s Seed) Unit(purpose string, n int) float64 {
	const bits = 53
	return float64(s.Number(purpose, n)>>(64-bits)) / (1 << bits)
}

// Numbers returns the numbers for a purpose, one after the other.
func (s Seed) Numbers(purpose string) *Numbers { return &Numbers{seed: s, purpose: purpose} }

// Numbers are the numbers for one purpose, one after the other.
type Numbers struct {
	seed    Seed
	purpose string
	used    int
}

// Below returns the next number from 0 to n-1; each is equally likely.
func (r *Numbers) Below(n int) int {
	// Numbers from the incomplete range at the top are skipped, because they would make small results more likely.
	complete := math.MaxUint64 - math.MaxUint64%uint64(n)
	for {
		number := r.seed.Number(r.purpose, r.used)
		r.used++
		if number < complete {
			return int(number % uint64(n))
		}
	}
}

// Shuffle puts the values in a random order (Fisher and Yates).
func (r *Numbers) Shuffle(values []int) {
	for i := len(values) - 1; i > 0; i-- {
		j := r.Below(i + 1)
		values[i], values[j] = values[j], values[i]
	}
}
