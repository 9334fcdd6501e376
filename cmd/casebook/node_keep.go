package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"casebook/embedded/credentials"
	"casebook/embedded/node"
	"casebook/embedded/node/store"
)

// openOffline opens the event store of a data directory on which no server runs. For reading only, it changes no file.
func openOffline(dir dataDir, readOnly bool, s streams) (*store.Store, error) {
	if err := dir.mustHold(); err != nil {
		return nil, err
	}
	st, err := store.Open(store.Options{
		Dir: dir.file(eventStoreDir), ReadOnly: readOnly, Logger: logFlags{Level: slog.LevelWarn}.logger(s.err),
	})
	if errors.Is(err, store.ErrLocked) {
		return nil, fmt.Errorf("the event store in %s is being served; stop the server first: %w", string(dir), err)
	}
	return st, err
}

type nodeVerifyCommand struct {
	Data string `help:"Data directory; the store is in its folder eventstore." default:"casebook-data" type:"path"`
}

var errDamaged = errors.New("the store is damaged; restore a backup, and keep this copy for the investigation")

// Run verifies the store. If a record is damaged, the error names the first one.
func (c nodeVerifyCommand) Run(ctx context.Context, s streams) (err error) {
	st, err := openOffline(dataDir(c.Data), true, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	began := time.Now()
	report, err := st.Verify(ctx)
	if err != nil {
		return err
	}
	printReport(s.out, &report)
	fmt.Fprintf(s.out, "time     %s\n", time.Since(began).Round(time.Millisecond))
	if report.Damage != nil {
		return fmt.Errorf("%w: %w", errDamaged, report.Damage)
	}
	fmt.Fprintln(s.out, "Whether this program wrote them is checked by casebook audit verify.")
	return nil
}

func printReport(out io.Writer, r *node.VerifyReport) {
	sound := "all stored as they were written"
	if r.Damage != nil {
		sound = "all before the first damaged one stored as they were written"
	}
	fmt.Fprintf(out, "events   %d in %d streams, %s\n", r.Events, r.Streams, sound)
	if r.Scavenged > 0 {
		fmt.Fprintf(out, "         %d of them scavenged, as announced\n", r.Scavenged)
	}
	fmt.Fprintf(out, "end      position %d\nhead     %s\n", r.End, r.Head)
}

type nodeBackupCommand struct {
	To           string `help:"File to write, - for standard output. It must not exist." required:"" placeholder:"FILE"`
	Data         string `help:"Data directory of the store, whether it is served or not." default:"casebook-data" type:"path"`
	Node         string `help:"Address of another node that runs, instead of the one in --data." placeholder:"https://127.0.0.1:2113"`
	User         string `help:"Administrator of that node, if it has users." default:"admin"`
	PasswordFile string `help:"That user's password." type:"existingfile" placeholder:"FILE"`
	TLSCA        string `help:"Certificate, in PEM, of the authority that signed that node's certificate." name:"tls-ca" type:"existingfile" placeholder:"FILE"`
}

// Run copies the store. The file gets its name when it is complete and on stable storage.
func (c nodeBackupCommand) Run(ctx context.Context, s streams) (err error) {
	write := func(w io.Writer) error { return c.fetch(ctx, w) }
	if c.Node == "" {
		st, err := openOffline(dataDir(c.Data), true, s)
		switch {
		case errors.Is(err, store.ErrLocked):
			write = func(w io.Writer) error { return c.fetchRunning(ctx, w) }
		case err != nil:
			return err
		default:
			defer func() { err = errors.Join(err, st.Close()) }()
			write = func(w io.Writer) error {
				_, err := st.Backup(ctx, w)
				return err
			}
		}
	}
	if c.To == "-" {
		return write(s.out)
	}
	size, err := writeNewFile(c.To, write)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists; a backup is never overwritten", c.To)
	}
	if err != nil {
		return fmt.Errorf("back up to %s: %w", c.To, err)
	}
	fmt.Fprintf(s.out, "%s: %d bytes\n", c.To, size)
	return nil
}

