package credentials

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCredentialsAreMadeOnce makes the credentials of a directory. A second call returns the same, other people cannot
// read them, and Load alone creates nothing.
func TestCredentialsAreMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Load of a missing directory: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("Load has made the directory")
	}
	made, err := LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreate(dir)
	if err != nil || again.Owner != made.Owner || again.Reader != made.Reader {
		t.Errorf("the second call returns %+v, %v; the first returned %+v", again, err, made)
	}
	if len(made.Owner.Password) < 26 || made.Owner.Password == made.Reader.Password {
		t.Errorf("the passwords are %q and %q", made.Owner.Password, made.Reader.Password)
	}
	for _, name := range []string{File, AuthorityFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
}

func TestDamagedCredentialsAreNamed(t *testing.T) {
	for _, text := range []string{"", "{}", `{"owner":{"user":"a","password":"b"},"reader":{"user":"a","password":"b"}}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, File), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreate(dir); err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestCertificatesFitTheAddress verifies the certificate for several addresses with the authority's file.
func TestCertificatesFitTheAddress(t *testing.T) {
	c, err := LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(c.AuthorityPath())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	for listen, names := range map[string][]string{
		"127.0.0.1:0": {"127.0.0.1", "localhost", "::1"}, "0.0.0.0:2113": {"127.0.0.1", "localhost"},
		"192.0.2.7:2113": {"192.0.2.7", "127.0.0.1"}, "es.example.org:2113": {"es.example.org"},
	} {
		config, err := c.TLS(listen)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
				t.Errorf("%s, reached as %s: %v", listen, name, err)
			}
		}
	}
}

func TestConnectionStrings(t *testing.T) {
	c := &Credentials{authorityFile: "/data of a trial/stores-ca.crt"}
	who := Account{User: "casebook", Password: "p&w"}
	for got, want := range map[string]string{
		c.EventStoreURL("[::]:2113", who):  "esdb://casebook:p&w@127.0.0.1:2113?tls=true&tlsCaFile=%2Fdata+of+a+trial%2Fstores-ca.crt",
		c.MongoURL("127.0.0.1:27017", who): "mongodb://casebook:p&w@127.0.0.1:27017/?directConnection=true&authSource=admin",
		c.MongoURL("m.org:27", who): "mongodb://casebook:p&w@m.org:27/?directConnection=true&authSource=admin&tls=true" +
			"&tlsCAFile=%2Fdata+of+a+trial%2Fstores-ca.crt",
		c.EventStoreURL("0.0.0.0:2113", c.Reader)[:7]: "esdb://",
	} {
		if got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		if _, err := url.Parse(got); err != nil {
			t.Error(err)
		}
	}
}
