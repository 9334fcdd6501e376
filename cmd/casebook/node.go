package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"casebook/embedded/node"
)

// nodeCommand is the embedded event store without the rest of Casebook, and the tools for its operator.
type nodeCommand struct {
	Serve   nodeServeCommand   `cmd:"" default:"withargs" help:"Serve it. This is the default."`
	Verify  nodeVerifyCommand  `cmd:"" help:"Check every record of a stopped store, and name the first that is damaged."`
	Backup  nodeBackupCommand  `cmd:"" help:"Copy a store to a file: from a running node, or from the directory of a stopped one."`
	Restore nodeRestoreCommand `cmd:"" help:"Restore a backup into a new directory, and verify it."`

	Scavenge nodeScavengeCommand `cmd:"" help:"Remove from a stopped store, for good, the events that stream metadata hide. Records of trials stay."`
}

type nodeServeCommand struct {
	Data              string   `help:"Directory of the store." default:"casebook-data/eventstore" type:"path"`
	Listen            string   `help:"Address to listen on." default:"127.0.0.1:2113" placeholder:"HOST:PORT"`
	TLSCert           string   `help:"Certificate, in PEM, that encrypts connections." type:"existingfile" placeholder:"FILE"`
	TLSKey            string   `help:"The certificate's private key, in PEM." type:"existingfile" placeholder:"FILE"`
	AdminPasswordFile string   `help:"Password of the user admin, who may do everything. With it, every call needs a user." type:"existingfile" placeholder:"FILE"`
	OpsPasswordFile   string   `help:"Password of the user ops, who may operate the node." type:"existingfile" placeholder:"FILE"`
	Insecure          bool     `help:"Allow connections without passwords or without encryption, also from other machines."`
	Log               logFlags `embed:"" prefix:"log-"`
}

// Run serves the event store until ctx ends.
func (c nodeServeCommand) Run(ctx context.Context, s streams) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	o.Logger = c.Log.logger(s.err)
	n, err := node.Open(ctx, o)
	if err != nil {
		return nameFlag(err, node.ErrListen, c.Listen, "--listen")
	}
	fmt.Fprintln(s.out, "event store:", n.ConnectionString())
	<-ctx.Done()
	return n.Close()
}

func (c nodeServeCommand) options() (node.Options, error) {
	o := node.Options{Dir: c.Data, Listen: c.Listen}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return o, errors.New("--tls-cert needs --tls-key, and the other way round; give both or none")
	}
	if c.TLSCert != "" {
		certificate, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return o, fmt.Errorf("read the certificate of --tls-cert and its --tls-key: %w", err)
		}
		o.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
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
	switch {
	case c.Insecure:
	case len(o.Users) == 0 && !loopback(c.Listen):
		return o, fmt.Errorf("%s can be reached from other machines, and anybody there could do anything; give passwords with "+
			"--admin-password-file and a certificate with --tls-cert and --tls-key, listen on 127.0.0.1, or give --insecure", c.Listen)
	case len(o.Users) > 0 && o.TLS == nil && !loopback(c.Listen):
		return o, fmt.Errorf("passwords would be sent to %s unencrypted; give a certificate with --tls-cert and --tls-key, "+
			"or give --insecure", c.Listen)
	}
	return o, nil
}

// loopback reports whether only this machine can reach an address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
