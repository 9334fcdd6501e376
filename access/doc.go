// Package access decides who may do and see what. Tokens prove identities, users have grants per study and site, and
// commands and queries declare permissions. Access is refused unless a grant allows it (21 CFR 11.10(d) and (g)).
//
// The package keeps no state of users. The caller brings the grants, from the user's stream, to every decision, so that
// a revoked role is gone at the next request.
package access
