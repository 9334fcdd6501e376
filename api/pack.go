package api

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

const (
	// packing is how answers are packed: phones pay for what they receive.
	packing = "gzip"
	// packedFrom is from how many bytes on it is worth it: less fits into one packet anyway.
	packedFrom = 1200
	// packedTag ends the tag of a packed answer.
	packedTag = ".gz"
)

// packers holds the writers between answers: each has a large memory.
var packers = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // only for a level that there is not
	}
	return w
}}

// pack writes the packed body into b.
func pack(b *bytes.Buffer, body []byte) error {
	w := packers.Get().(*gzip.Writer) //nolint:forcetypeassert // made of nothing else
	defer packers.Put(w)
	w.Reset(b)
	if _, err := w.Write(body); err != nil {
		return fmt.Errorf("pack an answer: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("pack an answer: %w", err)
	}
	return nil
}

// takesPacked says whether the header Accept-Encoding names gzip, or everything, with a weight that is not 0 (RFC 9110, 12.5.3).
func takesPacked(lines []string) bool {
	all := false
	for _, line := range lines {
		for given := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(given, ";")
			takes := true
			if _, weight, ok := strings.Cut(parameters, "="); ok {
				w, err := strconv.ParseFloat(strings.TrimSpace(weight), 64)
				takes = err == nil && w > 0
			}
			switch strings.ToLower(strings.TrimSpace(name)) {
			case packing, "x-gzip":
				return takes
			case "*":
				all = takes
			}
		}
	}
	return all
}
