package main

import (
	"os"

	"casebook/loadtest"
)

// resetPeakMemory resets the peak that peakMemory returns, on Linux (proc(5), clear_refs).
func resetPeakMemory() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peakMemory returns the process's peak of resident memory since resetPeakMemory, in bytes; 0 where there is no /proc.
func peakMemory() int64 {
	_, peak := loadtest.MemoryOf(os.Getpid())
	return peak
}
