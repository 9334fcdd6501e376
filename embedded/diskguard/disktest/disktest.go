// Package disktest has disks for tests of stores: ones that seem to fill up, and small real ones.
package disktest

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Limited is a file system that says it has a given amount of free space.
type Limited struct {
	vfs.FS
	// Free is the free space in bytes.
	Free atomic.Uint64
}

// GetDiskUsage implements vfs.FS.
func (d *Limited) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.Free.Load(), TotalBytes: 1 << 40}, nil
}

// Mount returns the directory of a real file system of a size in bytes, which is kept in memory, for as long as the test runs. It is
// mounted nowhere: only this process holds it, and other processes reach it through the directory. So nothing is left behind
// however the process ends. Mount skips the test where there can be no such file system.
func Mount(t testing.TB, size int) (dir string) {
	t.Helper()
	held, err := mount(size)
	if err != nil {
		t.Skipf("there can be no small disk here, which needs root and Linux 5.2: %v", err)
	}
	t.Cleanup(func() { _ = held.Close() })
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), held.Fd())
}

// Fill fills a disk to its last byte and returns the file that does it.
func Fill(t testing.TB, dir string) (ballast string) {
	t.Helper()
	f, err := os.CreateTemp(dir, "ballast")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			size /= 2
		}
	}
	return f.Name()
}
