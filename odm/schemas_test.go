package odm

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// schemaNode is an element of an XML schema.
type schemaNode struct {
	XMLName  xml.Name
	Name     string       `xml:"name,attr"`
	Ref      string       `xml:"ref,attr"`
	Type     string       `xml:"type,attr"`
	Base     string       `xml:"base,attr"`
	Mixed    bool         `xml:"mixed,attr"`
	Children []schemaNode `xml:",any"`
}

// schemas are the named parts of the schemas of a version, by kind and name.
type schemas map[[2]string]schemaNode

func readSchemas(t *testing.T, pattern string) schemas {
	t.Helper()
	names, _ := filepath.Glob(shared + pattern)
	found := schemas{}
	for _, name := range names {
		if strings.HasSuffix(name, "xhtml.xsd") {
			continue
		}
		text, err := io.ReadAll(open(t, strings.TrimPrefix(name, shared)))
		if err != nil {
			t.Fatal(err)
		}
		var schema schemaNode
		if err := xml.Unmarshal(text, &schema); err != nil {
			t.Fatal(err)
		}
		for _, n := range schema.Children {
			found[[2]string{n.XMLName.Local, n.Name}] = n
		}
	}
	return found
}

// walk collects the attributes and elements of a type.
func (s schemas) walk(n schemaNode, attributes, children map[string]bool, text *bool) {
	for _, c := range n.Children {
		switch c.XMLName.Local {
		case "attribute":
			attributes[c.Name+c.Ref] = true
		case "element":
			children[c.Name+c.Ref] = true
		case "attributeGroup", "group":
			s.walk(s[[2]string{c.XMLName.Local, c.Ref}], attributes, children, text)
		case "extension":
			s.walk(s[[2]string{"complexType", c.Base}], attributes, children, text)
			s.walk(c, attributes, children, text)
		case "simpleContent":
			*text = true
			s.walk(c, attributes, children, text)
		case "sequence", "choice", "complexContent", "restriction":
			s.walk(c, attributes, children, text)
		}
	}
}

// TestGrammarsAreThoseOfTheSchemas compares what the package knows of the standard with the standard.
func TestGrammarsAreThoseOfTheSchemas(t *testing.T) {
	open(t, "odm2/schema/ODM.xsd")
	for version, pattern := range map[Version]string{V132: "odm132schema/ODM*.xsd", V20: "odm2/schema/ODM*.xsd"} {
		parts, counted := readSchemas(t, pattern), 0
		for key, n := range parts {
			if key[0] != "element" {
				continue
			}
			counted++
			attributes, children, text := map[string]bool{}, map[string]bool{}, false
			if named, has := parts[[2]string{"complexType", n.Type}]; has {
				s := named.Mixed
				parts.walk(named, attributes, children, &text)
				text = text || s
			} else {
				text = n.Type != ""
				for _, inner := range n.Children {
					text = text || inner.Mixed
					parts.walk(inner, attributes, children, &text)
				}
			}
			p, known := version.grammar()[n.Name]
			if !known {
				t.Errorf("the grammar of %s does not have %s", version, n.Name)
			}
			compare := func(what string, want, got []string) {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s of %s in %s: %s", what, n.Name, version, diff)
				}
			}
			compare("the attributes", slices.Sorted(maps.Keys(attributes)), slices.Sorted(maps.Keys(p.attributes)))
			compare("the elements", slices.Sorted(maps.Keys(children)), slices.Sorted(maps.Keys(p.rank)))
			if text != p.text {
				t.Errorf("%s of %s holds text: %v", n.Name, version, text)
			}
		}
		if counted != len(version.grammar()) || counted < 100 {
			t.Errorf("the schemas of %s have %d elements, the grammar %d", version, counted, len(version.grammar()))
		}
	}
}

