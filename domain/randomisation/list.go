package randomisation

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/chance"
	"casebook/domain/refuse"
)

// Bounds of a list. All parts of a list are recorded, sealed, in one append, which has to stay below 1 MiB.
const (
	maxRows     = 40_000
	maxStrata   = 10_000
	maxCSVBytes = 4 << 20
	rowsPerPart = 3_000
	// minRowsToShowHash is how many rows a list must have for its hash to be shown. With two arms in blocks of two, a row
	// has half a bit of entropy, so a shorter list could be found by trying.
	minRowsToShowHash = 256
	armColumn         = "arm"
)

// list is a whole list, with the factors and arms that its rows refer to by number.
type list struct {
	factors []Factor
	arms    []domain.ArmID
	rows    []Row
}

// strataOf counts the combinations of the factors' levels. It returns false if they are more than a list may have; the
// number is then a lower bound.
func strataOf(factors []Factor) (int, bool) {
	n := 1
	for _, f := range factors {
		if n *= len(f.Levels); n > maxStrata {
			return n, false
		}
	}
	return n, true
}

// levels returns the levels of a stratum, in the factors' order.
func levels(factors []Factor, stratum int) []string {
	out := make([]string, len(factors))
	for i := len(factors) - 1; i >= 0; i-- {
		n := len(factors[i].Levels)
		out[i] = factors[i].Levels[stratum%n]
		stratum /= n
	}
	return out
}

// canonical returns the list as CSV: columns in the factors' order, then the arm; a line feed after every row; quotes
// only where RFC 4180 needs them. A file with exactly this text has the same hash as the list.
func (l list) canonical() string {
	var out strings.Builder
	w := csv.NewWriter(&out)
	row := make([]string, 0, len(l.factors)+1)
	for _, f := range l.factors {
		row = append(row, f.ID)
	}
	_ = w.Write(append(row, armColumn)) // writing to a Builder never fails
	for _, r := range l.rows {
		_ = w.Write(append(levels(l.factors, r.Stratum()), string(l.arms[r.Arm()])))
	}
	w.Flush()
	return out.String()
}

// hash returns the SHA-256 of the canonical form. For a generated list, the seed's bytes are hashed before it, so that
// nobody can find a short list by trying.
func (l list) hash(from *chance.Seed) string {
	h := sha256.New()
	if from != nil {
		h.Write(from[:])
	}
	h.Write([]byte(l.canonical()))
	return hex.EncodeToString(h.Sum(nil))
}

// parts splits the list into parts, one for each event.
func (l list) parts(hash string) []ListPart {
	var out []ListPart
	for rows := range slices.Chunk(l.rows, rowsPerPart) {
		out = append(out, ListPart{SHA256: hash, Arms: l.arms, Rows: slices.Clip(rows)})
	}
	return out
}

// valid says whether the list has rows, every row has a valid stratum and arm, and every arm is in some row.
func (l list) valid() bool {
	strata, ok := strataOf(l.factors)
	if !ok || len(l.rows) == 0 {
		return false
	}
	seen := make([]bool, len(l.arms))
	for _, r := range l.rows {
		if r.Stratum() < 0 || r.Stratum() >= strata || r.Arm() < 0 || r.Arm() >= len(l.arms) {
			return false
		}
		seen[r.Arm()] = true
	}
	return !slices.Contains(seen, false)
}

func tooManyStrata(n int) error {
	return refuse.Because("too_many_strata", "the factors have %d combinations of levels or more", n).At("scheme").
		Do(fmt.Sprintf("use minimisation, or a protocol with at most %d combinations", maxStrata))
}

func listTooLong(field, what string, n int) error {
	return refuse.Because("list_too_long", "the list has %d %s", n, what).At(field).
		Do(fmt.Sprintf("use at most %d rows", maxRows))
}
