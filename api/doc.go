// Package api is the way in over HTTP: commands, queries, sign-in, their description, and the small doors for those who
// operate the product (health, metrics, profiles).
//
// It translates and protects, and decides nothing: what a command may do is decided in package commands and the domain,
// what a user may see in package readmodels. Commands and queries are declared there; the routes, the OpenAPI description
// and the access tests all derive from the declarations, so that none can be reached without being declared. Begin reading
// at New and at API.serve, the one path of every request.
package api
