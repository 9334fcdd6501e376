// Package process holds the views of process managers: their runs, and the messages that they could not deal with.
package process

import "casebook/readmodels"

// Queries are those of this context.
var Queries = []readmodels.Query{processes, parkedMessages}
