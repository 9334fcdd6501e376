// Package patient holds the views of patients: the list of a study's patients, and all that is known of one.
package patient

import "casebook/readmodels"

// Queries are those of this context.
var Queries = []readmodels.Query{patients, patientView, deviations, reconsents, sameNumbers}
