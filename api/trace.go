package api

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// traceOf returns the trace id of a W3C traceparent header, or a new one where there is none or it is not valid
// (Trace Context, section 3.2: an invalid header is ignored).
func traceOf(traceparent string) string {
	if id, ok := parseTraceparent(traceparent); ok {
		return id
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(id[:])
}

const (
	traceparentLength = 55 // 00-<32 hex>-<16 hex>-<2 hex>
	traceIDAt         = 3
	parentIDAt        = 36
	flagsAt           = 53
)

func parseTraceparent(h string) (string, bool) {
	if len(h) < traceparentLength || h[2] != '-' || h[parentIDAt-1] != '-' || h[flagsAt-1] != '-' {
		return "", false
	}
	version, trace, parent, flags := h[:2], h[traceIDAt:parentIDAt-1], h[parentIDAt:flagsAt-1], h[flagsAt:traceparentLength]
	// Later versions may add fields behind a hyphen; version 00 has none, and ff is forbidden.
	if version == "ff" || version == "00" && len(h) != traceparentLength || len(h) > traceparentLength && h[traceparentLength] != '-' {
		return "", false
	}
	for _, part := range []string{version, trace, parent, flags} {
		if !lowerHex(part) {
			return "", false
		}
	}
	if strings.Trim(trace, "0") == "" || strings.Trim(parent, "0") == "" {
		return "", false
	}
	return trace, true
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
