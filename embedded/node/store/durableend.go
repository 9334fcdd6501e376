package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The storage engine cannot distinguish a write that a crash interrupted from one whose bytes decayed later: it takes
// both for the end of its log and silently drops what follows. So the store writes the durable end to a file of its
// own, at most once a second. A log that ends before that position has lost events and is not opened.
const (
	durableEndFile  = "DURABLE-END"
	durableEndEvery = time.Second
	durableEndSize  = 8 + 4
)

// ErrShortened means that the log ends before events that had been durable.
var ErrShortened = errors.New("the event log has lost events that were durable")

// noteDurableEnd writes the durable end when it has moved, until the committer closes the channel.
func (s *Store) noteDurableEnd() {
	var noted time.Time
	for range s.advanced {
		if wait := durableEndEvery - time.Since(noted); wait > 0 {
			select {
			case <-time.After(wait):
			case <-s.closing: // write the last note at once
			}
		}
		noted = time.Now()
		if err := writeDurableEnd(s.opts.FS, s.opts.Dir, s.End()); err != nil {
			s.opts.Logger.Warn("the durable end of the event log could not be noted", "error", err)
		}
	}
}

// writeDurableEnd does not sync, because a lost or incomplete note counts as none.
func writeDurableEnd(fs vfs.FS, dir string, end uint64) error {
	name := fs.PathJoin(dir, durableEndFile)
	file, err := fs.Create(name+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint64(nil, end)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	_, err = file.Write(b)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return fs.Rename(name+".tmp", name)
}

// checkDurableEnd fails with ErrShortened if the log ends before the noted position.
func checkDurableEnd(fs vfs.FS, dir string, end uint64) error {
	if noted := readDurableEnd(fs, dir); end < noted {
		return fmt.Errorf("%w: it ends at position %d, but everything up to %d was synced; "+
			"a file of its write-ahead log is damaged or was replaced. Restore a backup; to go on with what is left, remove %s",
			ErrShortened, end, noted, durableEndFile)
	}
	return nil
}

// readDurableEnd returns the noted position. It returns 0 if there is no readable note, as in a new or a restored log.
func readDurableEnd(fs vfs.FS, dir string) uint64 {
	file, err := fs.Open(fs.PathJoin(dir, durableEndFile))
	if err != nil {
		return 0
	}
	var b [durableEndSize]byte
	_, err = io.ReadFull(file, b[:])
	if errors.Join(err, file.Close()) != nil || crc32.ChecksumIEEE(b[:8]) != binary.BigEndian.Uint32(b[8:]) {
		return 0
	}
	return binary.BigEndian.Uint64(b[:])
}
