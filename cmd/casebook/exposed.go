package main

import (
	"log/slog"
	"net"
	"net/netip"

	"casebook/embedded/loopback"
)

// warn warns of addresses and proxies with which strangers could read or pretend too much. It may be meant so, for instance
// in a container, so it is no error.
func (f serverFlags) warn(logger *slog.Logger, withAPI bool) {
	if withAPI && f.TLSCert == "" && !loopback.Address(f.HTTP) {
		logger.Warn("the API is served without TLS on an address that other machines can reach: passwords and tokens can be read on the way; "+
			"give --tls-cert and --tls-key, or let a proxy on this machine do it", "http", f.HTTP)
	}
	if !loopback.Address(f.Admin) && !isPrivate(f.Admin) {
		logger.Warn("metrics and profiles are served to everybody who can reach this machine; give --admin a private address", "admin", f.Admin)
	}
	for _, p := range f.TrustedProxies {
		if p.Bits() == 0 {
			logger.Warn("--trusted-proxies covers all addresses: everybody can pretend to come from any address, past the delays of sign-ins; "+
				"name the networks of the proxies alone", "network", p.String())
		}
	}
}

// isPrivate says that an address to listen on is one of a private network, and not all addresses of the machine.
func isPrivate(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.IsPrivate() || ip.IsLinkLocalUnicast())
}
