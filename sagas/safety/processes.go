// Package safety holds the process of an alert, that of the recalled kits which patients have at home, and those that send messages
// about alerts and reminders to the outside.
package safety

import (
	"casebook/notify"
	"casebook/sagas"
)

// Processes are the processes of this context; there is a notifier for each channel.
func Processes(channels []notify.Channel) []sagas.Process {
	all := []sagas.Process{Alerts, RecalledAtHome}
	for _, c := range channels {
		all = append(all, Notifier(c))
	}
	return all
}
