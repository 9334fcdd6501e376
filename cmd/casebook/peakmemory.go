package main

import (
	"os"
	"strconv"
	"strings"
)

// resetPeakMemory resets the peak that peakMemory returns, on Linux (proc(5), clear_refs).
func resetPeakMemory() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peakMemory returns the process's peak of resident memory since resetPeakMemory, in bytes; 0 where there is no /proc.
func peakMemory() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseInt(kilobytes, 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}
