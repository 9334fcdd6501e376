package main

import (
	"bytes"
	"crypto/sha256"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"casebook/domain/diary"

	"github.com/goccy/go-json"
)

// TestSharesOfAProfile reads a profile that runtime/pprof has just written: the parts are all of it, and a block that was at work has
// one. What is no profile is refused.
func TestSharesOfAProfile(t *testing.T) {
	var profile bytes.Buffer
	if err := pprof.StartCPUProfile(&profile); err != nil {
		t.Skip(err) // the tests themselves are being profiled
	}
	text, err := json.Marshal(diary.Submitted{})
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < 300*time.Millisecond; {
		for range 1000 {
			_ = sha256.Sum256(text)
		}
	}
	pprof.StopCPUProfile()
	shares, err := sharesOf(profile.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, s := range shares {
		sum += s.Part
	}
	if sum < 0.999 || sum > 1.001 || shares[0].Block != "everything else" {
		t.Errorf("the shares are %+v", shares)
	}
	var out strings.Builder
	if err := writeShares(&out, []share{{"commands", 0.25}}, 40); err != nil || out.String() != "  commands   25.0 %   10.00 us\n" {
		t.Errorf("it is written as %q, %v", out.String(), err)
	}
	for _, b := range [][]byte{nil, []byte("x"), profile.Bytes()[:len(profile.Bytes())/2]} {
		if _, err := sharesOf(b); err == nil {
			t.Errorf("%d bytes are a profile", len(b))
		}
	}
}
