package mongo

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// shellText formats a document for an error message, like MongoDB's shell.
func shellText(d doc) string {
	var b strings.Builder
	appendShell(&b, value{tDocument, d})
	return truncated(b.String(), 512)
}

// shellValue formats one value for an error message, like MongoDB's shell.
func shellValue(v value) string {
	var b strings.Builder
	appendShell(&b, v)
	return truncated(b.String(), 256)
}

func appendShell(b *strings.Builder, v value) {
	switch v.t {
	case tDouble:
		b.WriteString(strconv.FormatFloat(v.double(), 'g', -1, 64))
	case tInt32:
		b.WriteString(strconv.Itoa(int(v.int32())))
	case tInt64:
		b.WriteString(strconv.FormatInt(v.int64(), 10))
	case tString, tSymbol, tCode:
		b.WriteString(strconv.Quote(truncated(v.str(), 128)))
	case tDocument, tArray:
		open, end := "{", "}"
		if v.t == tArray {
			open, end = "[", "]"
		}
		b.WriteString(open)
		sep := " "
		for e, rest := v.doc().first(); e.t != 0 && b.Len() < 512; e, rest = nextElem(rest) {
			b.WriteString(sep)
			if sep = ", "; v.t == tDocument {
				b.Write(e.name)
				b.WriteString(": ")
			}
			appendShell(b, e.value)
		}
		b.WriteString(" " + end)
	case tObjectID:
		b.WriteString("ObjectId('" + hex.EncodeToString(v.b) + "')")
	case tBool:
		b.WriteString(strconv.FormatBool(v.bool()))
	case tDate:
		fmt.Fprintf(b, "new Date(%d)", v.int64())
	case tNull, tMissing:
		b.WriteString("null")
	case tRegex:
		p, o := v.regex()
		b.WriteString("/" + truncated(p, 128) + "/" + o)
	case tBinary:
		fmt.Fprintf(b, "BinData(%d, %s)", v.b[4], truncated(strings.ToUpper(hex.EncodeToString(v.b[5:])), 128))
	default:
		b.WriteString(v.typeName())
	}
}
