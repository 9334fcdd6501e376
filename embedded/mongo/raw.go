package mongo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// BSON type bytes. A missing value has type 0, which elements on the wire never have.
const (
	tMissing   byte = 0x00
	tDouble    byte = 0x01
	tString    byte = 0x02
	tDocument  byte = 0x03
	tArray     byte = 0x04
	tBinary    byte = 0x05
	tUndefined byte = 0x06
	tObjectID  byte = 0x07
	tBool      byte = 0x08
	tDate      byte = 0x09
	tNull      byte = 0x0A
	tRegex     byte = 0x0B
	tDBPointer byte = 0x0C
	tCode      byte = 0x0D
	tSymbol    byte = 0x0E
	tCodeScope byte = 0x0F
	tInt32     byte = 0x10
	tTimestamp byte = 0x11
	tInt64     byte = 0x12
	tDecimal   byte = 0x13
	tMaxKey    byte = 0x7F
	tMinKey    byte = 0xFF
)

const (
	maxDocSize   = 16 << 20
	maxBSONDepth = 180 // levels of sub-documents; validate refuses more, so that recursion is bounded
)

// doc is one BSON document, including length prefix and closing zero, that passed validate. The code relies on that and
// reads documents without further bounds checks.
type doc []byte

// value is one BSON value: its type and its bytes, without the name.
type value struct {
	t byte
	b []byte
}

// elem is one named value of a document or an array.
type elem struct {
	name []byte
	value
}

var emptyDoc = doc{5, 0, 0, 0, 0}

var errBSON = errors.New("malformed BSON")

// first returns the first element of d and the rest of d. The element's type is tMissing if d is empty.
func (d doc) first() (elem, []byte) { return nextElem(d[4:]) }

// nextElem splits rest into its first element and the remainder.
func nextElem(rest []byte) (elem, []byte) {
	t := rest[0]
	if t == 0 {
		return elem{}, nil
	}
	i := 1
	for rest[i] != 0 {
		i++
	}
	name := rest[1:i:i]
	rest = rest[i+1:]
	n := valueLen(t, rest)
	return elem{name, value{t, rest[:n:n]}}, rest[n:]
}

// valueLen returns the number of bytes of the (validated) value of type t at the head of b.
func valueLen(t byte, b []byte) int {
	switch t {
	case tDouble, tDate, tTimestamp, tInt64:
		return 8
	case tInt32:
		return 4
	case tBool:
		return 1
	case tNull, tUndefined, tMinKey, tMaxKey:
		return 0
	case tString, tCode, tSymbol:
		return 4 + int(le32(b))
	case tDocument, tArray, tCodeScope:
		return int(le32(b))
	case tBinary:
		return 5 + int(le32(b))
	case tObjectID:
		return 12
	case tDecimal:
		return 16
	case tDBPointer:
		return 4 + int(le32(b)) + 12
	case tRegex:
		i := cstringLen(b)
		return i + cstringLen(b[i:])
	}
	panic("mongo: a value of unknown type " + strconv.Itoa(int(t)) + " passed validation")
}

func cstringLen(b []byte) int {
	for i, c := range b {
		if c == 0 {
			return i + 1
		}
	}
	return len(b)
}

func le32(b []byte) int32 { return int32(binary.LittleEndian.Uint32(b)) }
func le64(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) }

// lookup returns the value of d's first field of that name; its type is tMissing if there is none.
func (d doc) lookup(name string) value {
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		if string(e.name) == name {
			return e.value
		}
	}
	return value{}
}

// isEmpty reports whether d has no fields.
func (d doc) isEmpty() bool { return len(d) <= 5 }

// len returns the number of d's fields.
func (d doc) len() int {
	n := 0
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		n++
	}
	return n
}

func (v value) missing() bool { return v.t == tMissing }
func (v value) doc() doc      { return doc(v.b) }

func (v value) isNumber() bool {
	return v.t == tInt32 || v.t == tInt64 || v.t == tDouble || v.t == tDecimal
}

func (v value) isNullish() bool { return v.t == tNull || v.t == tMissing || v.t == tUndefined }

func (v value) int32() int32     { return le32(v.b) }
func (v value) int64() int64     { return le64(v.b) }
func (v value) double() float64  { return math.Float64frombits(binary.LittleEndian.Uint64(v.b)) }
func (v value) bool() bool       { return v.b[0] != 0 }
func (v value) str() string      { return string(v.b[4 : len(v.b)-1]) }
func (v value) strBytes() []byte { return v.b[4 : len(v.b)-1] }

func (v value) regex() (pattern, options string) {
	i := cstringLen(v.b)
	return string(v.b[:i-1]), string(v.b[i : len(v.b)-1])
}

