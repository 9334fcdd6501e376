package mongo

import (
	"bytes"
	"cmp"
)

// compare orders two values as MongoDB does: by class of type, then by value. A missing value equals null.
func compare(a, b value) int {
	ca, cb := class(a.t), class(b.t)
	if ca != cb {
		return cmp.Compare(ca, cb)
	}
	switch ca {
	case kNumber:
		return compareNumbers(a, b)
	case kString, kCode:
		return bytes.Compare(a.strBytes(), b.strBytes())
	case kDocument, kArray:
		return compareFields(a.doc(), b.doc(), ca == kDocument)
	case kObjectID, kBool:
		return bytes.Compare(a.b, b.b)
	case kDate:
		return cmp.Compare(a.int64(), b.int64())
	case kTimestamp:
		return cmp.Compare(uint64(a.int64()), uint64(b.int64()))
	case kNull, kUndefined, kMinKey, kMaxKey:
		return 0
	}
	// Values of rare types are compared by their key encodings, which have this order.
	return bytes.Compare(appendKeyBody(nil, a), appendKeyBody(nil, b))
}

func compareFields(a, b doc, names bool) int {
	ea, ra := a.first()
	eb, rb := b.first()
	for ea.t != 0 && eb.t != 0 {
		if c := cmp.Compare(class(ea.t), class(eb.t)); c != 0 {
			return c
		}
		if names {
			if c := bytes.Compare(ea.name, eb.name); c != 0 {
				return c
			}
		}
		if c := compare(ea.value, eb.value); c != 0 {
			return c
		}
		ea, ra = nextElem(ra)
		eb, rb = nextElem(rb)
	}
	switch {
	case ea.t != 0:
		return 1
	case eb.t != 0:
		return -1
	}
	return 0
}

// compareNumbers compares exactly across types; NaN comes before all numbers and equals itself.
func compareNumbers(a, b value) int {
	ia, aInt := asInt(a)
	ib, bInt := asInt(b)
	if aInt && bInt {
		return cmp.Compare(ia, ib)
	}
	if a.t == tDouble && b.t == tDouble {
		return cmp.Compare(a.double(), b.double())
	}
	var ka, kb [64]byte
	return bytes.Compare(appendNumber(ka[:0], a), appendNumber(kb[:0], b))
}

func asInt(v value) (int64, bool) {
	switch v.t {
	case tInt32:
		return int64(v.int32()), true
	case tInt64:
		return v.int64(), true
	}
	return 0, false
}

// isNaN reports whether v is not a number (NaN).
func (v value) isNaN() bool {
	switch v.t {
	case tDouble:
		f := v.double()
		return f != f
	case tDecimal:
		return decimalOf(v.b).nan
	}
	return false
}

func equal(a, b value) bool {
	return a.t == b.t && bytes.Equal(a.b, b.b) && !a.missing() || compare(a, b) == 0
}
