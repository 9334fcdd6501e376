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

// Manifest describes the content of a backup. It is the first file of the archive.
type Manifest struct {
	// Format is the version of the archive's layout.
	Format int `json:"format"`
	// NodeID is the id of the log's node; a restored log keeps it.
	NodeID string `json:"nodeId"`
	// Events is the number of events, End the position behind the last one, and Head its hash. The backup holds all events
	// that were acknowledged before it began, and may hold later ones.
	Events uint64 `json:"events"`
	End    uint64 `json:"end"`
	Head   string `json:"head"`
	// Made is the time when the backup began.
	Made time.Time `json:"made"`
	// Files are the other files of the archive, in order.
	Files []BackupFile `json:"files"`
}

// BackupFile is the name and size of a file in a backup.
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
	// ErrBackupRuns means that another backup of the log is being made.
	ErrBackupRuns = errors.New("another backup is being made; wait for it to end")
	// ErrNotEmpty means that the directory for a restore has files in it.
	ErrNotEmpty = errors.New("the directory is not empty, so nothing was restored; choose a new one")
	// ErrBadBackup means that an archive is not a complete and sound backup.
	ErrBadBackup = errors.New("the archive is not a complete backup, so nothing was restored")
)

// Backup writes a consistent copy of the log to w, as a tar archive, while the log is written and read. The copy
// consists of links to the log's files: it takes no space of its own, but keeps files that compaction would remove.
// Backup fails with ErrBackupRuns while another one is being made.
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
	if s.opts.ReadOnly { // nothing changes the files meanwhile, so they need not be copied before
		m, err := describe(s.db, s.opts.FS, s.opts.Dir)
		if err == nil {
			m.Made = made
			err = s.writeArchive(ctx, w, s.opts.Dir, &m)
		}
		if err != nil {
			return Manifest{}, fmt.Errorf("back up the event log: %w", err)
		}
		return m, nil
	}
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

// describeCopy returns the manifest of a copied log, without the time.
func describeCopy(fs vfs.FS, dir string) (m Manifest, err error) {
	db, err := pebble.Open(dir, &pebble.Options{
		FS: fs, ReadOnly: true, Logger: pebbleLogger{discardLogger},
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}, // the read returns the error
	})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return describe(db, fs, dir)
}

// describe returns the manifest of an opened log, without the time.
func describe(db *pebble.DB, fs vfs.FS, dir string) (m Manifest, err error) {
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
		if !info.IsDir() && name != "LOCK" && name != durableEndFile {
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

// interruptible is a reader that fails when the caller gives up or the store is closed.
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

// Restore creates a log from a backup in dir, which must be empty or must not exist; otherwise it fails with
// ErrNotEmpty. The copy is verified, record by record, before it is moved to dir. A restore that fails leaves nothing
// behind.
func Restore(ctx context.Context, fs vfs.FS, dir string, r io.Reader) (_ VerifyReport, err error) {
	if fs == nil {
		fs = vfs.Default
	}
	if names, err := fs.List(dir); err == nil && len(names) > 0 {
		return VerifyReport{}, fmt.Errorf("%w: %s", ErrNotEmpty, dir)
	}
	temporary := dir + restoreSuffix
	if err := errors.Join(fs.RemoveAll(temporary), fs.MkdirAll(temporary, 0o700)); err != nil {
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
		return report, fmt.Errorf("%w: it should have %d events up to position %d, but has %d up to %d, or other events",
			ErrBadBackup, m.Events, m.End, report.Events, report.End)
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

// extract writes the files of an archive to dir. It fails with ErrBadBackup if they are not those of the manifest.
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
		return bad("its format is %d, but this build reads %d", m.Format, backupFormat)
	}
	for _, f := range m.Files {
		header, err := archive.Next()
		switch {
		case err != nil:
			return bad("%s is missing: %w", f.Name, err)
		case header.Name != f.Name, header.Size != f.Size, header.Typeflag != tar.TypeReg:
			return bad("it contains %s with %d bytes instead of %s with %d", header.Name, header.Size, f.Name, f.Size)
		case f.Name != path.Base(f.Name), strings.ContainsAny(f.Name, `/\`), f.Name == "..", f.Name == ".":
			return bad("%q is not a valid name of a file in a backup", f.Name)
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
