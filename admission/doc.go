// Package admission decides which requests are served when more come than the server can take. It holds the classes of
// requests and their order, the limits of each class, which follow how long requests take, and counts of what single
// users hold. It knows nothing of HTTP, commands or queries: these name their class in their declarations. Begin with
// Class and Control.
package admission
