// Package user holds the views of accounts.
package user

import "casebook/readmodels"

// Queries are those of this context.
var Queries = []readmodels.Query{me, users, studyUsers}
