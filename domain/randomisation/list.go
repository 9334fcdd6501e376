package randomisation

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/refuse"
)

// Bounds of a list. All parts of one are recorded in one append, sealed, which has to stay below 1 MiB.
const (
	maxRows     = 40_000
	maxStrata   = 10_000
	maxCSVBytes = 4 << 20
	rowsPerPart = 3_000
	// rowsThatHide is how long a list has to be for its hash to be shown. Blocks of two and two arms leave half a bit to
	// guess per row, so shorter lists could be found by trying.
	rowsThatHide = 256
	armColumn    = "arm"
)

// list is a whole list, and what its rows' numbers count through.
type list struct {
	factors []Factor
	arms    []domain.ArmID
	rows    []Row
}

// strataOf counts the combinations of the factors' levels; false where they are more than a list may have.
func strataOf(factors []Factor) (int, bool) {
	n := 1
	for _, f := range factors {
		if n *= len(f.Levels); n > maxStrata {
			return n, false
		}
	}
	return n, true
}

// levels returns the levels that make up a stratum, in the factors' order.
func levels(factors []Factor, stratum int) []string {
	out := make([]string, len(factors))
	for i := len(factors) - 1; i >= 0; i-- {
		n := len(factors[i].Levels)
		out[i] = factors[i].Levels[stratum%n]
		stratum /= n
	}
	return out
}

// canonical writes the list as CSV: columns in the factors' order, then the arm; one line feed behind every row, quotes
// only where RFC 4180 needs them. A file that is written like this has the list's own hash.
func (l list) canonical() string {
	var out strings.Builder
	w := csv.NewWriter(&out)
	row := make([]string, 0, len(l.factors)+1)
	for _, f := range l.factors {
		row = append(row, f.ID)
	}
	_ = w.Write(append(row, armColumn)) // a Builder takes everything
	for _, r := range l.rows {
		_ = w.Write(append(levels(l.factors, r.Stratum()), string(l.arms[r.Arm()])))
	}
	w.Flush()
	return out.String()
}

// hash returns the SHA-256 of the canonical form; of the seed's bytes and then the list where it was generated, so that
// nobody finds a short list by trying.
func (l list) hash(from *seed) string {
	h := sha256.New()
	if from != nil {
		h.Write(from[:])
	}
	h.Write([]byte(l.canonical()))
	return hex.EncodeToString(h.Sum(nil))
}

// parts cuts the list into pieces for one event each.
func (l list) parts(hash string) []ListPart {
	var out []ListPart
	for rows := range slices.Chunk(l.rows, rowsPerPart) {
		out = append(out, ListPart{SHA256: hash, Arms: l.arms, Rows: slices.Clip(rows)})
	}
	return out
}

// whole says whether every number of the rows counts something, and every arm is in some row.
func (l list) whole() bool {
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
