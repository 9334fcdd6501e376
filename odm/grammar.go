package odm

import (
	_ "embed" // the grammars
	"strings"
	"sync"
)

// Version is a version of the standard.
type Version string

// The versions that are read and written.
const (
	V132 Version = "1.3.2"
	V20  Version = "2.0"
)

// space is the version's namespace.
func (v Version) space() string {
	if v == V132 {
		return space13
	}
	return space20
}

// A line of a grammar is an element: its attributes with an at sign, with an exclamation mark when the standard asks for
// them; a number sign when it holds text; its elements in order, joined by a bar where any order is allowed.
var (
	//go:embed grammar/1.3.2.txt
	lines132 string
	//go:embed grammar/2.0.txt
	lines20 string
)

// production is what the standard says about an element.
type production struct {
	// attributes are those that it can have; true for those that it must.
	attributes map[string]bool
	required   []string
	// rank is the position of each element that it can hold.
	rank map[string]int
	text bool
}

var (
	grammar132 = sync.OnceValue(func() map[string]production { return parseGrammar(lines132) })
	grammar20  = sync.OnceValue(func() map[string]production { return parseGrammar(lines20) })
)

func (v Version) grammar() map[string]production {
	if v == V132 {
		return grammar132()
	}
	return grammar20()
}

func parseGrammar(lines string) map[string]production {
	grammar := map[string]production{}
	for line := range strings.Lines(lines) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		p := production{attributes: map[string]bool{}, rank: map[string]int{}}
		for at, field := range fields[1:] {
			switch name, isAttribute := strings.CutPrefix(field, "@"); {
			case isAttribute:
				name, required := strings.CutSuffix(name, "!")
				if p.attributes[name] = required; required {
					p.required = append(p.required, name)
				}
			case field == "#":
				p.text = true
			default:
				for one := range strings.SplitSeq(field, "|") {
					p.rank[one] = at
				}
			}
		}
		grammar[fields[0]] = p
	}
	return grammar
}

// qualified returns the name that a grammar has for an attribute or an element.
func qualified(space, name string) string {
	switch space {
	case "":
		return name
	case spaceXML:
		return "xml:" + name
	case spaceXLink:
		return "xlink:" + name
	case spaceXHTML:
		return "xhtml:" + name
	case spaceSignature:
		return "ds:" + name
	default:
		return "{" + space + "}" + name
	}
}
