package build

import (
	"casebook/domain/rule/bounded"
)

// What a casebook asks of the build that its data are captured by.

// sealed caches compiled builds by the hash that they were sealed with, so that a command need not hash a build again.
var sealed = bounded.New[string, *Compiled](64)

// Compiled returns a sealed build ready for use. A draft is compiled anew each time, and may be refused as by Seal.
func (b Build) Compiled() (*Compiled, error) {
	if known, ok := sealed.Get(b.sha256); ok {
		return known, nil
	}
	c, err := b.definition.Compile()
	if err != nil || !b.IsSealed() {
		return c, err
	}
	return sealed.Add(b.sha256, c), nil
}

// Most is how many rows there can be.
func (r *Repeats) Most() int { return r.most() }

// Visible says whether everybody who may see the form may see the item.
func (it *Item) Visible() bool { return it.visibleTo("") }
