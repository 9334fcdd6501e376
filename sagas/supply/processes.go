// Package supply holds the processes of study drug: the resupply of sites, the upkeep of a study's supply, the dispensing
// to patients, what becomes of the kits of a patient who leaves, and how patients take their drug.
package supply

import (
	"time"

	"casebook/domain/process"
	"casebook/sagas"
)

// Processes are the processes of this context.
var Processes = []sagas.Process{Dispensing, Resupply, GoingOn, Upkeep, Leaving, WithoutKit, Replacing, Dosing, Spoilt}

// dailyTimer wakes a process once a day, when it is night at most places where nobody works.
const dailyTimer = "daily"

// nextDay sets the timer to the next night. Setting it again moves it to no later night.
func nextDay(o sagas.Occurrence) process.Timer {
	const night = 2 * time.Hour // after midnight, UTC
	return process.Timer{Name: dailyTimer, At: o.At.UTC().Add(-night).Truncate(24 * time.Hour).Add(24*time.Hour + night)}
}
