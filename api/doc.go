// Package api is the way in over HTTP: commands, queries, sign-in, their description, and the small doors for those who
// operate the product (health, metrics, profiles).
//
// It translates and protects, and decides nothing: what a command may do is decided in package commands and the domain,
// what a user may see by package access. Commands come from commands.All and queries from Queries; the routes, the
// authorisation, the OpenAPI description and the access tests all derive from these two lists, so that none can be
// reached without being declared. Begin reading at New and at API.serve, the one path of every request.
package api