// truthy converts a value to a flag as MongoDB does: false, zero, null and missing are false, all others true.
func (v value) truthy() bool {
	switch v.t {
	case tBool:
		return v.bool()
	case tInt32:
		return v.int32() != 0
	case tInt64:
		return v.int64() != 0
	case tDouble:
		return v.double() != 0
	case tDecimal:
		f, _ := decimalOf(v.b).float()
		return f != 0
	case tMissing, tNull, tUndefined:
		return false
	}
	return true
}

// wholeNumber returns a number of any BSON type as an int64; false if it is not an integer in that range.
func (v value) wholeNumber() (int64, bool) {
	switch v.t {
	case tInt32:
		return int64(v.int32()), true
	case tInt64:
		return v.int64(), true
	case tDouble, tDecimal:
		var f float64
		if v.t == tDouble {
			f = v.double()
		} else {
			var exact bool
			if f, exact = decimalOf(v.b).float(); !exact {
				return 0, false
			}
		}
		if f != math.Trunc(f) || f < -1<<63 || f >= 1<<63 {
			return 0, false
		}
		return int64(f), true
	}
	return 0, false
}

// clone copies v, so that it can outlive the message that it points into.
func (v value) clone() value { return value{v.t, append([]byte(nil), v.b...)} }

// typeName returns MongoDB's name of v's type, as in $type and in error messages.
func (v value) typeName() string {
	for name, t := range typeAliases {
		if t == v.t {
			return name
		}
	}
	return "missing"
}

var typeAliases = map[string]byte{
	"double": tDouble, "string": tString, "object": tDocument, "array": tArray, "binData": tBinary,
	"undefined": tUndefined, "objectId": tObjectID, "bool": tBool, "date": tDate, "null": tNull, "regex": tRegex,
	"dbPointer": tDBPointer, "javascript": tCode, "symbol": tSymbol, "javascriptWithScope": tCodeScope, "int": tInt32,
	"timestamp": tTimestamp, "long": tInt64, "decimal": tDecimal, "minKey": tMinKey, "maxKey": tMaxKey,
}

// validate checks the BSON document at the head of b and returns it. The result can be read without bounds checks.
func validate(b []byte) (doc, error) {
	if len(b) < 5 {
		return nil, fmt.Errorf("%w: a document needs 5 bytes, there are %d", errBSON, len(b))
	}
	n := le32(b)
	if n < 5 || int64(n) > int64(len(b)) {
		return nil, fmt.Errorf("%w: a document has a length of %d bytes, but there are %d", errBSON, n, len(b))
	}
	d := b[:n:n]
	if err := validateBody(d, 0); err != nil {
		return nil, err
	}
	return d, nil
}

func validateBody(d []byte, depth int) error {
	if depth > maxBSONDepth {
		return fmt.Errorf("%w: more than %d documents within each other", errBSON, maxBSONDepth)
	}
	if d[len(d)-1] != 0 {
		return fmt.Errorf("%w: a document does not end with a zero byte", errBSON)
	}
	rest := d[4 : len(d)-1]
	for len(rest) > 0 {
		t := rest[0]
		i := 1
		for i < len(rest) && rest[i] != 0 {
			i++
		}
		if i >= len(rest) {
			return fmt.Errorf("%w: a field name does not end", errBSON)
		}
		name := rest[1:i]
		rest = rest[i+1:]
		n, err := checkValue(t, rest, depth)
		if err != nil {
			return fmt.Errorf("%w (field %q)", err, truncated(string(name), 64))
		}
		rest = rest[n:]
	}
	return nil
}

// checkValue checks the value of type t at the head of b and returns its length.
func checkValue(t byte, b []byte, depth int) (int, error) {
	short := fmt.Errorf
	fixed := -1
	switch t {
	case tDouble, tDate, tTimestamp, tInt64:
		fixed = 8
	case tInt32:
		fixed = 4
	case tBool:
		fixed = 1
	case tNull, tUndefined, tMinKey, tMaxKey:
		fixed = 0
	case tObjectID:
		fixed = 12
	case tDecimal:
		fixed = 16
	case tRegex:
		for range 2 {
			n := cstringLen(b[max(fixed, 0):])
			end := max(fixed, 0) + n
			if n == 0 || b[end-1] != 0 {
				return 0, short("%w: a regular expression does not end", errBSON)
			}
			fixed = end
		}
		return fixed, nil
	}
	if fixed >= 0 {
		if len(b) < fixed {
			return 0, short("%w: a value is cut off", errBSON)
		}
		if t == tBool && b[0] > 1 {
			return 0, short("%w: a boolean is neither 0 nor 1", errBSON)
		}
		return fixed, nil
	}
	if len(b) < 4 {
		return 0, short("%w: a length is cut off", errBSON)
	}
	n := int64(le32(b))
	switch t {
	case tString, tCode, tSymbol, tDBPointer:
		if n < 1 || 4+n > int64(len(b)) || b[4+n-1] != 0 {
			return 0, short("%w: a string of wrong length", errBSON)
		}
		if t == tDBPointer {
			if n += 12; 4+n > int64(len(b)) {
				return 0, short("%w: a pointer is cut off", errBSON)
			}
		}
		return int(4 + n), nil
	case tBinary:
		if n < 0 || 5+n > int64(len(b)) {
			return 0, short("%w: a binary of wrong length", errBSON)
		}
		return int(5 + n), nil
	case tDocument, tArray:
		if n < 5 || n > int64(len(b)) {
			return 0, short("%w: a sub-document of wrong length", errBSON)
		}
		return int(n), validateBody(b[:n], depth+1)
	case tCodeScope:
		if n < 14 || n > int64(len(b)) {
			return 0, short("%w: code with scope of wrong length", errBSON)
		}
		code, err := checkValue(tString, b[4:n], depth)
		if err != nil {
			return 0, err
		}
		scope, err := checkValue(tDocument, b[4+code:n], depth)
		if err != nil {
			return 0, err
		}
		if int64(4+code+scope) != n {
			return 0, short("%w: code with scope of wrong length", errBSON)
		}
		return int(n), nil
	}
	return 0, short("%w: unknown type 0x%02x", errBSON, t)
}

