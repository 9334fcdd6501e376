package mongo

import (
	"bytes"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

func TestNumbersAreOrderedAcrossTypes(t *testing.T) {
	for _, x := range numbers {
		for _, y := range numbers {
			a, b := rawValue(x), rawValue(y)
			want := sign(slowNumberOrder(a, b))
			if got := sign(compare(a, b)); got != want {
				t.Errorf("compare(%T %v, %T %v) = %d, want %d", x, x, y, y, got, want)
			}
			if got := sign(keyOrder(a, b)); got != want {
				t.Errorf("keys of %T %v and %T %v: %d, want %d", x, x, y, y, got, want)
			}
		}
	}
}

func TestClassesAreOrdered(t *testing.T) {
	inOrder := []any{
		bson.MinKey{}, bson.Undefined{}, nil, 1, "a", D("a", 1), A(1), bson.Binary{}, bson.ObjectID{}, false, true,
		bson.DateTime(0), bson.Timestamp{}, bson.Regex{}, bson.DBPointer{}, bson.JavaScript(""),
		bson.CodeWithScope{Scope: bson.D{}}, bson.MaxKey{},
	}
	for i, x := range inOrder {
		for j, y := range inOrder {
			a, b := rawValue(x), rawValue(y)
			if got, want := sign(compare(a, b)), sign(i-j); got != want {
				t.Errorf("compare(%v, %v) = %d, want %d", x, y, got, want)
			}
			if got, want := sign(keyOrder(a, b)), sign(i-j); got != want {
				t.Errorf("keys of %v and %v: %d, want %d", x, y, got, want)
			}
		}
	}
}

// TestKeysHaveTheOrderOfValues checks single keys and keys of two fields, in both directions.
func TestKeysHaveTheOrderOfValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := anyValue(2)
		a, b := rawValue(g.Draw(t, "a")), rawValue(g.Draw(t, "b"))
		want := sign(compare(a, b))
		ka, kb := keyOf(a), keyOf(b)
		if got := sign(bytes.Compare(ka, kb)); got != want {
			t.Fatalf("compare returns %d, but the keys %x and %x compare to %d", want, ka, kb, got)
		}
		if want != 0 && (bytes.HasPrefix(ka, kb) || bytes.HasPrefix(kb, ka)) {
			t.Fatalf("one of %x and %x is a prefix of the other", ka, kb)
		}
		if want != sign(-compare(b, a)) {
			t.Fatal("compare(a, b) and compare(b, a) contradict each other")
		}
		c, d := rawValue(g.Draw(t, "c")), rawValue(g.Draw(t, "d"))
		desc := rapid.Bool().Draw(t, "desc")
		f := indexField{desc: desc}
		if desc {
			want = -want
		}
		if want == 0 {
			want = sign(compare(c, d))
		}
		got := sign(bytes.Compare(appendKey(f.append(nil, a), c), appendKey(f.append(nil, b), d)))
		if got != want {
			t.Fatalf("two fields: got %d, want %d", got, want)
		}
	})
}

func FuzzKeyOrder(f *testing.F) {
	for i, x := range numbers {
		f.Add([]byte(raw(D("a", x, "b", numbers[(i+1)%len(numbers)]))))
	}
	f.Add([]byte(raw(D("a", D("x", A(1, "y")), "b", bson.Regex{Pattern: "p", Options: "i"}))))
	f.Add([]byte(raw(D("a", bson.CodeWithScope{Code: "f", Scope: D("x", 1)}, "b", bson.DBPointer{DB: "d"}))))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := validate(b)
		if err != nil {
			return
		}
		e1, rest := d.first()
		if e1.t == 0 {
			return
		}
		e2, _ := nextElem(rest)
		if e2.t == 0 {
			e2 = e1
		}
		if got, want := sign(keyOrder(e1.value, e2.value)), sign(compare(e1.value, e2.value)); got != want {
			t.Fatalf("the keys compare to %d, compare returns %d", got, want)
		}
		if e1.isNumber() && e2.isNumber() {
			if got, want := sign(compare(e1.value, e2.value)), sign(slowNumberOrder(e1.value, e2.value)); got != want {
				t.Fatalf("compare returns %d, exact arithmetic gives %d", got, want)
			}
		}
	})
}

func TestSuccessor(t *testing.T) {
	for _, c := range []struct{ in, want []byte }{
		{[]byte{1, 2}, []byte{1, 3}}, {[]byte{1, 0xFF}, []byte{2}}, {[]byte{0xFF, 0xFF}, nil}, {nil, nil},
	} {
		if got := successor(c.in); !bytes.Equal(got, c.want) {
			t.Errorf("successor(%x) = %x, want %x", c.in, got, c.want)
		}
	}
}
