package store

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"time"
)

// metaPrefix is the prefix of streams that hold another stream's metadata.
const metaPrefix = "$$"

// deletedBefore is the truncation point ($tb) of a stream that was deleted and may be revived.
const deletedBefore = math.MaxInt64

// IsMetastream reports whether a stream holds the metadata of another.
func IsMetastream(name string) bool { return strings.HasPrefix(name, metaPrefix) }

// Described returns the stream that a metastream describes.
func Described(name string) string { return strings.TrimPrefix(name, metaPrefix) }

// limits are the parts of a stream's metadata that hide its events from stream reads. Zero means not set.
type limits struct {
	maxCount int64
	maxAge   time.Duration
	before   int64
}

func (l limits) deleted() bool { return l.before == deletedBefore }

// first returns the lowest revision that maxCount and before do not hide.
func (l limits) first(last int64) int64 {
	first := l.before
	if l.maxCount > 0 && last-l.maxCount+1 > first {
		first = last - l.maxCount + 1
	}
	return first
}

// parseLimits parses the data of a metadata event. Malformed metadata and values that are not positive set no limit.
func parseLimits(data []byte) limits {
	var m struct {
		MaxCount *int64 `json:"$maxCount"`
		MaxAge   *int64 `json:"$maxAge"`
		Before   *int64 `json:"$tb"`
	}
	if json.Unmarshal(data, &m) != nil {
		return limits{}
	}
	positive := func(v *int64) int64 {
		if v == nil || *v <= 0 {
			return 0
		}
		return *v
	}
	l := limits{maxCount: positive(m.MaxCount), before: positive(m.Before)}
	// An age beyond the range of a Duration hides nothing.
	if age := positive(m.MaxAge); age <= int64(math.MaxInt64/time.Second) {
		l.maxAge = time.Duration(age) * time.Second
	}
	return l
}

// isObject reports whether metadata are a JSON object.
func isObject(data []byte) bool {
	var fields map[string]json.RawMessage
	return json.Unmarshal(data, &fields) == nil && fields != nil
}

// withBefore returns the metadata with another truncation point ($tb); other fields stay.
func withBefore(data []byte, before int64) []byte {
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(data, &fields) != nil || fields == nil {
		fields = map[string]json.RawMessage{}
	}
	number, _ := json.Marshal(before)
	fields["$tb"] = number
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(fields) != nil { // does not happen: fields were just decoded
		return []byte(`{"$tb":` + string(number) + `}`)
	}
	return bytes.TrimSpace(b.Bytes())
}

// Metastream returns the name of the stream that holds the metadata of the named one.
func Metastream(name string) string { return metaPrefix + name }

// Metadata returns the last metadata of the named stream, nil if there are none.
func (s *Store) Metadata(name string) ([]byte, error) { return s.metadataOf(name) }
