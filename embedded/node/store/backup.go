package store

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Manifest says what a backup holds. It comes first in the archive.
type Manifest struct {
	// Format is the version of the archive's layout.
	Format int `json:"format"`
	// NodeID is that of the log; a restored log keeps it.
	NodeID string `json:"nodeId"`
	// Events, End and Head are those of the log's state: everything acknowledged before the backup began, and possibly
	// some of what came meanwhile.
	Events uint64 `json:"events"`
	End    uint64 `json:"end"`
	Head   string `json:"head"`
	// Made is when the backup began.
	Made time.Time `json:"made"`
	// Files are those of the archive, in order.
	Files []BackupFile `json:"files"`
}

// BackupFile is a file of a backup.
type BackupFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

const (
	backupFormat  = 1
	manifestName  = "manifest.json"
	maxManifest   = 16 << 20
	backupDir     = "backup.tmp"
	restoreSuffix = ".restoring"
)

var (
	// ErrBackupRuns says that another backup of the log is being made.
	ErrBackupRuns = errors.New("another backup is being made; wait for it to end")
	// ErrNotEmpty says that a backup cannot be restored where something is already.
	ErrNotEmpty = errors.New("the directory is not empty, nothing was restored; choose a new one")
	// ErrBadBackup says that an archive is not a whole backup.
	ErrBadBackup = errors.New("the archive is no whole backup, nothing was restored")
)

// Backup writes a consistent copy of the log to w, as a tar archive, while the log is being written and read. The copy
// takes no space of its own while it is being sent, but keeps files that compaction would have removed.
func (s *Store) Backup(ctx context.Context, w io.Writer) (Manifest, error) {
	if !s.use() {
		return Manifest{}, ErrClosed
	}
	defer s.users.Done()
	if !s.backup.TryLock() {
		return Manifest{}, ErrBackupRuns
	}
	defer s.backup.Unlock()
	made := s.Now().UTC()
	dir := s.opts.FS.PathJoin(s.opts.Dir, backupDir)
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return Manifest{}, fmt.Errorf("back up the event log: %w", errors.Join(err, s.opts.FS.RemoveAll(dir)))
	}
	m, err := describeCopy(s.opts.FS, dir)
	if err == nil {
		m.Made = made
		err = s.writeArchive(ctx, w, dir, &m)
	}
	if err := errors.Join(err, s.opts.FS.RemoveAll(dir)); err != nil {
		return Manifest{}, fmt.Errorf("back up the event log: %w", err)
	}
	return m, nil
}

// describeCopy reads the state of a log that nobody writes.
func describeCopy(fs vfs.FS, dir string) (m Manifest, err error) {
	db, err := pebble.Open(dir, &pebble.Options{
		FS: fs, ReadOnly: true, Logger: pebbleLogger{discardLogger},
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}, // an error of the read
	})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	value, closer, err := db.Get(keyState)
	if err != nil {
		return m, err
	}
	st, err := decodeState(value)
	if err := errors.Join(err, closer.Close()); err != nil {
		return m, err
	}
	m = Manifest{Format: backupFormat, NodeID: fmt.Sprintf("%x", st.nodeID), Events: st.events, End: st.next, Head: st.hash.String()}
	names, err := fs.List(dir)
	if err != nil {
		return m, err
	}
	for _, name := range names {
		info, err := fs.Stat(fs.PathJoin(dir, name))
		if err != nil {
			return m, err
		}
		if !info.IsDir() && name != "LOCK" {
			m.Files = append(m.Files, BackupFile{Name: name, Size: info.Size()})
		}
	}
	return m, nil
}

func (s *Store) writeArchive(ctx context.Context, w io.Writer, dir string, m *Manifest) error {
	manifest, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	header := func(name string, size int64) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: m.Made, Format: tar.FormatPAX}
	}
	if err := archive.WriteHeader(header(manifestName, int64(len(manifest)))); err != nil {
		return err
	}
	if _, err := archive.Write(manifest); err != nil {
		return err
	}
	for _, f := range m.Files {
		if err := archive.WriteHeader(header(f.Name, f.Size)); err != nil {
			return err
		}
		file, err := s.opts.FS.Open(s.opts.FS.PathJoin(dir, f.Name), vfs.SequentialReadsOption)
		if err != nil {
			return err
		}
		_, err = io.CopyN(archive, interruptible{ctx, s.closing, file}, f.Size)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return archive.Close()
}

