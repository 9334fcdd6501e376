// Package loopback tells which addresses only this machine can reach. The embedded stores refuse to serve others
// without credentials and encryption.
package loopback

import (
	"net"
	"net/netip"
)

// Address reports whether only this machine can reach an address of the form host:port. An address without a host is
// reachable from everywhere.
func Address(address string) bool {
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
