package loadtest

import (
	"time"

	"github.com/prometheus/procfs"
)

// MemoryOf returns a process's resident memory and its peak, in bytes. They are 0 where there is no /proc.
func MemoryOf(pid int) (now, peak int64) {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0, 0
	}
	status, err := process.NewStatus()
	if err != nil {
		return 0, 0
	}
	return int64(status.VmRSS), int64(status.VmHWM) // #nosec G115 -- no machine has so much memory
}

// ProcessorTimeOf returns the processor time that a process has used, to a hundredth of a second; 0 where there is no /proc.
func ProcessorTimeOf(pid int) time.Duration {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0
	}
	stat, err := process.Stat()
	if err != nil {
		return 0
	}
	return time.Duration(stat.CPUTime() * float64(time.Second))
}
