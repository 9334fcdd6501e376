package mongo

import (
	"strings"
)

// expression is an expression of $group or $project: a constant, the value at a path, or an object or array of
// expressions.
type expression struct {
	constant value
	path     bool     // the expression is the path in parts
	parts    []string // empty for the whole document
	object   []namedExpression
	array    []expression
	kind     byte // tDocument for object, tArray for array, else 0
}

type namedExpression struct {
	name string
	expression
}

// otherOperators are MongoDB's expression operators that are not provided.
var otherOperators = func() map[string]bool {
	all := map[string]bool{}
	for _, name := range strings.Fields(`abs accumulator acos acosh add allElementsTrue and anyElementTrue arrayElemAt
		arrayToObject asin asinh atan atan2 atanh avg binarySize bitAnd bitNot bitOr bitXor bsonSize ceil cmp concat
		concatArrays cond const convert cos cosh dateAdd dateDiff dateFromParts dateFromString dateSubtract dateToParts
		dateToString dateTrunc dayOfMonth dayOfWeek dayOfYear degreesToRadians divide eq exp filter first firstN floor
		function getField gt gte hour ifNull in indexOfArray indexOfBytes indexOfCP isArray isNumber isoDayOfWeek isoWeek
		isoWeekYear last lastN let ln log log10 lt lte ltrim map max maxN median mergeObjects meta millisecond min minN
		minute mod month multiply ne not objectToArray or percentile pow radiansToDegrees rand range reduce regexFind
		regexFindAll regexMatch replaceAll replaceOne reverseArray round rtrim sampleRate second setDifference setEquals
		setField setIntersection setIsSubset setUnion sin sinh size slice sortArray split sqrt stdDevPop stdDevSamp
		strLenBytes strLenCP strcasecmp substr substrBytes substrCP subtract sum switch tan tanh toBool toDate toDecimal
		toDouble toHashedIndexKey toInt toLong toLower toObjectId toString toUpper trim trunc tsIncrement tsSecond type
		unsetField week year zip`) {
		all["$"+name] = true
	}
	return all
}()

// parseExpression compiles an expression.
func parseExpression(v value) (expression, error) {
	switch v.t {
	case tString:
		return parsePathExpression(v)
	case tArray:
		x := expression{kind: tArray}
		for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
			kid, err := parseExpression(e.value)
			if err != nil {
				return expression{}, err
			}
			x.array = append(x.array, kid)
		}
		return x, nil
	case tDocument:
		return parseObjectExpression(v.doc())
	}
	return expression{constant: v}, nil
}

func parsePathExpression(v value) (expression, error) {
	text := v.str()
	switch {
	case strings.HasPrefix(text, "$$"):
		name, path, more := strings.Cut(text[2:], ".")
		switch name {
		case "ROOT", "CURRENT":
			x := expression{path: true}
			if !more {
				return x, nil
			}
			x.parts = strings.Split(path, ".")
			return x, checkPath(path)
		case "REMOVE":
			return expression{}, nil
		case "NOW", "CLUSTER_TIME", "DESCEND", "PRUNE", "KEEP", "SEARCH_META", "USER_ROLES", "JS_SCOPE", "IS_MR":
			return expression{}, refuse(codeNotImplemented, "aggregation variable %q is not provided here", text)
		}
		return expression{}, refuse(17276, "Use of undefined variable: %s", truncated(name, 64))
	case strings.HasPrefix(text, "$"):
		return expression{path: true, parts: strings.Split(text[1:], ".")}, checkPath(text[1:])
	}
	return expression{constant: v}, nil
}

func parseObjectExpression(d doc) (expression, error) {
	x := expression{kind: tDocument}
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		name := string(e.name)
		switch {
		case name == "$literal" && d.len() == 1:
			return expression{constant: e.value}, nil
		case otherOperators[name] || name == "$literal":
			if d.len() > 1 {
				return expression{}, refuse(15983, "an object representing an expression must have exactly one field: %s", shellText(d))
			}
			return expression{}, refuse(codeNotImplemented, "aggregation operator %s is not provided here: use a constant or \"$field\"", name)
		case strings.HasPrefix(name, "$"):
			return expression{}, refuse(codeInvalidPipelineOperator, "Unrecognized expression '%s'", truncated(name, 64))
		case strings.Contains(name, "."):
			return expression{}, refuse(16412, "FieldPath field names may not contain '.': %q", truncated(name, 64))
		case name == "":
			return expression{}, refuse(15998, "FieldPath field names may not be empty strings.")
		}
		kid, err := parseExpression(e.value)
		if err != nil {
			return expression{}, err
		}
		for _, other := range x.object {
			if other.name == name {
				return expression{}, refuse(16406, "duplicate field name specified in object literal: %s", name)
			}
		}
		x.object = append(x.object, namedExpression{name, kid})
	}
	return x, nil
}

// of returns the value of the expression for a document, which may be missing. It may point into the document.
func (x *expression) of(d doc) value {
	switch {
	case x.path && len(x.parts) == 0:
		return value{tDocument, d}
	case x.path:
		return valueAt(d, x.parts)
	case x.kind != 0:
		w := newBuilder()
		x.appendTo(w, "", d)
		return w.done().lookup("")
	}
	return x.constant
}

// appendTo writes an object or array of expressions as a field.
func (x *expression) appendTo(w *builder, name string, d doc) {
	if x.kind == tArray {
		w.array(name)
		for i := range x.array {
			v := x.array[i].of(d)
			if v.missing() {
				v = value{t: tNull} // an array has no gaps
			}
			w.val("", v)
		}
	} else {
		w.doc(name)
		for i := range x.object {
			if v := x.object[i].of(d); !v.missing() {
				w.val(x.object[i].name, v)
			}
		}
	}
	w.end()
}

// valueAt returns the value at a field path of an expression. If the path goes through an array, it returns the array
// of the values in its elements.
func valueAt(d doc, parts []string) value {
	v := d.lookup(parts[0])
	switch {
	case len(parts) == 1:
		return v
	case v.t == tDocument:
		return valueAt(v.doc(), parts[1:])
	case v.t == tArray:
		w := newBuilder()
		w.array("")
		for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
			if e.t == tDocument {
				if inner := valueAt(e.doc(), parts[1:]); !inner.missing() {
					w.val("", inner)
				}
			}
		}
		return w.end().done().lookup("")
	}
	return value{}
}
