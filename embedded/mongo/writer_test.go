package mongo

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"pgregory.net/rapid"
)

// TestArraysOfLeavesHaveTheSameKeys compares the short way to the keys of a document with an array with the one for all documents.
func TestArraysOfLeavesHaveTheSameKeys(t *testing.T) {
	short := 0
	rapid.Check(t, func(rt *rapid.T) {
		x, err := newIndex("x", raw(rapid.SampledFrom([]bson.D{
			D("a", 1), D("a", -1, "b", 1), D("b", 1, "a", 1, "c.d", -1), D("a.b", 1, "c", 1), D("c", 1, "c.d", 1),
		}).Draw(rt, "index")), false)
		must(t, err)
		d := bson.D{}
		for _, name := range []string{"a", "b", "c", "a"} {
			if rapid.Bool().Draw(rt, name) {
				value := rapid.OneOf(anyValue(2), rapid.Map(rapid.SliceOfN(anyValue(1), 0, 3), func(a []any) any { return bson.A(a) }))
				d = append(d, bson.E{Key: name, Value: value.Draw(rt, "value")})
			}
		}
		stored := raw(d)
		roots := rootsOf([]*index{x})
		vals := roots.of(stored, nil)
		for n, name := range roots.names {
			if want := stored.lookup(name); want.t != vals[n].t || !bytes.Equal(want.b, vals[n].b) {
				rt.Fatalf("%s of %s is %s", name, shellText(stored), shellValue(vals[n]))
			}
		}
		var fast, slow keySet
		fast.reset(1)
		slow.reset(1)
		if x.arrayOfLeaves(roots.fields[0], vals, &fast, 0) {
			short++
			cursors := make([]fieldCursor, len(x.fields))
			for f := range cursors {
				cursors[f] = fieldCursor{v: value{tDocument, stored}, parts: x.fields[f].parts}
			}
			must(t, x.expand(cursors, &slow, 0))
			if !slices.EqualFunc(fast.of(0), slow.of(0), bytes.Equal) || fast.multi[0] != slow.multi[0] {
				rt.Fatalf("index %s of %s: %x, %b\nand the long way %x, %b", shellText(x.key), shellText(stored),
					fast.of(0), fast.multi[0], slow.of(0), slow.multi[0])
			}
		}
	})
	if short == 0 {
		t.Error("the short way was never taken")
	}
}

// TestAReplacementTouchesOnlyWhatItChanges counts the entries that replacements write.
func TestAReplacementTouchesOnlyWhatItChanges(t *testing.T) {
	s := startServer(t)
	c := connect(t, s).Database("test").Collection("c")
	_, err := c.Indexes().CreateMany(t.Context(), []driver.IndexModel{{Keys: D("a", 1, "b.c", 1)}, {Keys: D("list", 1)}, {Keys: D("z", 1)}})
	must(t, err)
	old := raw(D("_id", 1, "a", 1, "b", D("c", 1, "d", 1), "list", A(1, 2), "n", 1))
	_, err = c.InsertOne(t.Context(), bson.Raw(old))
	must(t, err)
	for _, of := range []struct {
		d       bson.D
		entries int // of indexes
	}{
		{D("_id", 1, "a", 1, "b", D("c", 1, "d", 1), "list", A(1, 2), "n", 2), 0},
		{D("_id", 1, "a", 1, "b", D("c", 1, "d", 2), "list", A(1, 2), "n", 1), 0},
		{D("_id", 1, "a", 1, "b", D("c", 2, "d", 1), "list", A(1, 2), "n", 1), 2},
		{D("_id", 1, "a", 1, "b", D("c", 1, "d", 1), "list", A(2, 3), "n", 1), 2},
		{D("_id", 1, "a", 1, "b", D("c", 1, "d", 1), "list", A(1, 2), "n", 1, "z", 1), 2},
	} {
		w := s.store.writeTo(s.store.lookup(namespace{"test", "c"}))
		must(t, w.replace(old, raw(of.d)))
		written := 0
		for _, group := range w.entries[1:] {
			written += len(group)
		}
		if written != of.entries {
			t.Errorf("%v writes %d entries of indexes, want %d", of.d, written, of.entries)
		}
		w.close()
	}
}

// TestTheGreatestKeyIsKnownAgain opens a store again: a key that is there is found, and so is the place of a greater one.
func TestTheGreatestKeyIsKnownAgain(t *testing.T) {
	fs := vfs.NewMem()
	open := func() *Server {
		s, err := Open(t.Context(), Options{Dir: "data", FS: fs})
		must(t, err)
		return s
	}
	for round := range 3 {
		s := open()
		c := connect(t, s).Database("test").Collection("c")
		for i := range 2 * round {
			if _, err := c.InsertOne(t.Context(), D("_id", fmt.Sprint(i))); !driver.IsDuplicateKeyError(err) {
				t.Errorf("round %d: document %d is inserted twice: %v", round, i, err)
			}
		}
		_, err := c.DeleteOne(t.Context(), D("_id", fmt.Sprint(2*round-1)))
		must(t, err)
		for i := max(0, 2*round-1); i < 2*round+2; i++ {
			_, err := c.InsertOne(t.Context(), D("_id", fmt.Sprint(i)))
			must(t, err)
		}
		checkStore(t, s.store)
		stop(t, s)
	}
}
