package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casebook/embedded/credentials"
)

// certificateFiles writes a certificate for 127.0.0.1 and its key, and returns the authority that signed it.
func certificateFiles(t *testing.T) (certFile, keyFile string, authority *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	made, err := credentials.LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	config, err := made.TLS("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, der := range config.Certificates[0].Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(config.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "api.crt"), filepath.Join(dir, "api.key")
	for file, text := range map[string][]byte{certFile: chain, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(made.AuthorityPath())
	if err != nil {
		t.Fatal(err)
	}
	authority = x509.NewCertPool()
	authority.AppendCertsFromPEM(text)
	return certFile, keyFile, authority
}

// TestTheAPIIsServedOverTLS serves with a certificate, and asks over HTTPS and over plain HTTP. Plain HTTP without a
// certificate must not tell browsers to use HTTPS.
func TestTheAPIIsServedOverTLS(t *testing.T) {
	flags := flagsFor(t.TempDir())
	var authority *x509.CertPool
	flags.TLSCert, flags.TLSKey, authority = certificateFiles(t)
	s, err := start(t.Context(), flags, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	answer, err := client.Get(s.url() + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	hsts := answer.Header.Get("Strict-Transport-Security")
	if answer.StatusCode != http.StatusOK || answer.ProtoMajor != 2 || !strings.Contains(hsts, "max-age=") {
		t.Errorf("HTTPS answers %s over %s with %v", answer.Status, answer.Proto, answer.Header)
	}
	if plain, err := http.Get("http://" + s.httpAddress + "/openapi.json"); err == nil {
		_ = plain.Body.Close()
		if plain.StatusCode == http.StatusOK {
			t.Error("plain HTTP is answered too")
		}
	}
	in := install(t)
	plain, err := http.Get(in.url + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	_ = plain.Body.Close()
	if hsts := plain.Header.Get("Strict-Transport-Security"); hsts != "" {
		t.Errorf("plain HTTP says %q", hsts)
	}
	tool(t, exitFailure, "serve", "--data", t.TempDir(), "--tls-cert", flags.TLSCert)
}

// TestClientsBehindAProxyHaveAddressesOfTheirOwn guesses at many accounts, each guess forwarded for another client. Only a
// proxy that was named is believed. The clock stands still, so that the bound does not grow meanwhile.
func TestClientsBehindAProxyHaveAddressesOfTheirOwn(t *testing.T) {
	for name, trusted := range map[string][]netip.Prefix{"trusted": {netip.MustParsePrefix("127.0.0.0/8")}, "unknown": nil} {
		flags := flagsFor(t.TempDir())
		flags.TrustedProxies = trusted
		now := time.Now()
		still := clock{now: func() time.Time { return now }, passed: func() time.Duration { return 0 }}
		s, err := startWith(t.Context(), flags, still, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		limited := false
		for n := range 40 {
			guess := fmt.Sprintf(`{"user":"nurse.%d","password":"a guess"}`, n)
			request, err := http.NewRequest(http.MethodPost, s.url()+"/api/v1/sign-in", strings.NewReader(guess))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("X-Forwarded-For", fmt.Sprintf("192.0.2.%d", n+1))
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			limited = limited || answer.StatusCode == http.StatusTooManyRequests
		}
		if limited == (name == "trusted") {
			t.Errorf("behind a proxy that is %s, the sign-ins of 40 clients are limited: %v", name, limited)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
}
