package main

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
)

// TestAnExposedServerWarns of what strangers could read or pretend, and of nothing else.
func TestAnExposedServerWarns(t *testing.T) {
	all, some := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.0/8")
	for name, c := range map[string]struct {
		flags serverFlags
		want  []string
	}{
		"the defaults":   {serverFlags{HTTP: "127.0.0.1:8080", Admin: "127.0.0.1:8081"}, nil},
		"with TLS":       {serverFlags{HTTP: ":8443", Admin: "10.0.0.1:8081", TLSCert: "x.crt", TrustedProxies: []netip.Prefix{some}}, nil},
		"without TLS":    {serverFlags{HTTP: "0.0.0.0:8080", Admin: "[::1]:8081"}, []string{"without TLS"}},
		"a public admin": {serverFlags{HTTP: "localhost:8080", Admin: ":8081"}, []string{"--admin"}},
		"a trusted world": {serverFlags{HTTP: "127.0.0.1:1", Admin: "127.0.0.1:2", TrustedProxies: []netip.Prefix{some, all}},
			[]string{"--trusted-proxies"}},
		"all of it at once": {serverFlags{HTTP: ":1", Admin: "192.0.2.1:2", TrustedProxies: []netip.Prefix{netip.MustParsePrefix("::/0")}},
			[]string{"without TLS", "--admin", "--trusted-proxies"}},
	} {
		var log bytes.Buffer
		c.flags.warn(slog.New(slog.NewTextHandler(&log, nil)), true)
		if n := strings.Count(log.String(), "level=WARN"); n != len(c.want) {
			t.Errorf("%s: %d warnings: %s", name, n, log.String())
		}
		for _, want := range c.want {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: nothing about %s in %s", name, want, log.String())
			}
		}
	}
}

// TestDoubledNamesInTheConfigAreRefused, whether they are written alike or not.
func TestDoubledNamesInTheConfigAreRefused(t *testing.T) {
	for text, good := range map[string]bool{
		`{"http": ":1", "node-listen": "x", "patients": 5}`: true, `{"http": ":1", "http": ":2"}`: false,
		`{"node-listen": "x", "node_listen": "x"}`: false, `{"http": ":1"} {}`: false, `[]`: false, ``: false,
		`{"http": {"a": 1, "a": 2}}`: false,
	} {
		values, err := readConfig(strings.NewReader(text))
		if good != (err == nil) {
			t.Errorf("%s: %v", text, err)
		}
		if file, is := values.(configFile); good && (!is || file["http"] != ":1" || file["node-listen"] != "x") {
			t.Errorf("%s is read as %v", text, values)
		}
	}
}
