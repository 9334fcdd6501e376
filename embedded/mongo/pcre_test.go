package mongo

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestPatternsMatchAsInPCRE has the answers of PCRE.
func TestPatternsMatchAsInPCRE(t *testing.T) {
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{`c$`, "abc\n", true}, {`c$`, "abc\n\n", false}, {`c$`, "abc", true}, {`^abc$`, "abc\n", true}, {`c\z`, "abc\n", false},
		{`c$\n`, "abc\n", true}, {`c$\n$`, "abc\n", true}, {`(c$|x)\n`, "abc\n", true}, {`$`, "\n", true}, {`^$`, "\n", true},
		{`^$`, "a\n", false}, {`(?m)c$`, "abc\nd\n", true}, {`(?m)d$`, "abc\nd\n", true}, {`a$b`, "ab\n", false},
		{`(?m)^$`, "abc\n", false}, {`(?m)^$`, "abc\n\n", true}, {`(?m)^$`, "\n", true}, {`(?m)^$`, "", true},
		{`(?m)\n^`, "abc\n", false}, {`(?m)\n^`, "abc\nd", true}, {`(?m)\n^d`, "abc\nd\n", true}, {`(?m)^`, "\n", true},
		{`(?m)\n^\z`, "a\n", false}, {`\A`, "abc\n", true},
		{`a\sb`, "a\vb", true}, {`a\Sb`, "a\vb", false}, {`a[\s]b`, "a\vb", true}, {`a[^\s]b`, "a\vb", false},
		{`a[\Sx]b`, "a\vb", false}, {`a[\S\v]b`, "a\vb", true}, {`a\sb`, "a b", true}, {`a\sb`, "a\u00a0b", false},
		{`a\vb`, "a\nb", true}, {`a\vb`, "a\u2028b", true}, {`a\vb`, "a b", false}, {`a[x\v]b`, "a\rb", true},
		{`\Qa\sb\E`, `a\sb`, true}, {`\Qa\sb\E\s`, "a\\sb\v", true}, {`\\s`, `\s`, true}, {`\\s`, "\v", false},
		{`[]\s]$`, "\v\n", true}, {`[[:alpha:]\s]x`, "\vx", true}, {`[\]\s]x`, "\vx", true},
		{`é$`, "é\n", true}, {`(?i)C$`, "abc\n", true}, {`.$`, "a\n", true}, {`(?s).$`, "a\n", true}, {`\bc$`, "b c\n", true},
	} {
		p, err := compilePCRE(tc.pattern)
		if err != nil {
			t.Errorf("%s: %v", tc.pattern, err)
		} else if p.match([]byte(tc.text)) != tc.want {
			t.Errorf("%s on %q: got %t", tc.pattern, tc.text, !tc.want)
		}
		// With a filter the answer is the same.
		f, err := parseFilter(raw(D("s", D("$regex", tc.pattern))))
		must(t, err)
		if f.match(raw(D("s", tc.text))) != tc.want {
			t.Errorf("filter %s on %q: got %t", tc.pattern, tc.text, !tc.want)
		}
	}
	for _, pattern := range []string{`a(?=b)`, `(a)\1`, `\h`, `\R`, `a\Z`, `a++`, `(?>a)`, `\K`} {
		_, err := parseFilter(raw(D("s", D("$regex", pattern))))
		var refused *commandError
		if !errors.As(err, &refused) || refused.code != codeBadRegex {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}

// TestMachineMatchesAsGo compares the machine with package regexp on texts where both must agree.
func TestMachineMatchesAsGo(t *testing.T) {
	part := rapid.SampledFrom([]string{"a", "b", "[ab]", ".", "a*", "(?:a|b)", "(ab)+", "b?", "\\n", "\\b", "$", "^", "|", "[^a]"})
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.SampledFrom([]string{"", "(?m)", "(?s)", "(?ms)", "(?i)"}).Draw(t, "flags") +
			strings.Join(rapid.SliceOfN(part, 1, 6).Draw(t, "parts"), "")
		if _, err := regexp.Compile(pattern); err != nil {
			t.Skip()
		}
		p, err := compilePCRE(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if p.final == nil {
			t.Skip()
		}
		// Without a newline at the end both have the same meaning of all anchors.
		text := rapid.StringMatching(`[abB\n]{0,6}`).Draw(t, "text") + rapid.SampledFrom([]string{"a", "b"}).Draw(t, "last")
		m := machine{prog: p.final, on: make([]int, len(p.final.Inst))}
		if got, want := m.match([]byte(text)), p.re.MatchString(text); got != want {
			t.Fatalf("%s on %q: got %t, want %t", pattern, text, got, want)
		}
	})
}
