package form

import (
	"math/big"
	"strings"

	"casebook/domain/refuse"
)

// conversion turns a number of another unit into the item's own.
type conversion struct{ factor, offset *big.Rat }

func (c conversion) convert(entered float64) *big.Rat {
	n := new(big.Rat).Mul(exactly(entered), c.factor)
	return n.Add(n, c.offset)
}

func (c *compiler) otherUnits(at string, it *Item, compiled *item) error {
	if len(it.Units) == 0 {
		return nil
	}
	if !it.numeric() {
		return c.parts.Invalid(at, "units are for numbers; %s is of type %s", it.ID, it.Type)
	}
	if err := c.parts.Count(at, len(it.Units), 0, maxUnits); err != nil {
		return err
	}
	// Where numbers are converted, it has to be said into what.
	if !isUCUM(it.Unit) {
		return c.parts.Invalid(strings.TrimSuffix(at, "s"), "%q is not a UCUM code, and %s is entered in several units", shortened(it.Unit),
			it.ID)
	}
	compiled.units = make(map[string]conversion, len(it.Units))
	for n, u := range it.Units {
		at := indexed(at, n)
		if !isUCUM(u.Unit) || len(u.Unit) > maxValueChars {
			return c.parts.Invalid(at+".unit", "%q is not a UCUM code", shortened(u.Unit))
		}
		if _, taken := compiled.units[u.Unit]; taken || u.Unit == it.Unit {
			return c.parts.Invalid(at+".unit", "%s has the unit %s twice", it.ID, u.Unit)
		}
		factor, ok := u.Factor.rational()
		if !ok || factor.Sign() == 0 {
			return c.parts.Invalid(at+".factor", "%q is not a factor; a decimal such as 0.45359237 or a fraction such as 5/9 is, and not zero",
				shortened(string(u.Factor)))
		}
		offset, ok := new(big.Rat), true
		if u.Offset != "" {
			offset, ok = u.Offset.rational()
		}
		if !ok {
			return c.parts.Invalid(at+".offset", "%q is not a number; a decimal such as -17.8 or a fraction such as -160/9 is",
				shortened(string(u.Offset)))
		}
		compiled.units[u.Unit] = conversion{factor: factor, offset: offset}
	}
	c.form.units = true
	return nil
}

// isUCUM says whether a text has the shape of a code of the Unified Code for Units of Measure: printable ASCII without
// blanks, with its brackets in pairs. Whether the unit exists is not looked up.
func isUCUM(code string) bool {
	var open []byte
	for i := range len(code) {
		switch ch := code[i]; {
		case ch <= ' ' || ch > '~':
			return false
		case strings.IndexByte("([{", ch) >= 0:
			open = append(open, ch)
		case strings.IndexByte(")]}", ch) >= 0:
			if len(open) == 0 || strings.IndexByte("([{", open[len(open)-1]) != strings.IndexByte(")]}", ch) {
				return false
			}
			open = open[:len(open)-1]
		}
	}
	return code != "" && len(open) == 0
}

// inOwnUnit returns a number in the item's own unit, exactly. It refuses a unit that the item does not have (code
// unknown_unit).
func (it *item) inOwnUnit(entered float64, unit string) (*big.Rat, error) {
	conversion, ok := it.units[unit]
	if !ok {
		return nil, refuse.Because("unknown_unit", "%s is not entered in %q", it.ID, shortened(unit)).At(field(it.ID)).Do("use " + it.unitList())
	}
	return conversion.convert(entered), nil
}

func (it *item) unitList() string {
	units := []string{it.Unit}
	for _, u := range it.Units {
		units = append(units, u.Unit)
	}
	if it.Unit == "" {
		return "no unit"
	}
	return strings.Join(units, " or ")
}