// TestNothingIsDroppedSilently puts every element and attribute of the standard wherever it can be, reads it, and finds it
// in the file that is written of what was read, or named as ignored.
func TestNothingIsDroppedSilently(t *testing.T) {
	for _, version := range []Version{V132, V20} {
		chains := map[string][]string{"ODM": {"ODM"}}
		queue := []string{"ODM"}
		for len(queue) > 0 {
			at := queue[0]
			queue = queue[1:]
			for _, child := range slices.Sorted(maps.Keys(version.grammar()[at].rank)) {
				if _, known := chains[child]; !known {
					chains[child] = append(slices.Clone(chains[at]), child)
					queue = append(queue, child)
				}
			}
		}
		reached, pairs := map[string]bool{}, 0
		for parent, chain := range chains {
			for child := range version.grammar()[parent].rank {
				reached[child] = true
				pairs++
				checkNotDropped(t, version, append(slices.Clone(chain), child))
			}
		}
		for name := range version.grammar() {
			if !reached[name] && name != "ODM" {
				t.Errorf("%s of %s can be nowhere", name, version)
			}
		}
		t.Logf("%s: %d elements in %d places", version, len(reached), pairs)
	}
}

// checkNotDropped reads a file in which the last element of a chain has all its attributes.
func checkNotDropped(t *testing.T, version Version, chain []string) {
	t.Helper()
	file := `<ODM FileType="Transactional" xmlns="` + version.space() + `" xmlns:xlink="` + spaceXLink + `" xmlns:ds="` + spaceSignature +
		`" xmlns:xhtml="` + spaceXHTML + `">`
	for _, name := range chain[1 : len(chain)-1] {
		file += "<" + name + ">"
	}
	last := chain[len(chain)-1]
	p := version.grammar()[last]
	var markers []string
	file += "<" + last
	for _, name := range slices.Sorted(maps.Keys(p.attributes)) {
		marker := fmt.Sprintf("marker-%d", len(markers))
		markers = append(markers, name[strings.Index(name, ":")+1:]+`="`+marker+`"`)
		file += fmt.Sprintf(` %s=%q`, name, marker)
	}
	file += ">"
	if p.text {
		file += "marked text"
		markers = append(markers, "marked text")
	}
	if len(markers) == 0 {
		markers = []string{"<" + last[strings.Index(last, ":")+1:]}
	}
	file += "</" + last + ">"
	for _, name := range slices.Backward(chain[:len(chain)-1]) {
		file += "</" + name + ">"
	}
	document, report, subjects := readAll(t, []byte(file), Options{})
	again := string(written(t, version, document, subjects))
	for _, f := range report.Findings {
		if f.Outcome == Ignored && f.Construct == last {
			return
		}
	}
	for _, marker := range markers {
		// 1.3.2 has the value of an item in an attribute, and other words are attributes of Casebook.
		if !strings.Contains(again, marker) {
			t.Errorf("%s at %v of %s is gone:\n%s\nbecame\n%s\n%v", marker, chain, version, file, again, report.Findings)
		}
	}
	named := slices.ContainsFunc(report.Findings, func(f Finding) bool { return strings.HasPrefix(f.Construct, last) })
	if !named && last != "Code" && last != "MethodSignature" {
		t.Errorf("%v of %s is in no finding: %v", chain, version, report.Findings)
	}
}

// The attributes of the root, which a file needs to be read at all.
func TestAttributesOfTheRootAreKept(t *testing.T) {
	for _, version := range []Version{V132, V20} {
		file := "<ODM xmlns=\"" + version.space() + "\""
		for _, name := range slices.Sorted(maps.Keys(version.grammar()["ODM"].attributes)) {
			value := map[string]string{"FileType": Snapshot, "ODMVersion": string(version)}[name]
			if value == "" {
				value = "marker-" + name
			}
			file += fmt.Sprintf(" %s=%q", name, value)
		}
		document, _, _ := readAll(t, []byte(file+"/>"), Options{})
		again := string(written(t, version, document, nil))
		for name := range version.grammar()["ODM"].attributes {
			if !strings.Contains(again, name+`="marker-`+name) && name != "FileType" && name != "ODMVersion" {
				t.Errorf("%s of %s is gone: %s", name, version, again)
			}
		}
	}
}
