// Package access decides who may do and see what: identities proven by tokens, grants per study and site, permissions
// that commands and queries declare. Nothing is allowed that no grant allows (21 CFR 11.10(d) and (g)).
//
// The package holds no state of users: grants come in from the user's stream with every decision, so that a role that is
// revoked is gone at the next request.
package access
