package mongo

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// MongoDB's regular expressions are those of PCRE, this server's are those of Go. What Go does not have is refused when it
// is compiled. This file is about what Go would accept and match otherwise: \s without the vertical tab, \v as that tab
// alone, $ that does not match before a final newline, and ^ with the option m that matches behind one.

// pcre is a compiled pattern.
type pcre struct {
	re *regexp.Regexp
	// final matches texts that end with a newline. It is nil if re does that as well.
	final *syntax.Prog
}

// Two runes that no text has stand for PCRE's $ and ^ until the pattern is compiled.
const (
	runeDollar = -2
	runeLine   = -3
)

// Two conditions beside those of package syntax, which have the bits below.
const (
	emptyDollar syntax.EmptyOp = 1 << 6
	emptyLine   syntax.EmptyOp = 1 << 7
)

func compilePCRE(pattern string) (*pcre, error) {
	p := &pcre{}
	var err error
	if p.re, err = regexp.Compile(pattern); err != nil { // before anything is rewritten, so that the error names the pattern
		return nil, err
	}
	rewritten := rewriteClasses(pattern)
	if rewritten != pattern {
		if p.re, err = regexp.Compile(rewritten); err != nil {
			return nil, err
		}
	}
	tree, err := syntax.Parse(rewritten, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if !markAnchors(tree) {
		return p, nil
	}
	if p.final, err = syntax.Compile(tree.Simplify()); err != nil {
		return nil, err
	}
	for i := range p.final.Inst {
		in := &p.final.Inst[i]
		if (in.Op != syntax.InstRune && in.Op != syntax.InstRune1) || len(in.Rune) == 0 {
			continue
		}
		switch in.Rune[0] {
		case runeDollar:
			in.Op, in.Arg = syntax.InstEmptyWidth, uint32(emptyDollar)
		case runeLine:
			in.Op, in.Arg = syntax.InstEmptyWidth, uint32(emptyLine)
		}
	}
	return p, nil
}

// markAnchors replaces the anchors that Go understands otherwise than PCRE, and reports whether there are any.
func markAnchors(re *syntax.Regexp) bool {
	marked := false
	switch {
	case re.Op == syntax.OpEndText && re.Flags&syntax.WasDollar != 0:
		re.Op, re.Rune, re.Flags = syntax.OpLiteral, []rune{runeDollar}, 0
		marked = true
	case re.Op == syntax.OpBeginLine:
		re.Op, re.Rune, re.Flags = syntax.OpLiteral, []rune{runeLine}, 0
		marked = true
	}
	for _, sub := range re.Sub {
		marked = markAnchors(sub) || marked
	}
	return marked
}

// pcreEscapes are the escapes that mean other characters in PCRE, outside and inside brackets.
var pcreEscapes = map[byte][2]string{
	's': {`[[:space:]]`, `[:space:]`},
	'S': {`[^[:space:]]`, `[:^space:]`},
	'v': {`[\n\x0b\f\r\x{85}\x{2028}\x{2029}]`, `\n\x0b\f\r\x{85}\x{2028}\x{2029}`},
}

// rewriteClasses writes the escapes of a valid pattern as Go needs them for PCRE's meaning.
func rewriteClasses(pattern string) string {
	if !strings.Contains(pattern, `\s`) && !strings.Contains(pattern, `\S`) && !strings.Contains(pattern, `\v`) {
		return pattern
	}
	var b strings.Builder
	inside := 0 // 1 inside brackets
	for i := 0; i < len(pattern); i++ {
		rest := pattern[i:]
		switch {
		case rest[0] == '\\' && len(rest) > 1 && rest[1] == 'Q' && inside == 0:
			quoted, _, _ := strings.Cut(rest[2:], `\E`)
			end := min(len(rest), 2+len(quoted)+2)
			b.WriteString(rest[:end])
			i += end - 1
		case rest[0] == '\\' && len(rest) > 1:
			if class, ok := pcreEscapes[rest[1]]; ok {
				b.WriteString(class[inside])
			} else {
				b.WriteString(rest[:2])
			}
			i++
		case rest[0] == '[' && inside == 0:
			// A bracket that closes right behind the opening one is a character.
			n := 1
			if strings.HasPrefix(rest[n:], "^") {
				n++
			}
			if strings.HasPrefix(rest[n:], "]") {
				n++
			}
			b.WriteString(rest[:n])
			i += n - 1
			inside = 1
		case inside == 1 && strings.HasPrefix(rest, "[:"):
			name, _, closed := strings.Cut(rest[2:], ":]")
			if !closed {
				b.WriteByte(rest[0])
				continue
			}
			b.WriteString(rest[:2+len(name)+2])
			i += 2 + len(name) + 2 - 1
		case rest[0] == ']' && inside == 1:
			b.WriteByte(']')
			inside = 0
		default:
			b.WriteByte(rest[0])
		}
	}
	return b.String()
}

// match reports whether the text has a match anywhere.
func (p *pcre) match(text []byte) bool {
	if p.final == nil || len(text) == 0 || text[len(text)-1] != '\n' {
		return p.re.Match(text)
	}
	m := machine{prog: p.final, on: make([]int, len(p.final.Inst))}
	return m.match(text)
}

// machine runs a program on one text, all of its threads at once. The time is bounded by the product of both sizes.
type machine struct {
	prog    *syntax.Prog
	threads []uint32
	on      []int // by instruction, the step in which it was last added
	step    int
}

func (m *machine) match(text []byte) bool {
	before := rune(-1)
	for at := 0; ; {
		now, size := rune(-1), 0
		if at < len(text) {
			now, size = utf8.DecodeRune(text[at:])
		}
		flags := syntax.EmptyOpContext(before, now)
		if now < 0 || now == '\n' && at+size == len(text) {
			flags |= emptyDollar
		}
		if before < 0 || before == '\n' && now >= 0 {
			flags |= emptyLine
		}
		m.step++
		current := m.threads
		m.threads = make([]uint32, 0, len(current)+1)
		for _, pc := range append(current, uint32(m.prog.Start)) { // a match may begin at every position
			if m.add(pc, flags) {
				return true
			}
		}
		if now < 0 {
			return false
		}
		waiting := m.threads
		m.threads = waiting[:0]
		for _, pc := range waiting {
			if in := &m.prog.Inst[pc]; in.MatchRune(now) {
				m.threads = append(m.threads, in.Out)
			}
		}
		before, at = now, at+size
	}
}

// add adds the instructions that are reached from pc without a character. It reports whether one of them is a match.
func (m *machine) add(pc uint32, flags syntax.EmptyOp) bool {
	if m.on[pc] == m.step {
		return false
	}
	m.on[pc] = m.step
	in := &m.prog.Inst[pc]
	switch in.Op {
	case syntax.InstMatch:
		return true
	case syntax.InstAlt, syntax.InstAltMatch:
		return m.add(in.Out, flags) || m.add(in.Arg, flags)
	case syntax.InstCapture, syntax.InstNop:
		return m.add(in.Out, flags)
	case syntax.InstEmptyWidth:
		return syntax.EmptyOp(in.Arg)&^flags == 0 && m.add(in.Out, flags)
	case syntax.InstFail:
		return false
	default: // one that reads a character
	}
	m.threads = append(m.threads, pc)
	return false
}
