package api

import (
	"encoding/json"
	"strings"
	"unicode"

	"casebook/commands"

	"github.com/danielgtaylor/huma/v2"
)

// summaryOf is a command's line in the description.
func summaryOf(c commands.Command) string {
	if s := c.Summary(); s != "" {
		return s
	}
	return inWords(c.Name())
}

// exampleOf returns the example of a command's body that the description shows. The strict decoder accepts it.
func exampleOf(c commands.Command, s *schemas) any {
	example := c.Example()
	if example == nil {
		return exampleOfSchema(s.Schema(c.Body(), false, ""), s, 0)
	}
	// The example is encoded and decoded once, so that the description shows the JSON that is sent, not Go's zero values.
	encoded, err := json.Marshal(example)
	if err != nil {
		return nil
	}
	var shown any
	if json.Unmarshal(encoded, &shown) != nil {
		return nil
	}
	return shown
}

// exampleDepth limits the depth of examples, because a type can contain itself.
const exampleDepth = 8

// exampleOfSchema makes a value for a schema from the examples in it. Optional parts are left out.
func exampleOfSchema(s *huma.Schema, all *schemas, depth int) any {
	if s.Ref != "" {
		s = all.SchemaFromRef(s.Ref)
	}
	switch {
	case depth > exampleDepth:
		return nil
	case len(s.Examples) > 0:
		return s.Examples[0]
	case len(s.Enum) > 0:
		return s.Enum[0]
	}
	switch s.Type {
	case huma.TypeBoolean:
		return false
	case huma.TypeInteger, huma.TypeNumber:
		if s.Minimum != nil {
			return *s.Minimum
		}
		return 1
	case huma.TypeArray:
		return []any{exampleOfSchema(s.Items, all, depth+1)}
	case huma.TypeObject:
		object := map[string]any{}
		for _, name := range s.Required {
			object[name] = exampleOfSchema(s.Properties[name], all, depth+1)
		}
		return object
	case huma.TypeString:
		const word = "text"
		switch {
		case s.MinLength != nil && *s.MinLength > len(word):
			return strings.Repeat("x", *s.MinLength)
		case s.MaxLength != nil && *s.MaxLength < len(word):
			return word[:*s.MaxLength]
		}
		return word
	}
	return nil
}

// inWords splits a name in camel case: SubmitDiary becomes Submit diary.
func inWords(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte(' ')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}
