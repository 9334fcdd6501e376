package commands

import (
	"bytes"
	"encoding/json"
	"testing"

	"casebook/domain/canonical"
)

// FuzzCanonicalJSON: the faster way to the canonical form comes to the same bytes, whatever JSON was sent, if it has one.
func FuzzCanonicalJSON(f *testing.F) {
	for _, seed := range []string{
		`{"b":1.0,"a":[true,null,"<&>"],"é":"\u20ac\ud83d\ude00","":{}}`, `-0`, `1e21`, `1e-7`, `12345678901234567890`, `0.1`, `[1E400]`,
		`{"a":1,"a":2}`, `"\ud800"`, "\"\xff\"", `{"\ud83d\ude00":1,"\ufb33":2,"z":3}`, `"\u0000\u001f\u007f\b\t\n\f\r\"\\/"`, `5e-324`, ` [ ] `,
		`9007199254740993`, `{"x":{"z":1,"y":2.50}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		for _, value := range []any{json.RawMessage(sent), struct {
			Z string          `json:"z"`
			A json.RawMessage `json:"a"`
		}{string(sent), sent}} {
			want, wrong := canonical.JSON(value)
			got, err := canonicalJSON(value)
			if wrong == nil && (err != nil || !bytes.Equal(want, got)) { // a number beyond float64 has only the largest as its form here
				t.Errorf("%q: %q, %v, and by the package for it %q, %v", sent, got, err, want, wrong)
			}
		}
	})
}
