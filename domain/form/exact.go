package form

import (
	"math/big"
	"regexp"
	"strconv"
)

// Exact is a number without rounding: a decimal such as 0.45359237, or a fraction of whole numbers such as 5/9. A number
// that has a decimal is written as one.
type Exact string

// exactPattern keeps numbers to what can be computed with at no cost.
var exactPattern = regexp.MustCompile(`^-?[0-9]{1,30}(\.[0-9]{1,30}|/[1-9][0-9]{0,29})?$`)

// Float64 returns the nearest float64; 0 for what is no number.
func (e Exact) Float64() float64 {
	n, ok := e.rational()
	if !ok {
		return 0
	}
	f, _ := n.Float64()
	return f
}

func (e Exact) rational() (*big.Rat, bool) {
	if !exactPattern.MatchString(string(e)) {
		return nil, false
	}
	return new(big.Rat).SetString(string(e))
}

// exactly returns the decimal that a float64 stands for: the shortest that reads as it. Two float64 are ordered as their
// decimals are.
func exactly(f float64) *big.Rat {
	n, _ := new(big.Rat).SetString(decimal(f))
	return n
}

// exactOf writes a number.
func exactOf(n *big.Rat) Exact {
	if decimals, finite := n.FloatPrec(); finite {
		return Exact(n.FloatString(decimals))
	}
	return Exact(n.String())
}

// decimal writes a number as people do.
func decimal(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