// interruptible ends a long copy when the caller or the store goes away.
type interruptible struct {
	ctx     context.Context
	closing <-chan struct{}
	io.Reader
}

func (r interruptible) Read(b []byte) (int, error) {
	if err := interrupted(r.ctx, r.closing); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}

// Restore makes a log of a backup, in a directory that is empty or not there. The copy is verified, record by record,
// before it gets its place: a restore that fails leaves nothing.
func Restore(ctx context.Context, fs vfs.FS, dir string, r io.Reader) (_ VerifyReport, err error) {
	if fs == nil {
		fs = vfs.Default
	}
	if names, err := fs.List(dir); err == nil && len(names) > 0 {
		return VerifyReport{}, fmt.Errorf("%w: %s", ErrNotEmpty, dir)
	}
	temporary := dir + restoreSuffix
	if err := errors.Join(fs.RemoveAll(temporary), fs.MkdirAll(temporary, 0o755)); err != nil {
		return VerifyReport{}, fmt.Errorf("restore the event log: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, fs.RemoveAll(temporary))
		}
	}()
	m, err := extract(ctx, fs, temporary, r)
	if err != nil {
		return VerifyReport{}, err
	}
	report, err := verifyCopy(ctx, fs, temporary)
	switch {
	case err != nil:
		return report, fmt.Errorf("%w: %w", ErrBadBackup, err)
	case report.Damage != nil:
		return report, fmt.Errorf("%w: %w", ErrBadBackup, report.Damage)
	case report.Events != m.Events, report.End != m.End, report.Head.String() != m.Head:
		return report, fmt.Errorf("%w: it should have %d events up to position %d and has %d up to %d, or others", ErrBadBackup, m.Events, m.End, report.Events, report.End)
	}
	if err := errors.Join(fs.RemoveAll(dir), fs.Rename(temporary, dir), syncDir(fs, fs.PathDir(dir))); err != nil {
		return report, fmt.Errorf("restore the event log: %w", err)
	}
	return report, nil
}

func verifyCopy(ctx context.Context, fs vfs.FS, dir string) (report VerifyReport, err error) {
	s, err := Open(Options{Dir: dir, FS: fs})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.Verify(ctx)
}

// extract writes the files of an archive, which must be those of its manifest.
func extract(ctx context.Context, fs vfs.FS, dir string, r io.Reader) (m Manifest, err error) {
	bad := func(format string, args ...any) (Manifest, error) {
		return m, fmt.Errorf("%w: "+format, append([]any{ErrBadBackup}, args...)...)
	}
	archive := tar.NewReader(interruptible{ctx, nil, r})
	first, err := archive.Next()
	if err != nil || first.Name != manifestName || first.Size > maxManifest {
		return bad("it does not begin with %s", manifestName)
	}
	decoder := json.NewDecoder(archive)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		return bad("its manifest cannot be read: %w", err)
	}
	if m.Format != backupFormat {
		return bad("its format is %d, and this build reads %d", m.Format, backupFormat)
	}
	for _, f := range m.Files {
		header, err := archive.Next()
		switch {
		case err != nil:
			return bad("%s is missing: %w", f.Name, err)
		case header.Name != f.Name, header.Size != f.Size, header.Typeflag != tar.TypeReg:
			return bad("%s, of %d bytes, stands where %s, of %d, should", header.Name, header.Size, f.Name, f.Size)
		case f.Name != path.Base(f.Name), strings.ContainsAny(f.Name, `/\`), f.Name == "..", f.Name == ".":
			return bad("%q is no name of a file of a backup", f.Name)
		}
		if err := storeFile(fs, fs.PathJoin(dir, f.Name), archive); err != nil {
			return bad("%s: %w", f.Name, err)
		}
	}
	if extra, err := archive.Next(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = fmt.Errorf("%s is not in the manifest", extra.Name)
		}
		return bad("%w", err)
	}
	return m, syncDir(fs, dir)
}

func storeFile(fs vfs.FS, name string, from io.Reader) error {
	file, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
