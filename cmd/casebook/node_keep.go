package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"casebook/embedded/node"
	"casebook/embedded/node/store"
)

// openOffline opens the directory of a stopped store.
func openOffline(dir string, s streams) (*store.Store, error) {
	if !hasStore(dir) {
		return nil, fmt.Errorf("there is no event store in %s; name its directory with --data", dir)
	}
	st, err := store.Open(store.Options{Dir: dir, Logger: logFlags{Level: slog.LevelWarn}.logger(s.err)})
	if errors.Is(err, store.ErrLocked) {
		return nil, fmt.Errorf("the store in %s is being served; stop the node first: %w", dir, err)
	}
	return st, err
}

// hasStore reports whether a directory contains files of the storage engine.
func hasStore(dir string) bool {
	found, err := filepath.Glob(filepath.Join(dir, "MANIFEST-*"))
	return err == nil && len(found) > 0
}

type nodeVerifyCommand struct {
	Data string `help:"Directory of the store." default:"casebook-data/eventstore" type:"path"`
}

var errDamaged = errors.New("the store is damaged; restore a backup, and keep this copy for the investigation")

// Run verifies the store. If a record is damaged, the error names the first one.
func (c nodeVerifyCommand) Run(ctx context.Context, s streams) (err error) {
	st, err := openOffline(c.Data, s)
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
	return nil
}

func printReport(out io.Writer, r *node.VerifyReport) {
	sound := "all sound"
	if r.Damage != nil {
		sound = "all before the first damaged one are sound"
	}
	fmt.Fprintf(out, "events   %d in %d streams, %s\n", r.Events, r.Streams, sound)
	if r.Scavenged > 0 {
		fmt.Fprintf(out, "         %d of them scavenged, as announced\n", r.Scavenged)
	}
	fmt.Fprintf(out, "end      position %d\nhead     %s\n", r.End, r.Head)
}

type nodeBackupCommand struct {
	To           string `help:"File to write, - for standard output. It must not exist." required:"" placeholder:"FILE"`
	Data         string `help:"Directory of a stopped store." type:"path" xor:"from" placeholder:"DIR"`
	Node         string `help:"Address of a running node." xor:"from" placeholder:"http://127.0.0.1:2113"`
	User         string `help:"Administrator of the node, if it has users." default:"admin"`
	PasswordFile string `help:"That user's password." type:"existingfile" placeholder:"FILE"`
	TLSCA        string `help:"Certificate, in PEM, of the authority that signed the node's certificate." name:"tls-ca" type:"existingfile" placeholder:"FILE"`
}

// Run copies the store. The file gets its name when it is complete and on stable storage.
func (c nodeBackupCommand) Run(ctx context.Context, s streams) (err error) {
	var write func(io.Writer) error
	switch {
	case c.Node != "":
		write = func(w io.Writer) error { return c.fetch(ctx, w) }
	case c.Data != "":
		st, err := openOffline(c.Data, s)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, st.Close()) }()
		write = func(w io.Writer) error {
			_, err := st.Backup(ctx, w)
			return err
		}
	default:
		return errors.New("give the store to back up: --node http://HOST:PORT of a running node, or --data DIR of a stopped one")
	}
	if c.To == "-" {
		return write(s.out)
	}
	size, err := writeNewFile(c.To, write)
	if err != nil {
		return fmt.Errorf("back up to %s: %w", c.To, err)
	}
	fmt.Fprintf(s.out, "%s: %d bytes\n", c.To, size)
	return nil
}

// fetch gets the backup from a running node.
func (c nodeBackupCommand) fetch(ctx context.Context, w io.Writer) error {
	address, err := url.Parse(c.Node)
	if err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
		return fmt.Errorf("--node %q is no address of a node, such as http://127.0.0.1:2113", c.Node)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.JoinPath("admin", "backup").String(), nil)
	if err != nil {
		return err
	}
	if c.PasswordFile != "" {
		password, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return err
		}
		request.SetBasicAuth(c.User, strings.TrimRight(string(password), "\r\n"))
	}
	client := &http.Client{}
	if c.TLSCA != "" {
		authority, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(authority) {
			return fmt.Errorf("%s holds no certificate in PEM", c.TLSCA)
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
	Data string `help:"Directory for the store; it must be empty or not exist." required:"" type:"path" placeholder:"DIR"`
}

// Run restores and verifies the backup.
func (c nodeRestoreCommand) Run(ctx context.Context, s streams) error {
	file, err := os.Open(c.From)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // the file is only read
	report, err := node.Restore(ctx, c.Data, file)
	if err != nil {
		return fmt.Errorf("restore %s: %w", c.From, err)
	}
	printReport(s.out, &report)
	return nil
}
