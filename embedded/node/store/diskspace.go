package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// ErrDiskFull says that the disk has less room than the log must keep in reserve. Nothing was written. Appends are taken
// again as soon as there is room; what is stored can be read meanwhile.
var ErrDiskFull = errors.New("the disk is almost full, nothing was written; make room on it")

// ErrUnwritable says that the directory cannot be written.
var ErrUnwritable = errors.New("the event log's directory cannot be written; check the disk, and whose directory it is")

// defaultMinFree is twice what the storage engine holds in memory and may need to write out, so that a disk that fills up
// is noticed while everything still works.
const defaultMinFree = 256 << 20

// diskSpace tells whether there is room to append, by asking once per batch, and on every try while there is none.
func (s *Store) diskSpace() error {
	if s.opts.MinFreeBytes < 0 {
		return nil
	}
	usage, err := s.opts.FS.GetDiskUsage(s.opts.Dir)
	if err != nil {
		return nil //nolint:nilerr // a file system that does not tell is taken to have room
	}
	if usage.AvailBytes < uint64(s.opts.MinFreeBytes) {
		return fmt.Errorf("%w: %d MiB are free, and %d must be", ErrDiskFull, usage.AvailBytes>>20, s.opts.MinFreeBytes>>20)
	}
	return nil
}

// lockFailure tells a directory that is in use from one that cannot be written.
func lockFailure(dir string, err error) error {
	for _, cause := range []error{syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, fs.ErrPermission} {
		if errors.Is(err, cause) {
			return fmt.Errorf("%w: %s (%w)", ErrUnwritable, dir, err)
		}
	}
	return fmt.Errorf("%w: %s (%w); stop the other node or choose another directory", ErrLocked, dir, err)
}
