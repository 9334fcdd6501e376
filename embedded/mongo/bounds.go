package mongo

import (
	"bytes"
	"slices"
)

// intervalsFor returns intervals that contain every value that passes all tests, in order and without overlaps; nil if
// the tests give no bounds. For a multikey field different elements may pass different tests, so only one test is used.
func intervalsFor(tests []test, multi bool) []interval {
	var best []interval
	var rangesFrom, rangesTo []byte
	rank := 0 // 3 equality, 2 list, 1 prefix
	for _, t := range tests {
		switch t := t.(type) {
		case eqTest:
			if rank < 3 && t.v.t != tArray {
				best, rank = []interval{pointAt(appendKey(nil, t.v))}, 3
			}
		case *inTest:
			if ivs := intervalsOfIn(t); rank < 2 && ivs != nil {
				best, rank = ivs, 2
			}
		case *regexTest:
			if rank < 1 && t.prefix != "" {
				best, rank = intervalsOfRegex(t), 1
			}
		case cmpTest, hull:
			from, to := rangeOf(t)
			if from == nil || multi && rangesFrom != nil {
				continue
			}
			if rangesFrom == nil || bytes.Compare(from, rangesFrom) > 0 {
				rangesFrom = from
			}
			if rangesTo == nil || bytes.Compare(to, rangesTo) < 0 {
				rangesTo = to
			}
		}
	}
	if best == nil && rangesFrom != nil {
		if bytes.Compare(rangesFrom, rangesTo) >= 0 {
			rangesTo = rangesFrom // no value passes
		}
		best = []interval{{lower: rangesFrom, upper: rangesTo}}
	}
	return best
}

func pointAt(key []byte) interval { return interval{key, successor(key), true} }

func intervalsOfIn(t *inTest) []interval {
	ivs := make([]interval, 0, len(t.vals))
	for _, v := range t.vals {
		if v.t == tArray {
			return nil
		}
		ivs = append(ivs, pointAt(appendKey(nil, v)))
	}
	for _, r := range t.regexes {
		if r.prefix == "" {
			return nil
		}
		ivs = append(ivs, intervalsOfRegex(r)...)
	}
	if len(ivs) == 0 { // no value is in an empty list
		return []interval{{lower: []byte{kMaxKey}, upper: []byte{kMaxKey}}}
	}
	slices.SortFunc(ivs, func(a, b interval) int { return bytes.Compare(a.lower, b.lower) })
	// Patterns may overlap each other and the values.
	merged := ivs[:1]
	for _, iv := range ivs[1:] {
		last := &merged[len(merged)-1]
		if bytes.Compare(iv.lower, last.upper) >= 0 {
			merged = append(merged, iv)
			continue
		}
		last.point = false
		if bytes.Compare(iv.upper, last.upper) > 0 {
			last.upper = iv.upper
		}
	}
	return merged
}

// intervalsOfRegex returns the intervals of the strings with the prefix, and of regular expressions, which match
// themselves.
func intervalsOfRegex(t *regexTest) []interval {
	from := appendEscaped([]byte{kString}, []byte(t.prefix))
	from = from[:len(from)-2] // without the end mark
	return []interval{{lower: from, upper: successor(from)}, {lower: []byte{kRegex}, upper: []byte{kRegex + 1}}}
}

// rangeOf returns the range of the values that pass a comparison or lie in a hull. Only values of the operand's class
// pass a comparison. It returns nil if there are no bounds.
func rangeOf(of test) (from, to []byte) {
	if h, ok := of.(hull); ok {
		return h.lower, h.upper
	}
	t := of.(cmpTest)
	c := class(t.v.t)
	if c == kMinKey || c == kMaxKey || t.v.t == tArray {
		return nil, nil
	}
	key := appendKey(nil, t.v)
	switch t.op {
	case opGT:
		return successor(key), []byte{c + 1}
	case opGTE:
		return key, []byte{c + 1}
	case opLT:
		return []byte{c}, key
	default:
		return []byte{c}, successor(key)
	}
}
