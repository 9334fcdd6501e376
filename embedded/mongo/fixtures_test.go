package mongo

import (
	"bytes"
	"math"
	"math/big"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

// raw marshals and validates a document.
func raw(d any) doc {
	b, err := bson.Marshal(d)
	if err != nil {
		panic(err)
	}
	v, err := validate(b)
	if err != nil {
		panic(err)
	}
	return v
}

// rawJSON returns a document that is written as extended JSON.
func rawJSON(s string) doc { return raw(fromJSON(s)) }

func fromJSON(s string) bson.D {
	var d bson.D
	if err := bson.UnmarshalExtJSON([]byte(s), false, &d); err != nil {
		panic(s + ": " + err.Error())
	}
	return d
}

// rawValue marshals one value.
func rawValue(v any) value { return raw(D("v", v)).lookup("v") }

// numbers are numbers at the limits of their representations.
var numbers = []any{
	int32(0), int32(1), int32(-1), int32(math.MaxInt32), int32(math.MinInt32), int64(0), int64(1), int64(math.MaxInt64),
	int64(math.MinInt64), int64(1<<53 - 1), int64(1 << 53), int64(1<<53 + 1), int64(1<<53 + 2), int64(-1<<53 - 1),
	int64(math.MaxInt64 - 1), int64(math.MinInt64 + 1), 0.0, math.Copysign(0, -1), 0.1, -0.1, 1.5, math.MaxFloat64,
	-math.MaxFloat64, math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN(),
	float64(1 << 53), float64(1 << 63), -float64(1 << 63), decimalFrom("0.1"), decimalFrom("0.10"), decimalFrom("1"),
	decimalFrom("-1"), decimalFrom("9007199254740993"), decimalFrom("9223372036854775807"), decimalFrom("NaN"),
	decimalFrom("Infinity"), decimalFrom("-Infinity"), decimalFrom("1E+6000"), decimalFrom("-1E+6000"),
	decimalFrom("1E-6000"), decimalFrom("-1E-6000"), decimalFrom("0E-10"), decimalFrom("4.9E-324"),
}

func decimalFrom(s string) bson.Decimal128 {
	d, err := bson.ParseDecimal128(s)
	if err != nil {
		panic(err)
	}
	return d
}

// anyValue draws values of all BSON types, which are often equal or close to each other.
func anyValue(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		text := rapid.SampledFrom([]string{"", "a", "ab", "b", "a\x00", "a\x00b", "\x00", "a\xff", "ä"})
		top := 17
		if depth <= 0 {
			top = 15
		}
		switch rapid.IntRange(0, top).Draw(t, "type") {
		case 0, 1, 2:
			return rapid.SampledFrom(numbers).Draw(t, "number")
		case 3:
			return rapid.Int64Range(-3, 3).Draw(t, "small")
		case 4, 5:
			return text.Draw(t, "string")
		case 6:
			return nil
		case 7:
			return rapid.Bool().Draw(t, "bool")
		case 8:
			return bson.DateTime(rapid.SampledFrom([]int64{math.MinInt64, -1, 0, 1, 1 << 40, math.MaxInt64}).Draw(t, "date"))
		case 9:
			return bson.Timestamp{T: rapid.SampledFrom([]uint32{0, 1, math.MaxUint32}).Draw(t, "t"), I: rapid.Uint32Range(0, 2).Draw(t, "i")}
		case 10:
			return bson.Binary{
				Subtype: rapid.ByteRange(0, 1).Draw(t, "subtype"),
				Data:    rapid.SliceOfN(rapid.ByteRange(0, 1), 0, 3).Draw(t, "data"),
			}
		case 11:
			return bson.ObjectID{rapid.ByteRange(0, 2).Draw(t, "oid")}
		case 12:
			return bson.Regex{
				Pattern: rapid.SampledFrom([]string{"", "a", "ab"}).Draw(t, "pattern"),
				Options: rapid.SampledFrom([]string{"", "i"}).Draw(t, "options"),
			}
		case 13:
			return rapid.SampledFrom([]any{bson.MinKey{}, bson.MaxKey{}}).Draw(t, "key")
		case 14:
			return bson.JavaScript(text.Draw(t, "code"))
		case 15:
			return bson.Symbol(text.Draw(t, "symbol"))
		case 16:
			d := bson.D{}
			for range rapid.IntRange(0, 2).Draw(t, "fields") {
				name := rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "name")
				d = append(d, bson.E{Key: name, Value: anyValue(depth-1).Draw(t, "value")})
			}
			return d
		default:
			return bson.A(rapid.SliceOfN(anyValue(depth-1), 0, 2).Draw(t, "array"))
		}
	})
}

// slowNumberOrder compares numbers by exact arithmetic, independently of the server's code.
func slowNumberOrder(a, b value) int {
	rank := func(v value) (int, *big.Rat) { // NaN, -Inf, finite, +Inf
		switch v.t {
		case tDouble:
			f := v.double()
			switch {
			case f != f:
				return 0, nil
			case math.IsInf(f, -1):
				return 1, nil
			case math.IsInf(f, 1):
				return 3, nil
			}
			return 2, new(big.Rat).SetFloat64(f)
		case tDecimal:
			d := decimalOf(v.b)
			switch {
			case d.nan:
				return 0, nil
			case d.inf && d.neg:
				return 1, nil
			case d.inf:
				return 3, nil
			}
			r, ok := new(big.Rat).SetString(bson.NewDecimal128(uint64(le64(v.b[8:])), uint64(le64(v.b))).String())
			if !ok {
				panic("decimal")
			}
			return 2, r
		}
		i, _ := asInt(v)
		return 2, new(big.Rat).SetInt64(i)
	}
	ra, xa := rank(a)
	rb, xb := rank(b)
	if ra != rb || xa == nil {
		return ra - rb
	}
	return xa.Cmp(xb)
}

func sign(i int) int {
	switch {
	case i < 0:
		return -1
	case i > 0:
		return 1
	}
	return 0
}

func keyOf(v value) []byte { return appendKey(nil, v) }

func keyOrder(a, b value) int { return bytes.Compare(keyOf(a), keyOf(b)) }
