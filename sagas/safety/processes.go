// Package safety holds the process of an alert, and those that send messages about alerts and reminders to the outside.
package safety

import (
	"casebook/domain"
	"casebook/domain/safety"
	"casebook/notify"
	"casebook/sagas"

	"github.com/google/uuid"
)

// Processes are the processes of this context; there is a notifier for each channel.
func Processes(channels []notify.Channel) []sagas.Process {
	all := []sagas.Process{Alerts}
	for _, c := range channels {
		all = append(all, Notifier(c))
	}
	return all
}

// alerts derives the ids of alerts from what they come from, so that nothing raises two.
var alerts = uuid.MustParse("a3a3f2de-7c43-4c07-8f43-a5fdb8b05a1e")

// AlertFrom is the alert that an event raises; source is the event's id.
func AlertFrom(study domain.StudyID, source string) safety.OfAlert {
	return safety.OfAlert{Alert: safety.AlertID(string(study) + "." + uuid.NewSHA1(alerts, []byte(source)).String())}
}
