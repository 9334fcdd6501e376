package mongo

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Values have MongoDB's order: first by class of type, then by value within the class. appendKey encodes a value so
// that comparing bytes gives that order. No encoding is a prefix of another one, so encodings can be concatenated, and
// inverting every byte of a field reverses its order.
//
// Each encoding begins with the byte of its class. Gaps between the numbers have no meaning; 0x00 ends documents and
// arrays and is not a class.
const (
	kMinKey    byte = 0x08
	kUndefined byte = 0x0C // also stands for an empty array in an index
	kNull      byte = 0x10
	kNumber    byte = 0x18
	kString    byte = 0x20
	kDocument  byte = 0x28
	kArray     byte = 0x30
	kBinary    byte = 0x38
	kObjectID  byte = 0x40
	kBool      byte = 0x48
	kDate      byte = 0x50
	kTimestamp byte = 0x54
	kRegex     byte = 0x58
	kDBPointer byte = 0x60
	kCode      byte = 0x68
	kCodeScope byte = 0x70
	kMaxKey    byte = 0x78
)

var classes = [256]byte{
	tMissing: kNull, tDouble: kNumber, tString: kString, tDocument: kDocument, tArray: kArray, tBinary: kBinary,
	tUndefined: kUndefined, tObjectID: kObjectID, tBool: kBool, tDate: kDate, tNull: kNull, tRegex: kRegex,
	tDBPointer: kDBPointer, tCode: kCode, tSymbol: kString, tCodeScope: kCodeScope, tInt32: kNumber,
	tTimestamp: kTimestamp, tInt64: kNumber, tDecimal: kNumber, tMaxKey: kMaxKey, tMinKey: kMinKey,
}

// class returns the class of a type, by which values of different types are ordered. A missing value counts as null.
func class(t byte) byte { return classes[t] }

// appendKey appends the order-preserving encoding of v.
func appendKey(dst []byte, v value) []byte {
	return appendKeyBody(append(dst, class(v.t)), v)
}

// appendKeyBody is appendKey without the class byte.
func appendKeyBody(dst []byte, v value) []byte {
	switch v.t {
	case tInt32, tInt64, tDouble, tDecimal:
		return appendNumber(dst, v)
	case tString, tSymbol, tCode:
		return appendEscaped(dst, v.strBytes())
	case tDocument:
		return appendFields(dst, v.doc(), true)
	case tArray:
		return appendFields(dst, v.doc(), false)
	case tBinary: // by length, then subtype, then content
		dst = binary.BigEndian.AppendUint32(dst, uint32(le32(v.b)))
		return append(dst, v.b[4:]...)
	case tObjectID, tBool:
		return append(dst, v.b...)
	case tDate:
		return binary.BigEndian.AppendUint64(dst, uint64(v.int64())^(1<<63))
	case tTimestamp:
		return binary.BigEndian.AppendUint64(dst, uint64(v.int64()))
	case tRegex:
		i := cstringLen(v.b)
		dst = appendEscaped(dst, v.b[:i-1])
		return appendEscaped(dst, v.b[i:len(v.b)-1])
	case tDBPointer:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(v.b)))
		return append(dst, v.b...)
	case tCodeScope:
		n := 4 + int(le32(v.b[4:]))
		dst = appendEscaped(dst, v.b[8:4+n-1])
		return appendFields(dst, doc(v.b[4+n:]), true)
	}
	return dst // null, undefined, MinKey and MaxKey have no content
}

// appendEscaped encodes bytes so that a prefix sorts before longer values: 0x00 becomes 0x00 0xFF, the end is 0x00
// 0x01.
func appendEscaped(dst, b []byte) []byte {
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			break
		}
		dst = append(dst, b[:i]...)
		dst = append(dst, 0x00, 0xFF)
		b = b[i+1:]
	}
	dst = append(dst, b...)
	return append(dst, 0x00, 0x01)
}

// appendFields encodes a document or array: the class, name and value of each field, without names for arrays.
func appendFields(dst []byte, d doc, names bool) []byte {
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		dst = append(dst, class(e.t))
		if names {
			dst = appendEscaped(dst, e.name)
		}
		dst = appendKeyBody(dst, e.value)
	}
	return append(dst, 0x00)
}

