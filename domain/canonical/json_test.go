package canonical_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"casebook/domain/canonical"

	"github.com/goccy/go-json/jsontext"
	"pgregory.net/rapid"
)

// The examples of RFC 8785, sections 3.2.2 to 3.2.4.
func TestRFC8785(t *testing.T) {
	for _, x := range []struct{ in, want string }{
		{
			`{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001], ` +
				`"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}`,
			`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],` +
				`"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		},
		{
			`{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One", ` +
				`"\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}`,
			`{"\r":"Carriage Return","1":"One","` + "\u0080" + `":"Control","ö":"Latin Small Letter O With Diaeresis",` +
				`"€":"Euro Sign","😀":"Emoji: Grinning Face","` + "\ufb33" + `":"Hebrew Letter Dalet With Dagesh"}`,
		},
		{`-0`, `0`}, {`1e21`, `1e+21`}, {`1e20`, `100000000000000000000`}, {`1e-6`, `0.000001`}, {`1e-7`, `1e-7`}, {`5e-324`, `5e-324`},
		{`"<&>\u2028"`, "\"<&>\u2028\""}, {`[]`, `[]`}, {`{}`, `{}`},
	} {
		got, err := canonical.JSON(json.RawMessage(x.in))
		if err != nil || string(got) != x.want {
			t.Errorf("%s became\n%s, %v; want\n%s", x.in, got, err, x.want)
		}
	}
}

func TestValuesAreHashedAsTheirJSON(t *testing.T) {
	type one struct {
		B string `json:"b"`
		A int    `json:"a,omitempty"`
	}
	type other struct {
		A float64        `json:"a"`
		B string         `json:"b"`
		C map[string]any `json:"c,omitempty"`
	}
	a, err := canonical.SHA256(one{A: 1, B: "x"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := canonical.SHA256(&other{A: 1, B: "x", C: map[string]any{}})
	if err != nil || a != b {
		t.Errorf("%s and %s, %v", a, b, err)
	}
	// sha256sum of {"a":1,"b":"x"}
	if want := "ecf9e98ec0641e23113ff3ce8bdc78d0ddd249886517fd4a7f68cc83d4e65667"; a != want {
		t.Errorf("the hash is %s, want %s", a, want)
	}
	for _, value := range []any{math.NaN(), func() {}} {
		if hash, err := canonical.SHA256(value); err == nil || hash != "" {
			t.Errorf("%v has the hash %s", value, hash)
		}
	}
}

// Any JSON has the bytes that another implementation of RFC 8785 gives it.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"b":[1,2.50,-0],"a":{"é":"\u0001\"","":null}}`, `1e400`, `"\ud800"`,
		`[1e-7,123456789012345678901234567890]`, `{"😀":1,"דּ":2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		var v any
		if json.Unmarshal(sent, &v) != nil {
			return
		}
		normal, err := json.Marshal(v) // duplicate names and broken UTF-8 are mended here
		if err != nil {
			t.Fatal(err)
		}
		want := jsontext.Value(normal)
		if err := want.Canonicalize(); err != nil {
			t.Fatal(err)
		}
		got, err := canonical.JSON(v)
		if err != nil || string(got) != string(want) {
			t.Fatalf("%s became\n%s, %v; want\n%s", sent, got, err, want)
		}
	})
}

func TestNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Float64().Draw(t, "n")
		want := jsontext.Value(fmt.Sprintf("%g", n))
		if err := want.Canonicalize(); err != nil {
			t.Fatal(err)
		}
		if got, err := canonical.JSON(n); err != nil || string(got) != string(want) {
			t.Fatalf("%v became %s, %v; want %s", n, got, err, want)
		}
	})
}