func truncated(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}

// builder writes BSON documents. The methods doc and array open a sub-document or array, end closes it.
type builder struct {
	b     []byte
	open  []int // offsets of the open documents and arrays
	index []int // the next array index of each, -1 for documents
}

func newBuilder() *builder {
	w := &builder{}
	w.push(-1)
	return w
}

// newArrayBuilder returns a builder whose outermost document is an array.
func newArrayBuilder() *builder {
	w := &builder{}
	w.push(0)
	return w
}

func (w *builder) push(index int) {
	w.open = append(w.open, len(w.b))
	w.index = append(w.index, index)
	w.b = append(w.b, 0, 0, 0, 0)
}

// done closes the outermost document and returns it.
func (w *builder) done() doc {
	w.end()
	return w.b
}

// end closes the document or array that was opened last.
func (w *builder) end() *builder {
	w.b = append(w.b, 0)
	last := len(w.open) - 1
	start := w.open[last]
	binary.LittleEndian.PutUint32(w.b[start:], uint32(len(w.b)-start))
	w.open, w.index = w.open[:last], w.index[:last]
	return w
}

func (w *builder) head(t byte, name string) {
	w.b = append(w.b, t)
	if top := len(w.index) - 1; w.index[top] >= 0 {
		w.b = strconv.AppendInt(w.b, int64(w.index[top]), 10)
		w.index[top]++
	} else {
		w.b = append(w.b, name...)
	}
	w.b = append(w.b, 0)
}

// The methods below append a field; within an array the name is ignored and the next index is used.

func (w *builder) doc(name string) *builder {
	w.head(tDocument, name)
	w.push(-1)
	return w
}

func (w *builder) array(name string) *builder {
	w.head(tArray, name)
	w.push(0)
	return w
}

func (w *builder) val(name string, v value) *builder {
	w.head(v.t, name)
	w.b = append(w.b, v.b...)
	return w
}

func (w *builder) rawDoc(name string, d doc) *builder {
	return w.val(name, value{tDocument, d})
}

func (w *builder) str(name, s string) *builder {
	w.head(tString, name)
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(len(s)+1))
	w.b = append(w.b, s...)
	w.b = append(w.b, 0)
	return w
}

func (w *builder) int32(name string, i int32) *builder {
	w.head(tInt32, name)
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(i))
	return w
}

func (w *builder) int64(name string, i int64) *builder {
	w.head(tInt64, name)
	w.b = binary.LittleEndian.AppendUint64(w.b, uint64(i))
	return w
}

func (w *builder) double(name string, f float64) *builder {
	w.head(tDouble, name)
	w.b = binary.LittleEndian.AppendUint64(w.b, math.Float64bits(f))
	return w
}

func (w *builder) bool(name string, v bool) *builder {
	w.head(tBool, name)
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
	return w
}

func (w *builder) date(name string, millis int64) *builder {
	w.head(tDate, name)
	w.b = binary.LittleEndian.AppendUint64(w.b, uint64(millis))
	return w
}

func (w *builder) ok() *builder { return w.double("ok", 1) }

func int32Value(i int32) value {
	return value{tInt32, binary.LittleEndian.AppendUint32(nil, uint32(i))}
}

func int64Value(i int64) value {
	return value{tInt64, binary.LittleEndian.AppendUint64(nil, uint64(i))}
}

func doubleValue(f float64) value {
	return value{tDouble, binary.LittleEndian.AppendUint64(nil, math.Float64bits(f))}
}

// countValue returns n as an int32 if it fits, else as an int64, as MongoDB answers counts.
func countValue(n int64) value {
	if n == int64(int32(n)) {
		return int32Value(int32(n))
	}
	return int64Value(n)
}
