// Package study holds the views of whole studies, and what is put together about a site of other contexts' views.
package study

import "casebook/readmodels"

// Queries are those of this context.
var Queries = []readmodels.Query{studies, studyOverview, protocols, protocol, arms, patientVisits, pauses, siteDashboard, siteClosing}
