// Package canonical writes values so that equal values have equal bytes, whoever writes them. What is published under a
// hash, such as an instrument, is hashed in this form.
//
// The form is the JSON Canonicalization Scheme (RFC 8785) over the JSON of the value: members in the order of their names,
// no blanks, numbers as ECMAScript writes them, texts with no escapes but the necessary ones. Every language has a library
// for it, so that a sponsor or an auditor can compute a hash without this program.
package canonical

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON returns the canonical JSON of a value. Like every reader of JSON that RFC 8785 counts on, it holds numbers as
// float64. It fails where encoding/json does.
func JSON(value any) ([]byte, error) {
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("write %T as canonical JSON: %w", value, err)
	}
	var plain any
	if err := json.Unmarshal(encoded, &plain); err != nil {
		return nil, fmt.Errorf("write %T as canonical JSON: %w", value, err)
	}
	var b bytes.Buffer
	write(&b, plain)
	return b.Bytes(), nil
}

// SHA256 returns the SHA-256 of a value's canonical JSON, in lower-case hexadecimal.
func SHA256(value any) (string, error) {
	encoded, err := JSON(value)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:]), nil
}

func write(b *bytes.Buffer, value any) {
	switch v := value.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case float64:
		writeNumber(b, v)
	case string:
		writeText(b, v)
	case []any:
		b.WriteByte('[')
		for i, element := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			write(b, element)
		}
		b.WriteByte(']')
	case map[string]any:
		b.WriteByte('{')
		names := slices.AppendSeq(make([]string, 0, len(v)), maps.Keys(v))
		slices.SortFunc(names, byCodeUnits)
		for i, name := range names {
			if i > 0 {
				b.WriteByte(',')
			}
			writeText(b, name)
			b.WriteByte(':')
			write(b, v[name])
		}
		b.WriteByte('}')
	}
}

// byCodeUnits orders names as RFC 8785 does, by their UTF-16 code units. The bytes of names in ASCII have the same order.
func byCodeUnits(a, b string) int {
	if isASCII(a) && isASCII(b) {
		return cmp.Compare(a, b)
	}
	return cmp.Or(slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b))), cmp.Compare(a, b))
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// writeNumber writes a number as ECMAScript does: in exponents below 1e-6 and from 1e21 on, and zero without a sign.
func writeNumber(b *bytes.Buffer, n float64) {
	if n == 0 {
		b.WriteByte('0')
		return
	}
	if abs := max(n, -n); abs >= 1e-6 && abs < 1e21 {
		b.Write(strconv.AppendFloat(b.AvailableBuffer(), n, 'f', -1, 64))
		return
	}
	text := strconv.AppendFloat(nil, n, 'e', -1, 64)
	// ECMAScript writes 1e-7 where Go writes 1e-07.
	if k := len(text); k >= 4 && text[k-4] == 'e' && text[k-2] == '0' {
		text = append(text[:k-2], text[k-1])
	}
	b.Write(text)
}

const hexDigits = "0123456789abcdef"

func writeText(b *bytes.Buffer, text string) {
	b.WriteByte('"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c >= ' ':
			b.WriteByte(c)
		case c == '\b':
			b.WriteString(`\b`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\f':
			b.WriteString(`\f`)
		case c == '\r':
			b.WriteString(`\r`)
		default:
			b.WriteString(`\u00`)
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	b.WriteByte('"')
}
