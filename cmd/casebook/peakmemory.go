package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// resetPeakMemory resets the peak that peakMemory returns, on Linux (proc(5), clear_refs).
func resetPeakMemory() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peakMemory returns the process's peak of resident memory since resetPeakMemory, in bytes; 0 where there is no /proc.
func peakMemory() int64 { return memoryOf(os.Getpid(), "VmHWM:") }

// memoryOf returns what /proc tells of a process's memory, in bytes; 0 where there is no /proc.
func memoryOf(pid int, what string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), what)
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseInt(kilobytes, 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// clockTicks is how many times a second Linux counts processor time for /proc.
const clockTicks = 100

// processorTimeOf returns the processor time that another process has used; 0 where there is no /proc.
func processorTimeOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // behind the program's name
	fields := strings.Fields(rest)
	const utime, stime = 11, 12
	if len(fields) <= stime {
		return 0
	}
	var ticks int64
	for _, field := range []int{utime, stime} {
		n, err := strconv.ParseInt(fields[field], 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTicks
}
