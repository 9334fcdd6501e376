package mongo

import (
	"strings"
	"testing"
)

// TestFilters checks filters that the model of the property test does not cover, against one document.
func TestFilters(t *testing.T) {
	d := rawJSON(`{"_id": 1, "i": 7, "d": 7.5, "s": "Hello\nWorld", "n": null, "b": true, "t": {"$date": {"$numberLong": "1000"}},
		"o": {"$oid": "0102030405060708090a0b0c"}, "dec": {"$numberDecimal": "7.50"},
		"re": {"$regularExpression": {"pattern": "^a", "options": "i"}},
		"a": [1, "x", {"k": 1, "v": [5, 6]}, {"k": 2}], "nested": [[1, 2], [3]], "sub": {"x": {"y": 1}}, "empty": [], "p": [1]}`)
	for filter, want := range map[string]bool{
		`{}`: true, `{"i": 7.0}`: true, `{"i": {"$numberLong": "7"}}`: true, `{"d": {"$numberDecimal": "7.5"}}`: true,
		`{"dec": 7.5}`: true, `{"dec": {"$gt": 7, "$lt": 8}}`: true, `{"i": {"$gt": "a"}}`: false, `{"s": {"$gt": 5}}`: false,
		`{"s": {"$regex": "^hello", "$options": "i"}}`: true, `{"s": {"$regex": "^hello"}}`: false,
		`{"s": {"$regex": "^World", "$options": "m"}}`: true, `{"s": {"$regex": "Hello.World", "$options": "s"}}`: true,
		`{"s": {"$in": [{"$regularExpression": {"pattern": "^W", "options": "m"}}]}}`: true,
		`{"s": {"$not": {"$regularExpression": {"pattern": "^W", "options": ""}}}}`:   true,
		`{"re": {"$regularExpression": {"pattern": "^a", "options": "i"}}}`:           true,
		`{"i": {"$type": "int"}}`:                          true,
		`{"i": {"$type": ["string", 16]}}`:                 true,
		`{"i": {"$type": "number"}}`:                       true,
		`{"a": {"$type": "array"}}`:                        true,
		`{"a": {"$type": "string"}}`:                       true,
		`{"i": {"$type": "string"}}`:                       false,
		`{"none": {"$type": "null"}}`:                      false,
		`{"i": {"$mod": [4, 3]}}`:                          true,
		`{"d": {"$mod": [4, 3]}}`:                          true,
		`{"i": {"$mod": [4, 1]}}`:                          false,
		`{"n": null}`:                                      true,
		`{"none": null}`:                                   true,
		`{"none": {"$ne": null}}`:                          false,
		`{"n": {"$exists": true}}`:                         true,
		`{"none": {"$exists": false}}`:                     true,
		`{"sub.x.y": 1}`:                                   true,
		`{"sub": {"x": {"y": 1.0}}}`:                       true,
		`{"sub": {"x": {}}}`:                               false,
		`{"sub.x.y.z": null}`:                              true,
		`{"a": [1, "x", {"k": 1, "v": [5, 6]}, {"k": 2}]}`: true,
		`{"a": 1}`:                                         true,
		`{"a.k": {"$all": [1, 2]}}`:                        true,
		`{"a.v": 6}`:                                       true,
		`{"a.2.v.1": 6}`:                                   true,
		`{"a.2.v.1": 5}`:                                   false,
		`{"p.0.b": null}`:                                  false,
		`{"p.0.b": {"$ne": null}}`:                         true,
		`{"p.0.b": {"$exists": false}}`:                    true,
		`{"a.2.b": null}`:                                  true,
		`{"nested.0.b": null}`:                             false,
		`{"a": {"$elemMatch": {"k": 1, "v": {"$gt": 5}}}}`: true,
		`{"a": {"$elemMatch": {"k": 2, "v": 5}}}`:          false,
		`{"a": {"$all": [{"$elemMatch": {"k": 1}}, {"$elemMatch": {"k": 2}}]}}`: true,
		`{"a": {"$size": 4}}`: true,
		`{"nested": {"$elemMatch": {"$elemMatch": {"$gte": 3}}}}`: true,
		`{"nested": [1, 2]}`:      true,
		`{"nested": 1}`:           false,
		`{"empty": {"$size": 0}}`: true,
		`{"empty": null}`:         false,
		`{"empty": []}`:           true,
		`{"t": {"$gte": {"$date": {"$numberLong": "1000"}}, "$lt": {"$date": {"$numberLong": "1001"}}}}`: true,
		`{"o": {"$gt": {"$oid": "0102030405060708090a0b0b"}}}`:                                           true,
		`{"i": {"$not": {"$gt": 7}}}`:                                                                    true,
		`{"$comment": "why", "i": 7}`:                                                                    true,
		`{"$and": [{"i": 7}, {"$or": [{"b": false}, {"$nor": [{"b": false}]}]}]}`:                        true,
		`{"i": {"$in": []}}`:             false,
		`{"i": {"$nin": []}}`:            true,
		`{"i": {"$gt": {"$minKey": 1}}}`: true,
		`{"i": {"$gt": {"$maxKey": 1}}}`: false,
	} {
		f, err := parseFilter(rawJSON(filter))
		if err != nil {
			t.Errorf("%s: %v", filter, err)
		} else if f.match(d) != want {
			t.Errorf("%s: got %t", filter, !want)
		}
	}
}

