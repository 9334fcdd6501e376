package credentials

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"

	"casebook/embedded/loopback"
)

// Names of the files in the data directory.
const (
	File          = "stores.json"
	AuthorityFile = "stores-ca.crt"
)

// Account is a name and password that the embedded stores accept.
type Account struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// Credentials are the accounts of one data directory, and its authority for certificates.
type Credentials struct {
	// Owner is the account of Casebook itself. It may do everything.
	Owner Account
	// Reader is the account of people and tools that look in. It may read everything and change nothing.
	Reader Account

	authority     authority
	authorityFile string
}

// kept is the content of File.
type kept struct {
	Owner       Account `json:"owner"`
	Reader      Account `json:"reader"`
	Certificate string  `json:"authorityCertificate"`
	Key         string  `json:"authorityKey"`
}

// Load returns the credentials of a data directory. The error is fs.ErrNotExist if it has none.
func Load(dir string) (*Credentials, error) {
	file := filepath.Join(dir, File)
	text, err := os.ReadFile(file) // #nosec G304 -- the operator names the directory
	if err != nil {
		return nil, fmt.Errorf("read the credentials of the embedded stores: %w", err)
	}
	var k kept
	if err := json.Unmarshal(text, &k); err != nil {
		return nil, fmt.Errorf("%s does not hold credentials of embedded stores; remove it, and the next start makes new ones: %w", file, err)
	}
	if k.Owner.Password == "" || k.Reader.Password == "" {
		return nil, fmt.Errorf("%s lacks a password; remove it, and the next start makes new ones", file)
	}
	a, err := parseAuthority(k.Certificate, k.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove it, and the next start makes new ones", file, err)
	}
	absolute, err := filepath.Abs(filepath.Join(dir, AuthorityFile))
	if err != nil {
		return nil, err
	}
	return &Credentials{Owner: k.Owner, Reader: k.Reader, authority: a, authorityFile: absolute}, nil
}

// LoadOrCreate returns the credentials of a data directory, and makes them if it has none. Only the owner of the files
// can read them.
func LoadOrCreate(dir string) (*Credentials, error) {
	c, err := Load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(dir); err == nil {
			c, err = Load(dir)
		}
	}
	if err != nil {
		return nil, err
	}
	return c, c.writeAuthority()
}

// create writes new credentials. When another process did so meanwhile, its credentials stay.
func create(dir string) error {
	a, err := newAuthority()
	if err != nil {
		return err
	}
	certificate, key, err := a.encode()
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(kept{
		Owner: Account{"casebook", rand.Text()}, Reader: Account{"reader", rand.Text()}, Certificate: certificate, Key: key,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	temporary, err := os.CreateTemp(dir, File+".tmp-*") // its mode is 0600
	if err != nil {
		return fmt.Errorf("keep the credentials of the embedded stores: %w", err)
	}
	defer func() { _ = os.Remove(temporary.Name()) }()
	_, err = temporary.Write(text)
	if err := errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return fmt.Errorf("keep the credentials of the embedded stores: %w", err)
	}
	// Link fails if the name is in use; Rename would replace the file.
	if err := os.Link(temporary.Name(), filepath.Join(dir, File)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep the credentials of the embedded stores: %w", err)
	}
	return nil
}

// writeAuthority writes the authority's certificate to its file, unless it is there already.
func (c *Credentials) writeAuthority() error {
	certificate, _, err := c.authority.encode()
	if err != nil {
		return err
	}
	if text, err := os.ReadFile(c.authorityFile); err == nil && string(text) == certificate {
		return nil
	}
	return os.WriteFile(c.authorityFile, []byte(certificate), 0o600)
}

// EventStoreURL returns the connection string for a client of the embedded event store. Its connections are always
// encrypted, because the official clients send no password otherwise.
func (c *Credentials) EventStoreURL(address string, who Account) string {
	u := url.URL{
		Scheme: "esdb", User: url.UserPassword(who.User, who.Password), Host: Reachable(address),
		RawQuery: "tls=true&tlsCaFile=" + url.QueryEscape(c.authorityFile),
	}
	return u.String()
}

// MongoURL returns the connection string for a client of the embedded MongoDB, which encrypts the connections on
// addresses that other machines can reach.
func (c *Credentials) MongoURL(address string, who Account) string {
	u := url.URL{
		Scheme: "mongodb", User: url.UserPassword(who.User, who.Password), Host: Reachable(address), Path: "/",
		RawQuery: "directConnection=true&authSource=admin",
	}
	if !loopback.Address(address) {
		u.RawQuery += "&tls=true&tlsCAFile=" + url.QueryEscape(c.authorityFile)
	}
	return u.String()
}

// AuthorityPath returns the file of the certificate that signs those of the stores.
func (c *Credentials) AuthorityPath() string { return c.authorityFile }

// Reachable returns the address under which this machine reaches a server that listens on address: one that listens on
// all addresses is reached on the loopback one.
func Reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}
