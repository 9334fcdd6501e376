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

// The storage engine cannot tell a write that a crash has torn from one whose bytes rot later: it takes both for the end
// of its log, and what comes after is gone without a word. So the store notes, in a file of its own and at most once a
// second, up to where everything is durable. A log that ends before that has lost something, and is not opened.
const (
	witnessFile  = "DURABLE-END"
	witnessEvery = time.Second
	witnessSize  = 8 + 4
)

// ErrShortened says that the log ends before what had been durable.
var ErrShortened = errors.New("the event log has lost events that were durable")

// witness notes the durable end from time to time. It ends when the committer has closed the channel.
func (s *Store) witness() {
	var noted time.Time
	for range s.advanced {
		if wait := witnessEvery - time.Since(noted); wait > 0 {
			select {
			case <-time.After(wait):
			case <-s.closing: // the last note is made at once
			}
		}
		noted = time.Now()
		if err := writeWitness(s.opts.FS, s.opts.Dir, s.End()); err != nil {
			s.opts.Logger.Warn("the durable end of the event log could not be noted", "error", err)
		}
	}
}

// writeWitness does not sync: a note that is lost, or torn, counts as none.
func writeWitness(fs vfs.FS, dir string, end uint64) error {
	name := fs.PathJoin(dir, witnessFile)
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

// checkWitness refuses a log that ends before what was noted.
func checkWitness(fs vfs.FS, dir string, end uint64) error {
	if noted := readWitness(fs, dir); end < noted {
		return fmt.Errorf("%w: it ends at position %d, and up to %d everything was synced; a file of its write-ahead log is damaged or was replaced. Restore a backup; to go on with what is left, remove %s", ErrShortened, end, noted, witnessFile)
	}
	return nil
}

// readWitness returns 0 if there is no note, as in a new log or a restored one, or none that can be read.
func readWitness(fs vfs.FS, dir string) uint64 {
	file, err := fs.Open(fs.PathJoin(dir, witnessFile))
	if err != nil {
		return 0
	}
	var b [witnessSize]byte
	_, err = io.ReadFull(file, b[:])
	if errors.Join(err, file.Close()) != nil || crc32.ChecksumIEEE(b[:8]) != binary.BigEndian.Uint32(b[8:]) {
		return 0
	}
	return binary.BigEndian.Uint64(b[:])
}
