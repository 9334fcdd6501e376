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

// seed is what all random numbers of a scheme are made from: the n-th number for a purpose is the HMAC-SHA-256, under the
// seed, of the purpose's name, a slash and n. Once the seed is shown, anybody can make them again.
type seed [32]byte

// parseSeed fails for anything but 32 bytes in hex. Callers cannot send a seed, so this is a failure and no refusal.
func parseSeed(text string) (seed, error) {
	bytes, err := hex.DecodeString(text)
	if err != nil || len(bytes) != len(seed{}) {
		return seed{}, errors.New("the seed is not 32 bytes in hex")
	}
	return seed(bytes), nil
}

func (s seed) String() string { return hex.EncodeToString(s[:]) }

// commitment is what can be shown of the seed before its end.
func (s seed) commitment() string {
	sum := sha256.Sum256(s[:])
	return hex.EncodeToString(sum[:])
}

func (s seed) number(purpose string, n int) uint64 {
	mac := hmac.New(sha256.New, s[:])
	mac.Write([]byte(purpose + "/" + strconv.Itoa(n)))
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// unit is the random number of draw n, in [0, 1): as many bits as a float64 holds exactly.
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

// below returns the next number from 0 to n-1, each as likely as the others.
func (r *numbers) below(n int) int {
	// Numbers of the incomplete range at the top would favour the small results.
	complete := math.MaxUint64 - math.MaxUint64%uint64(n)
	for {
		number := r.seed.number(r.purpose, r.used)
		r.used++
		if number < complete {
			return int(number % uint64(n))
		}
	}
}

// shuffle puts the values in random order (Fisher and Yates).
func shuffle(values []int, r *numbers) {
	for i := len(values) - 1; i > 0; i-- {
		j := r.below(i + 1)
		values[i], values[j] = values[j], values[i]
	}
}

// numbersOfStratum are those that the blocks of a stratum are made from.
func (s seed) numbersOfStratum(stratum int) *numbers {
	return &numbers{seed: s, purpose: fmt.Sprintf("list/%d", stratum)}
}
