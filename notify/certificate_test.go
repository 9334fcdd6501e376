package notify

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"testing"
)

// selfSigned returns a server's configuration with a self-signed certificate for 127.0.0.1, and roots that contain it.
func selfSigned(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return &tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12}, roots
}
