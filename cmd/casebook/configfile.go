package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-json/jsontext"
	jsonv2 "github.com/goccy/go-json/v2"
)

// configFile holds the values of a file that --config names, by the names of the flags, with hyphens.
type configFile map[string]any

// readConfig reads a JSON object whose members are named like flags. A name may be written with underscores. Names that
// are given twice are refused; Validate refuses those that no flag has.
func readConfig(r io.Reader) (kong.Resolver, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	// This decoder refuses names that are given twice, and anything after the object.
	var given map[string]jsontext.Value
	if err := jsonv2.Unmarshal(text, &given); err != nil {
		return nil, fmt.Errorf("it is not one JSON object with values for flags: %w", err)
	}
	values := map[string]any{}
	for name, value := range given {
		decoder := json.NewDecoder(bytes.NewReader(value))
		decoder.UseNumber()
		var decoded any
		if err := decoder.Decode(&decoded); err != nil {
			return nil, fmt.Errorf("read the value of %q: %w", name, err)
		}
		values[name] = decoded
	}
	c := configFile{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		flag := strings.ReplaceAll(name, "_", "-")
		if _, twice := c[flag]; twice {
			return nil, fmt.Errorf("it has %q twice", flag)
		}
		c[flag] = values[name]
	}
	return c, nil
}

// Validate refuses names that are no flag of any command: a misspelt one would be ignored silently. The same file may
// serve several commands, so it may hold flags that the one that runs does not have.
func (c configFile) Validate(app *kong.Application) error {
	known := map[string]bool{}
	err := kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, is := node.(*kong.Flag); is && flag.Name != "help" && flag.Name != "config" {
			known[flag.Name] = true
		}
		return next(nil)
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if !known[name] {
			return fmt.Errorf("the file of --config has the unknown name %q; its names are those of flags, such as \"blinding-key-file\"", name)
		}
	}
	return nil
}

// Resolve returns the file's value for a flag, nil if it has none.
func (c configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value := c[flag.Name]
	if n, is := value.(json.Number); is {
		return n.String(), nil
	}
	return value, nil
}
