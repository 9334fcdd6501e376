package api

import "testing"

func TestAValidTraceparentIsHonoured(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, c := range []struct {
		name, header string
		honoured     bool
	}{
		{"sampled", "00-" + id + "-00f067aa0ba902b7-01", true},
		{"not sampled", "00-" + id + "-00f067aa0ba902b7-00", true},
		{"a later version", "01-" + id + "-00f067aa0ba902b7-01-more", true},
		{"none", "", false},
		{"version 00 with more", "00-" + id + "-00f067aa0ba902b7-01-more", false},
		{"a later version without its hyphen", "01-" + id + "-00f067aa0ba902b7-01more", false},
		{"the forbidden version", "ff-" + id + "-00f067aa0ba902b7-01", false},
		{"upper case", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false},
		{"a trace of zeros", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", false},
		{"a parent of zeros", "00-" + id + "-0000000000000000-01", false},
		{"too short", "00-" + id, false},
		{"other separators", "00_" + id + "_00f067aa0ba902b7_01", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := traceOf(c.header)
			if len(got) != 32 || !lowerHex(got) {
				t.Fatalf("%q is no trace id", got)
			}
			if (got == id) != c.honoured {
				t.Errorf("%q gives %s", c.header, got)
			}
		})
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Add("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x")
	f.Fuzz(func(t *testing.T, header string) {
		if id := traceOf(header); len(id) != 32 || !lowerHex(id) {
			t.Errorf("%q gives %q", header, id)
		}
	})
}