// appendNumber encodes the largest double that is not above the number, then a byte that is 1 if the number is larger
// than that double, and then its decimal digits. Equal numbers of different BSON types have equal encodings.
func appendNumber(dst []byte, v value) []byte {
	switch v.t {
	case tInt32:
		return append(appendDouble(dst, float64(v.int32())), 0)
	case tDouble:
		return append(appendDouble(dst, v.double()), 0)
	case tInt64:
		i := v.int64()
		f, exact := floorOfInt(i)
		dst = appendDouble(dst, f)
		if exact {
			return append(dst, 0)
		}
		return appendDigits(append(dst, 1), decimalOfInt(i))
	}
	d := decimalOf(v.b)
	f, exact := d.float()
	dst = appendDouble(dst, f)
	if exact {
		return append(dst, 0)
	}
	return appendDigits(append(dst, 1), d)
}

// floorOfInt returns the largest double <= i, and whether it is i.
func floorOfInt(i int64) (float64, bool) {
	f := float64(i)
	if f >= 1<<63 { // the conversion rounded up
		return math.Nextafter(f, 0), false
	}
	if back := int64(f); back == i {
		return f, true
	} else if back > i {
		f = math.Nextafter(f, math.Inf(-1))
	}
	return f, false
}

func appendDouble(dst []byte, f float64) []byte {
	if f != f {
		return append(dst, 0, 0, 0, 0, 0, 0, 0, 0) // NaN comes before all numbers
	}
	if f == 0 {
		f = 0 // -0 equals 0
	}
	u := math.Float64bits(f)
	if u>>63 != 0 {
		u = ^u
	} else {
		u |= 1 << 63
	}
	return binary.BigEndian.AppendUint64(dst, u)
}

// decimal is a number in base 10, digits * 10^exp, or NaN or an infinity.
type decimal struct {
	neg    bool
	nan    bool
	inf    bool
	digits string // without leading and trailing zeros; empty for zero
	exp    int
}

func decimalOfInt(i int64) decimal {
	u := uint64(i)
	if i < 0 {
		u = -u
	}
	d := decimal{neg: i < 0, digits: strconv.FormatUint(u, 10)}
	d.trim()
	return d
}

// decimalOf decodes the 16 bytes of a decimal128.
func decimalOf(b []byte) decimal {
	d128 := bson.NewDecimal128(binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b))
	if d128.IsNaN() {
		return decimal{nan: true}
	}
	if s := d128.IsInf(); s != 0 {
		return decimal{inf: true, neg: s < 0}
	}
	n, exp, err := d128.BigInt()
	if err != nil {
		return decimal{nan: true}
	}
	d := decimal{neg: n.Sign() < 0, digits: new(big.Int).Abs(n).String(), exp: exp}
	d.trim()
	return d
}

func (d *decimal) trim() {
	if d.digits == "0" {
		*d = decimal{}
		return
	}
	n := len(d.digits)
	for n > 0 && d.digits[n-1] == '0' {
		n--
		d.exp++
	}
	d.digits = d.digits[:n]
}

// float returns the largest double <= d, and whether it is d exactly.
func (d decimal) float() (float64, bool) {
	switch {
	case d.nan:
		return math.NaN(), true
	case d.inf && d.neg:
		return math.Inf(-1), true
	case d.inf:
		return math.Inf(1), true
	case d.digits == "":
		return 0, true
	}
	text := d.digits + "e" + strconv.Itoa(d.exp)
	if d.neg {
		text = "-" + text
	}
	f, _ := strconv.ParseFloat(text, 64)
	if math.IsInf(f, 1) {
		return math.MaxFloat64, false
	}
	if math.IsInf(f, -1) {
		return f, false
	}
	if len(d.digits)+d.exp < -400 { // far below the smallest double; the exact fraction would be huge
		if d.neg {
			return -math.SmallestNonzeroFloat64, false
		}
		return 0, false
	}
	exact, _ := new(big.Rat).SetString(text)
	switch exact.Cmp(new(big.Rat).SetFloat64(f)) {
	case 0:
		return f, true
	case -1:
		return math.Nextafter(f, math.Inf(-1)), false
	}
	return f, false
}

// appendDigits encodes a number so that numbers of one sign are ordered: the position of the first digit, then the
// digits.
func appendDigits(dst []byte, d decimal) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(d.digits)+d.exp+1<<15))
	dst = append(dst, d.digits...)
	dst = append(dst, 0)
	if d.neg {
		invert(dst[start:])
	}
	return dst
}

func invert(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

// successor returns the smallest key above all keys that begin with b; nil if there is none.
func successor(b []byte) []byte {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0xFF {
			s := append([]byte(nil), b[:i+1]...)
			s[i]++
			return s
		}
	}
	return nil
}
