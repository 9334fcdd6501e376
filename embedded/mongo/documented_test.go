package mongo

import (
	"os"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// TestDocumentNamesWhatIsRefused compares docs/stores.md with the code.
func TestDocumentNamesWhatIsRefused(t *testing.T) {
	text, err := os.ReadFile("../../docs/stores.md")
	must(t, err)
	page := string(text)
	for _, names := range []map[string]bool{notProvided, otherStages} {
		for name := range names {
			if !strings.Contains(page, "`"+name+"`") {
				t.Errorf("docs/stores.md does not name %s", name)
			}
		}
	}
	for command := range commandTable {
		if strings.Contains(page, "`"+command+"`") && notSupported[command] != "" {
			t.Errorf("%s is both supported and not", command)
		}
	}
	c := newColl(t)
	_, err = c.InsertOne(t.Context(), D("_id", 1))
	must(t, err)
	run := func(command bson.D) error { return c.Database().RunCommand(t.Context(), command).Err() }
	find := func(filter bson.D) error { return run(D("find", "c", "filter", filter)) }
	stages := func(stages ...any) error { return run(D("aggregate", "c", "pipeline", A(stages...), "cursor", D())) }
	index := func(key bson.D, more ...any) error {
		return run(D("createIndexes", "c", "indexes", A(D(append([]any{"key", key, "name", "i"}, more...)...))))
	}
	update := func(u any) error { return run(D("update", "c", "updates", A(D("q", D(), "u", u)))) }
	for name, tc := range map[string]struct {
		err   error
		codes []errCode
	}{
		"$expr":           {find(D("$expr", D("$eq", A("$a", "$b")))), []errCode{codeNotImplemented}},
		"$lookup":         {stages(D("$lookup", D())), []errCode{codeNotImplemented}},
		"$changeStream":   {stages(D("$changeStream", D())), []errCode{codeNotImplemented}},
		"computed":        {stages(D("$project", D("x", D("$add", A("$a", 1))))), []errCode{codeNotImplemented}},
		"computed group":  {stages(D("$group", D("_id", D("$year", "$at")))), []errCode{codeNotImplemented}},
		"time to live":    {index(D("a", 1), "expireAfterSeconds", 60), []errCode{codeCannotCreateIndex}},
		"partial":         {index(D("a", 1), "partialFilterExpression", D("a", 1)), []errCode{codeCannotCreateIndex}},
		"sparse":          {index(D("a", 1), "sparse", true), []errCode{codeCannotCreateIndex}},
		"text":            {index(D("a", "text")), []errCode{codeCannotCreateIndex}},
		"wildcard":        {index(D("$**", 1)), []errCode{codeCannotCreateIndex}},
		"position":        {index(D("a.0", 1)), []errCode{codeCannotCreateIndex}},
		"pipeline update": {update(A(D("$set", D("x", 1)))), []errCode{codeNotImplemented}},
		"positional":      {update(D("$set", D("a.$[]", 1))), []errCode{codeNotImplemented}},
		"$bit":            {update(D("$bit", D("a", D("or", 1)))), []errCode{codeNotImplemented}},
		"$slice":          {run(D("find", "c", "projection", D("a", D("$slice", 1)))), []errCode{codeNotImplemented}},
		"transaction": {run(D("find", "c", "txnNumber", int64(1), "startTransaction", true, "autocommit", false)),
			[]errCode{codeOpNotInTransaction, codeIllegalOperation}},
		"mapReduce":   {run(D("mapReduce", "c")), []errCode{codeCommandNotSupported}},
		"collation":   {run(D("find", "c", "collation", D("locale", "de"))), []errCode{codeNotImplemented}},
		"capped":      {run(D("create", "capped", "capped", true, "size", 1000)), []errCode{codeNotImplemented}},
		"view":        {run(D("create", "view", "viewOn", "c", "pipeline", A())), []errCode{codeNotImplemented}},
		"time series": {run(D("create", "series", "timeseries", D("timeField", "at"))), []errCode{codeNotImplemented}},
		"validator":   {run(D("create", "valid", "validator", D("a", 1))), []errCode{codeNotImplemented}},
		"option x":    {find(D("a", D("$regex", "a", "$options", "x"))), []errCode{codeNotImplemented}},
		"look-around": {find(D("a", D("$regex", "a(?=b)"))), []errCode{codeBadRegex}},
	} {
		refused := false
		for _, code := range tc.codes {
			refused = refused || hasCode(tc.err, code)
		}
		if !refused {
			t.Errorf("%s: %v", name, tc.err)
		}
	}
}
