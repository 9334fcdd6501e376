package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNodeIsNotLeftOpen goes through what the event store alone is told about who may reach it.
func TestNodeIsNotLeftOpen(t *testing.T) {
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		says string
	}{
		"reachable":          {[]string{"--listen", "0.0.0.0:0"}, "--admin-password-file"},
		"every address":      {[]string{"--listen", ":0"}, "can be reached"},
		"password in clear":  {[]string{"--listen", "0.0.0.0:0", "--admin-password-file", password}, "--tls-cert"},
		"half a certificate": {[]string{"--tls-cert", password}, "--tls-key"},
		"no certificate":     {[]string{"--tls-cert", password, "--tls-key", password}, "--tls-cert"},
		"no such file":       {[]string{"--admin-password-file", filepath.Join(dir, "nothing")}, "nothing"},
	} {
		code := exitFailure
		if name == "no such file" {
			code = exitUsage
		}
		said := tool(t, code, append([]string{"node", "--data", filepath.Join(dir, "store")}, tc.args...)...)
		if !strings.Contains(said, tc.says) {
			t.Errorf("%s: %s", name, said)
		}
		if _, err := os.Stat(filepath.Join(dir, "store")); err == nil {
			t.Errorf("%s: a store was made all the same", name)
		}
	}
	for listen, want := range map[string]bool{
		"127.0.0.1:2113": true, "127.9.9.9:1": true, "[::1]:2113": true, "localhost:2113": true,
		"0.0.0.0:2113": false, ":2113": false, "10.0.0.1:2113": false, "node:2113": false, "nonsense": false,
	} {
		if loopback(listen) != want {
			t.Errorf("%s: only this machine: %v", listen, !want)
		}
	}
	c := nodeCommand{Listen: "127.0.0.1:0", AdminPasswordFile: password, OpsPasswordFile: password}
	o, err := c.options()
	if err != nil || len(o.Users) != 2 || o.Users[0].Password != "s3cret" {
		t.Errorf("%+v, %v", o, err)
	}
}
