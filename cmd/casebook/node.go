package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"

	"casebook/embedded/credentials"
	"casebook/embedded/node"
)

// nodeCommand is the embedded event store without the rest of Casebook, and the tools for its operator.
type nodeCommand struct {
	Serve   nodeServeCommand   `cmd:"" default:"withargs" help:"Serve it. This is the default."`
	Verify  nodeVerifyCommand  `cmd:"" help:"Check every record of a stopped store, and name the first that is damaged. Nothing is written."`
	Backup  nodeBackupCommand  `cmd:"" help:"Copy a store to a file, while it is served or stopped."`
	Restore nodeRestoreCommand `cmd:"" help:"Restore a backup into a data directory without an event store, and verify it."`

	Scavenge nodeScavengeCommand `cmd:"" help:"Remove from a stopped store, for good, the events that stream metadata hide. Records of trials stay."`
}

type nodeServeCommand struct {
	Data              string   `help:"Data directory; the store is in its folder eventstore." default:"casebook-data" type:"path"`
	Listen            string   `help:"Address to listen on." default:"127.0.0.1:2113" placeholder:"HOST:PORT"`
	TLSCert           string   `name:"tls-cert" help:"Certificate, in PEM, instead of one that is signed by the data directory's own authority." type:"existingfile" placeholder:"FILE"`
	TLSKey            string   `name:"tls-key" help:"The certificate's private key, in PEM." type:"existingfile" placeholder:"FILE"`
	AdminPasswordFile string   `help:"Password of a user admin, who may do everything, beside the data directory's own users." type:"existingfile" placeholder:"FILE"`
	OpsPasswordFile   string   `help:"Password of a user ops, who may operate the node." type:"existingfile" placeholder:"FILE"`
	Insecure          bool     `help:"Serve everybody, without passwords and without encryption, also on addresses that other machines can reach."`
	Log               logFlags `embed:"" prefix:"log-"`
}

// Run serves the event store until ctx ends.
func (c nodeServeCommand) Run(ctx context.Context, s streams) (err error) {
	o, err := c.options()
	if err != nil {
		return err
	}
	o.Logger = c.Log.logger(s.err)
	dir := dataDir(c.Data)
	if err := dir.mayBeFilled(); err != nil {
		return err
	}
	if c.Insecure {
		n, err := node.Open(ctx, o)
		if err != nil {
			return nameFlag(err, node.ErrListen, c.Listen, "--listen")
		}
		fmt.Fprintln(s.out, "event store:", n.ConnectionString())
		<-ctx.Done()
		return n.Close()
	}
	access, err := credentials.LoadOrCreate(c.Data)
	if err != nil {
		return err
	}
	if err := dir.protect(); err != nil {
		return err
	}
	n, err := openNode(ctx, o, access, "--listen")
	if err != nil {
		return err
	}
	running := stores{node: n}
	defer func() { err = errors.Join(err, running.close()) }()
	if err := running.note(dir, eventStoreAddress, n.Addr()); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "event store:", withoutPassword(access.EventStoreURL(n.Addr(), access.Owner)))
	fmt.Fprintln(s.out, "casebook stores prints the address with the password of a user who may only read")
	<-ctx.Done()
	return nil
}

func (nodeServeCommand) servesUntilStopped() {}

func (c nodeServeCommand) options() (node.Options, error) {
	o := node.Options{Dir: dataDir(c.Data).file(eventStoreDir), Listen: c.Listen, Insecure: c.Insecure, Protected: keptStreams()}
	pair, err := certificate(c.TLSCert, c.TLSKey)
	if err != nil {
		return o, err
	}
	if c.Insecure && (pair != nil || c.AdminPasswordFile != "" || c.OpsPasswordFile != "") {
		return o, errors.New("--insecure serves everybody unencrypted; leave out passwords and certificates, or --insecure")
	}
	if pair != nil {
		o.TLS = &tls.Config{Certificates: []tls.Certificate{*pair}, MinVersion: tls.VersionTLS12}
	}
	for _, u := range []struct{ name, group, file string }{
		{"admin", node.Admins, c.AdminPasswordFile}, {"ops", node.Operators, c.OpsPasswordFile},
	} {
		if u.file == "" {
			continue
		}
		password, err := os.ReadFile(u.file)
		if err != nil {
			return o, fmt.Errorf("read the password of %s: %w", u.name, err)
		}
		o.Users = append(o.Users, node.User{Name: u.name, Password: strings.TrimRight(string(password), "\r\n"), Groups: []string{u.group}})
	}
	return o, nil
}