// fetch gets the backup from the node of --node.
func (c nodeBackupCommand) fetch(ctx context.Context, w io.Writer) error {
	address, err := url.Parse(c.Node)
	if err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
		return fmt.Errorf("--node %q is no address of a node, such as https://127.0.0.1:2113", c.Node)
	}
	if c.PasswordFile != "" {
		password, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return err
		}
		address.User = url.UserPassword(c.User, strings.TrimRight(string(password), "\r\n"))
	}
	return fetchBackup(ctx, address, c.TLSCA, w)
}

// fetchRunning gets the backup from the node that runs on the data directory.
func (c nodeBackupCommand) fetchRunning(ctx context.Context, w io.Writer) error {
	access, address, err := dataDir(c.Data).running(eventStoreAddress)
	if err != nil {
		return err
	}
	node := &url.URL{Scheme: "https", Host: credentials.Reachable(address), User: url.UserPassword(access.Owner.User, access.Owner.Password)}
	return fetchBackup(ctx, node, access.AuthorityPath(), w)
}

// fetchBackup gets the backup from a running node. The address holds user and password. authority is the file of the
// certificate that signed the node's; empty for those that the machine trusts.
func fetchBackup(ctx context.Context, address *url.URL, authority string, w io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.JoinPath("admin", "backup").String(), nil)
	if err != nil {
		return err
	}
	client := &http.Client{}
	if authority != "" {
		text, err := os.ReadFile(authority) // #nosec G304 -- the operator names the file
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return fmt.Errorf("%s holds no certificate in PEM", authority)
		}
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	defer client.CloseIdleConnections()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
		return fmt.Errorf("the node answers %s: %s", answer.Status, strings.TrimSpace(string(text)))
	}
	_, err = io.Copy(w, answer.Body)
	return err
}

// writeNewFile writes a file under a temporary name, syncs it, and gives it its name. It fails if that name is in use.
func writeNewFile(name string, write func(io.Writer) error) (size int64, err error) {
	temporary, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".tmp-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if closing := temporary.Close(); err == nil && !errors.Is(closing, os.ErrClosed) {
			err = closing
		}
		err = errors.Join(err, os.Remove(temporary.Name()))
	}()
	if err := write(temporary); err != nil {
		return 0, err
	}
	if err := temporary.Sync(); err != nil {
		return 0, err
	}
	if size, err = temporary.Seek(0, io.SeekEnd); err != nil {
		return 0, err
	}
	// Link fails if the name is in use; Rename would replace the file.
	return size, os.Link(temporary.Name(), name)
}

type nodeRestoreCommand struct {
	From string `help:"Backup to restore." required:"" type:"existingfile" placeholder:"FILE"`
	Data string `help:"Data directory, new or without an event store; the store gets into its folder eventstore." required:"" type:"path" placeholder:"DIR"`
}

// Run restores and verifies the backup.
func (c nodeRestoreCommand) Run(ctx context.Context, s streams) error {
	dir := dataDir(c.Data)
	if err := dir.mayBeFilled(); err != nil {
		return err
	}
	file, err := os.Open(c.From)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // the file is only read
	_, missing := os.Stat(c.Data)
	report, err := node.Restore(ctx, dir.file(eventStoreDir), file)
	if err != nil {
		if missing != nil {
			_ = os.Remove(c.Data) // it was made for the restore, and is empty again
		}
		return fmt.Errorf("restore %s: %w", c.From, err)
	}
	printReport(s.out, &report)
	if err := dir.protect(); err != nil {
		return err
	}
	if dir.hasMongo() {
		fmt.Fprintf(s.err, "%s holds views of another log; drop them before the next start: casebook projections reset --data %s\n",
			dir.file(mongoDir), c.Data)
	}
	return nil
}
