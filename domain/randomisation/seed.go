package randomisation

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// seed is the source of all random numbers of a scheme: the n-th number for a purpose is the HMAC-SHA-256, with the
// seed as the key, of the purpose's name, a slash and n. Once the seed is public, anybody can compute the numbers
// again.
type seed [32]byte

// parseSeed reads a seed of 32 bytes in hex. Callers cannot send a seed, so an error is a failure and not a refusal.
func parseSeed(text string) (seed, error) {
	bytes, err := hex.DecodeString(text)
	if err != nil || len(bytes) != len(seed{}) {
		return seed{}, errors.New("the seed is not 32 bytes in hex")
	}
	return seed(bytes), nil
}

func (s seed) String() string { return hex.EncodeToString(s[:]) }

// commitment is the hash of the seed. It is public from the beginning, and the seed cannot be computed from it.
func (s seed) commitment() string {
	sum := sha256.Sum256(s[:])
	return hex.EncodeToString(sum[:])
}

func (s seed) number(purpose string, n int) uint64 {
	mac := hmac.New(sha256.New, s[:])
	mac.Write([]byte(purpose + "/" + strconv.Itoa(n)))
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// unit is the random number of draw n, in [0, 1). It has the number of bits that a float64 holds exactly.
func (s seed) unit(n int) float64 {
	const bits = 53
	return float64(s.number("draw", n)>>(64-bits)) / (1 << bits)
}

// numbers are the numbers of one purpose, one after the other.
type numbers struct {
	seed    seed
	purpose string
	used    int
}

// below returns the next number from 0 to n-1; each is equally likely.
func (r *numbers) below(n int) int {
	// Numbers from the incomplete range at the top are skipped, because they would make small results more likely.
	complete := math.MaxUint64 - math.MaxUint64%uint64(n)
	for {
		number := r.seed.number(r.purpose, r.used)
		r.used++
		if number < complete {
			return int(number % uint64(n))
		}
	}
}

// shuffle puts the values in a random order (Fisher and Yates).
func shuffle(values []int, r *numbers) {
	for i := len(values) - 1; i > 0; i-- {
		j := r.below(i + 1)
		values[i], values[j] = values[j], values[i]
	}
}

// numbersOfStratum returns the random numbers for the blocks of a stratum.
func (s seed) numbersOfStratum(stratum int) *numbers {
	return &numbers{seed: s, purpose: fmt.Sprintf("list/%d", stratum)}
}
