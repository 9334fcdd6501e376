package api

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"casebook/domain/refuse"
)

// politely answers what is no HTTP request, such as one with a malformed escape in its path, with a problem like all others. The package
// net/http answers it before any handler, with a text.
type politely struct{ net.Listener }

// Accept implements net.Listener.
func (l politely) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if _, secured := conn.(*tls.Conn); secured || err != nil {
		return conn, err // net/http knows TLS by the type of the connection; there, the text stays
	}
	return &politeConn{conn}, nil
}

type politeConn struct{ net.Conn }

// unparsed is how net/http answers what it cannot parse: no handler's answer is like it, because all of them have a date.
var unparsed = []byte("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request")

// Write implements net.Conn.
func (c *politeConn) Write(p []byte) (int, error) {
	if !bytes.HasPrefix(p, unparsed) {
		return c.Conn.Write(p)
	}
	problem := problemOfRefusal(refuse.Malformed("malformed_request", "this is no HTTP request").
		Do("look for a malformed escape in the path: a percent sign is written %25"))
	problem.TraceID = traceOf("")
	body, err := json.Marshal(problem)
	if err != nil {
		return c.Conn.Write(p)
	}
	_, err = fmt.Fprintf(c.Conn, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nTrace-Id: %s\r\n"+
		"X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n%s", http.StatusBadRequest,
		http.StatusText(http.StatusBadRequest), problemType, len(body), problem.TraceID, body)
	return len(p), err
}

// CloseWrite lets net/http end the connection so that the client still reads the answer.
func (c *politeConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
