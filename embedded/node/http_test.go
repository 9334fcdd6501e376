package node

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

func basicRequest(t *testing.T, url string, who *esdb.Credentials) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	request.SetBasicAuth(who.Login, who.Password)
	r, err := http.DefaultClient.Do(request)
	must(t, err)
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	must(t, err)
	return r
}

func get(t *testing.T, client *http.Client, url string) (int, string, http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	r, err := client.Do(request)
	must(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	must(t, err)
	return r.StatusCode, string(body), r.Header
}

// TestHTTPRefusesBodies: a request whose body never arrives does not keep its connection open.
func TestHTTPRefusesBodies(t *testing.T) {
	n := openNode(t)
	for _, head := range []string{"Content-Length: 1000", "Transfer-Encoding: chunked"} {
		connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", n.Addr())
		must(t, err)
		defer connection.Close()
		_, err = fmt.Fprintf(connection, "POST /admin/backup HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", head)
		must(t, err)
		must(t, connection.SetReadDeadline(time.Now().Add(30*time.Second)))
		answer, err := io.ReadAll(connection) // until the server closes it
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 413") {
			t.Errorf("%s: %q, %v", head, answer, err)
		}
	}
}

// TestHTTPPages gets the node's pages over the port that gRPC clients use.
func TestHTTPPages(t *testing.T) {
	n := openNode(t)
	mustAppend(t, connect(t, n), "s", esdb.Any{}, event("T", "{}"))
	base := "http://" + n.Addr()
	for path, want := range map[string]struct {
		status   int
		contains []string
	}{
		"/health/live":  {204, nil},
		"/health/ready": {204, nil},
		"/info":         {200, []string{`"dbVersion":"24.10.0"`, `"state":"leader"`, `"type":"insecure"`}},
		"/stats":        {200, []string{`"events":1`, `"succeeded":1`, `"heapBytes":`}},
		"/metrics": {200, []string{
			"eventstore_events_total 1\n",
			`eventstore_grpc_call_seconds_count{code="OK",method="streams.Streams/Append"} 1`,
			"go_goroutines",
		}},
		"/nothing":    {404, []string{"there is no GET /nothing here"}},
		"/stats/../x": {404, nil},
	} {
		status, body, _ := get(t, http.DefaultClient, base+path)
		if status != want.status {
			t.Errorf("%s: %d %s", path, status, body)
		}
		for _, text := range want.contains {
			if !strings.Contains(body, text) {
				t.Errorf("%s lacks %s:\n%s", path, text, body)
			}
		}
	}
	var parsed map[string]any
	_, body, _ := get(t, http.DefaultClient, base+"/stats")
	must(t, json.Unmarshal([]byte(body), &parsed))
}

func selfSigned(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	certificate, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	own := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{own}}, pool //nolint:gosec // the node sets the minimum version
}

func TestTLS(t *testing.T) {
	config, pool := selfSigned(t)
	n := openNode(t, withUsers, func(o *Options) { o.TLS = config })
	if !strings.HasSuffix(n.ConnectionString(), "tls=true") {
		t.Error(n.ConnectionString())
	}
	settings, err := esdb.ParseConnectionString(strings.Replace(n.ConnectionString(), "esdb://", "esdb://admin:changeit@", 1))
	must(t, err)
	settings.RootCAs, settings.Logger = pool, func(esdb.LogLevel, string, ...any) {}
	c, err := esdb.NewClient(settings)
	must(t, err)
	defer c.Close()
	mustAppend(t, c, "s", esdb.NoStream{}, event("T", "{}"))
	if _, err := readAllAs(t, c, nil); err != nil {
		t.Error(err)
	}
	// A client that offers HTTP/2 as well gets HTTP/1, and with it the pages.
	trusting := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting, ForceAttemptHTTP2: true}}
	defer web.CloseIdleConnections()
	if status, body, _ := get(t, web, "https://"+n.Addr()+"/info"); status != 200 || !strings.Contains(body, `"type":"internal"`) {
		t.Errorf("%d %s", status, body)
	}
	status, _, header := get(t, web, "https://"+n.Addr()+"/stats")
	if status != 401 || !strings.HasPrefix(header.Get("WWW-Authenticate"), "Basic") {
		t.Errorf("%d %v", status, header)
	}
	// A client without the authority's certificate, and one without TLS, cannot connect.
	if _, err := esdbRead(t, "esdb://admin:changeit@"+n.Addr()+"?tls=true&maxDiscoverAttempts=1"); err == nil {
		t.Error("a client accepted an unknown certificate")
	}
	if _, err := esdbRead(t, "esdb://"+n.Addr()+"?tls=false&maxDiscoverAttempts=1"); err == nil {
		t.Error("a client without TLS was served")
	}
	outdated := &tls.Dialer{Config: &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11}} //nolint:gosec // the node must refuse it
	old, err := outdated.DialContext(t.Context(), "tcp", n.Addr())
	if err == nil {
		_ = old.Close()
		t.Error("TLS 1.1 was accepted")
	}
}

func esdbRead(t *testing.T, connection string) (int, error) {
	t.Helper()
	return readAllAs(t, connectTo(t, connection), nil)
}

// TestSilentConnections: connections that send nothing, or not enough, delay neither other clients nor the node's
// closing.
func TestSilentConnections(t *testing.T) {
	n, err := Open(t.Context(), Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	must(t, err)
	dial := func(sent string) net.Conn {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", n.Addr())
		must(t, err)
		_, err = conn.Write([]byte(sent))
		must(t, err)
		return conn
	}
	for _, sent := range []string{"", "P", "PRI * HTTP/2", "PRI * HTTP/2.0\r\n\r\nS", "GET /info HT", "PUT"} {
		defer dial(sent).Close()
	}
	garbage := dial("\x16\x03\x01\x00\x00 nonsense\r\n\r\n")
	defer garbage.Close()
	if answer, err := bufio.NewReader(garbage).ReadString('\n'); err != nil || !strings.Contains(answer, "400") {
		t.Errorf("garbage is answered with %q, %v", answer, err)
	}
	mustAppend(t, connect(t, n), "s", esdb.Any{}, event("T", "{}"))
	if status, _, _ := get(t, http.DefaultClient, fmt.Sprintf("http://%s/health/live", n.Addr())); status != 204 {
		t.Errorf("%d", status)
	}
	closed := make(chan error, 1)
	go func() { closed <- n.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), sniffTime/2)
	defer cancel()
	select {
	case err := <-closed:
		must(t, err)
	case <-ctx.Done():
		t.Fatal("the node waits for silent connections")
	}
}