func TestLiteralPrefixes(t *testing.T) {
	for pattern, want := range map[string]string{
		"^abc": "abc", "^ab.c": "ab", "^abc*": "ab", "^abc+": "abc", "^ab?": "a", "^a{0}": "", "abc": "", "^a|b": "", "^": "",
		"^ä?": "", "^aä*": "a", "^a(b)?": "a", `^a\.b`: "a", "^a[bc]": "a", "^ab$": "ab",
	} {
		if got := literalPrefix(pattern); got != want {
			t.Errorf("%s: got %q, want %q", pattern, got, want)
		}
	}
}

func TestProjections(t *testing.T) {
	d := rawJSON(`{"_id": 1, "a": {"x": 1, "y": {"z": 2}}, "b": [{"x": 1, "y": 2}, 5, [{"x": 3}], {"y": 4}], "c": 3}`)
	for projection, want := range map[string]string{
		`{}`:                      `{"_id": 1, "a": {"x": 1, "y": {"z": 2}}, "b": [{"x": 1, "y": 2}, 5, [{"x": 3}], {"y": 4}], "c": 3}`,
		`{"c": 1}`:                `{"_id": 1, "c": 3}`,
		`{"c": true, "_id": 0}`:   `{"c": 3}`,
		`{"_id": 1}`:              `{"_id": 1}`,
		`{"_id": 0}`:              `{"a": {"x": 1, "y": {"z": 2}}, "b": [{"x": 1, "y": 2}, 5, [{"x": 3}], {"y": 4}], "c": 3}`,
		`{"a.y": 1, "b.x": 1}`:    `{"_id": 1, "a": {"y": {"z": 2}}, "b": [{"x": 1}, [{"x": 3}], {}]}`,
		`{"a.y.z": 0, "b.x": 0}`:  `{"_id": 1, "a": {"x": 1, "y": {}}, "b": [{"y": 2}, 5, [{}], {"y": 4}], "c": 3}`,
		`{"c.x": 1, "none": 1}`:   `{"_id": 1}`,
		`{"c.x": 0, "none.y": 0}`: `{"_id": 1, "a": {"x": 1, "y": {"z": 2}}, "b": [{"x": 1, "y": 2}, 5, [{"x": 3}], {"y": 4}], "c": 3}`,
	} {
		p, err := parseProjection(rawJSON(projection))
		must(t, err)
		if got := p.apply(d); compareFields(got, rawJSON(want), true) != 0 {
			t.Errorf("%s\n got %s\nwant %s", projection, shellText(got), strings.TrimSpace(want))
		}
	}
}
