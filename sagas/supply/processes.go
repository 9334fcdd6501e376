// Package supply holds the processes of study drug: the resupply of sites, the upkeep of a study's supply, the dispensing
// to patients, and what becomes of the kits of a patient who leaves.
package supply

import (
	"time"

	"casebook/domain/process"
	"casebook/sagas"
)

// Processes are the processes of this context.
var Processes = []sagas.Process{Dispensing, Resupply, Upkeep, Leaving, WithoutKit}

// dailyTimer wakes a process once a day, when it is night at most places where nobody works.
const dailyTimer = "daily"

func nextDay(o sagas.Occurrence) process.Timer {
	return process.Timer{Name: dailyTimer, At: o.At.UTC().Truncate(24 * time.Hour).Add(26 * time.Hour)}
}
