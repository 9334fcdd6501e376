package scenario

import (
	"testing"

	"casebook/domain/blind"
)

// SealedAlike checks that the two values of each pair are sealed in the same number of bytes, so that the size does not
// tell which of them it is.
func SealedAlike(t testing.TB, pairs map[string][2]blind.Sealer) {
	t.Helper()
	for what, values := range pairs {
		var sizes [2]int
		for i, v := range values {
			if _, err := v.SealWith(func(plain []byte) (string, error) {
				sizes[i] = len(blind.Fill(plain, v.SealedUnit()))
				return "", nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if sizes[0] != sizes[1] {
			t.Errorf("%s are sealed in %d or %d bytes", what, sizes[0], sizes[1])
		}
	}
}
