package mongo

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"pgregory.net/rapid"
)

// TestStatementsSeeEarlierOnes runs commands whose statements name the same few documents. Each statement must see the
// changes of earlier ones, whether its document was read ahead or not.
func TestStatementsSeeEarlierOnes(t *testing.T) {
	ctx := context.Background()
	s := startServer(t)
	db := connect(t, s).Database("test")
	rapid.Check(t, func(rt *rapid.T) {
		c := db.Collection("c")
		must(t, c.Drop(ctx))
		_, err := c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("p", 1)})
		must(t, err)
		model := map[int32]int32{} // position by _id
		for range rapid.IntRange(1, 4).Draw(rt, "commands") {
			n := rapid.SampledFrom([]int{1, aheadLeast, 40}).Draw(rt, "statements")
			ids := rapid.SliceOfN(rapid.Int32Range(0, 9), n, n).Draw(rt, "ids")
			positions := rapid.SliceOfN(rapid.Int32Range(0, 5), n, n).Draw(rt, "positions")
			command := rapid.SampledFrom([]string{"insert", "update", "delete"}).Draw(rt, "command")
			runStatements(t, rt, db, command, ids, positions, model)
		}
		checkPositions(t, rt, c, model)
		checkStore(t, s.store)
		if t.Failed() {
			rt.Fatal("see above")
		}
	})
}

// TestStatementsSeeEarlierReadAheads runs commands with more statements than are read ahead at a time.
func TestStatementsSeeEarlierReadAheads(t *testing.T) {
	s := startServer(t)
	db := connect(t, s).Database("test")
	model := map[int32]int32{}
	var ids, positions []int32
	for i := range int32(2*aheadStatements + 100) {
		ids = append(ids, i%37)
		positions = append(positions, i%101)
	}
	for _, command := range []string{"insert", "update", "delete", "update"} {
		runStatements(t, t, db, command, ids, positions, model)
	}
	checkPositions(t, t, db.Collection("c"), model)
	checkStore(t, s.store)
}

// runStatements runs one unordered command and applies it to the model. Updates replace or insert a document unless it
// has a higher position; deletes delete a document with exactly the given position.
func runStatements(t *testing.T, tb rapid.TB, db *driver.Database, command string, ids, positions []int32, model map[int32]int32) {
	t.Helper()
	stmts := bson.A{}
	var refused []int32
	for i, id := range ids {
		p := positions[i]
		has, exists := model[id]
		doc := D("_id", id, "p", p)
		switch command {
		case "insert":
			stmts = append(stmts, doc)
			if exists {
				refused = append(refused, int32(i))
			} else {
				model[id] = p
			}
		case "update":
			stmts = append(stmts, D("q", D("_id", id, "p", D("$lte", p)), "u", doc, "upsert", true))
			if exists && has > p {
				refused = append(refused, int32(i))
			} else {
				model[id] = p
			}
		case "delete":
			stmts = append(stmts, D("q", D("_id", id, "p", p), "limit", 1))
			if exists && has == p {
				delete(model, id)
			}
		}
	}
	field := map[string]string{"insert": "documents", "update": "updates", "delete": "deletes"}[command]
	var res struct {
		WriteErrors []struct {
			Index int32
			Code  errCode
		} `bson:"writeErrors"`
	}
	// The driver treats write errors as an error of the whole command.
	raw, err := db.RunCommand(context.Background(), D(command, "c", field, stmts, "ordered", false)).Raw()
	if raw == nil {
		tb.Fatalf("%s: %v", command, err)
	}
	must(t, bson.Unmarshal(raw, &res))
	var got []int32
	for _, e := range res.WriteErrors {
		if got = append(got, e.Index); e.Code != codeDuplicateKey {
			tb.Fatalf("%s: statement %d failed with code %d", command, e.Index, e.Code)
		}
	}
	if !slices.Equal(got, refused) {
		first := 0
		for first < min(len(got), len(refused)) && got[first] == refused[first] {
			first++
		}
		tb.Fatalf("%s refuses %d of %d statements, want %d; they differ from refusal %d on",
			command, len(got), len(ids), len(refused), first+1)
	}
}

func checkPositions(t *testing.T, tb rapid.TB, c *driver.Collection, model map[int32]int32) {
	t.Helper()
	got := map[int32]int32{}
	for _, d := range find(t, c, bson.D{}) {
		got[d[0].Value.(int32)] = d[1].Value.(int32)
	}
	if fmt.Sprint(got) != fmt.Sprint(model) {
		tb.Fatalf("the documents are %v, want %v", got, model)
	}
}
