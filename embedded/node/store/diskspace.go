package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// ErrDiskFull means that the disk has less free space than MinFreeBytes. Nothing was written. Appends are accepted
// again as soon as there is space; reads go on meanwhile.
var ErrDiskFull = errors.New("the disk is almost full, so nothing was written; make room on it")

// ErrUnwritable means that the directory cannot be written.
var ErrUnwritable = errors.New("the event log's directory cannot be written; check the disk and the directory's owner")

// defaultMinFree is twice what the storage engine holds in memory and may need to write out, so that appends stop while
// the engine still works.
const defaultMinFree = 256 << 20

// diskSpace fails with ErrDiskFull if less than MinFreeBytes are free.
func (s *Store) diskSpace() error {
	if s.opts.MinFreeBytes < 0 {
		return nil
	}
	usage, err := s.opts.FS.GetDiskUsage(s.opts.Dir)
	if err != nil {
		return nil //nolint:nilerr // if the free space is unknown, appends go on
	}
	if usage.AvailBytes < uint64(s.opts.MinFreeBytes) {
		return fmt.Errorf("%w: %d MiB are free, but %d are needed", ErrDiskFull, usage.AvailBytes>>20, s.opts.MinFreeBytes>>20)
	}
	return nil
}

// Writable returns why the store takes no appends at present; nil if it does.
func (s *Store) Writable() error {
	if failure := s.Failure(); failure != nil {
		return failure
	}
	return s.diskSpace()
}

// lockFailure returns ErrUnwritable if the directory cannot be written, else ErrLocked.
func lockFailure(dir string, err error) error {
	for _, cause := range []error{syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, fs.ErrPermission} {
		if errors.Is(err, cause) {
			return fmt.Errorf("%w: %s (%w)", ErrUnwritable, dir, err)
		}
	}
	return fmt.Errorf("%w: %s (%w); stop the other node or choose another directory", ErrLocked, dir, err)
}
