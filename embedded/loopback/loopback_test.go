package loopback

import "testing"

func TestAddress(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:2113": true, "127.9.9.9:1": true, "[::1]:2113": true, "localhost:2113": true,
		"0.0.0.0:2113": false, ":2113": false, "[::]:2113": false, "10.0.0.1:2113": false, "node:2113": false, "nonsense": false,
	} {
		if Address(address) != want {
			t.Errorf("%q is taken for a loopback address: %v", address, !want)
		}
	}
}
