package contexts_test

import (
	"slices"

	"casebook/cmd/casebook/contexts"
	"casebook/notify"
	identityprocesses "casebook/sagas/identity"
)

// processes are those of the program, with the one that reminds patients by e-mail.
var processes = slices.Concat(contexts.Processes(), contexts.Reminders(identityprocesses.Senders{Mail: mail{}}))

// mail is a channel that is never used.
type mail struct{ notify.Channel }

// listenersOfEvents names the processes that listen to each event, by the event's stored name.
func listenersOfEvents() map[string][]string {
	all, registry := map[string][]string{}, contexts.Registry()
	for _, p := range processes {
		for _, event := range p.Events() {
			if name, ok := registry.NameOfType(event); ok {
				all[name] = append(all[name], p.Name)
			}
		}
	}
	return all
}

// sendersOfCommands names the processes that may send each command.
func sendersOfCommands() map[string][]string {
	all := map[string][]string{}
	for _, p := range processes {
		for _, c := range contexts.Commands() {
			if slices.Contains(p.Commands(), c.Body()) {
				all[c.Name()] = append(all[c.Name()], p.Name)
			}
		}
	}
	return all
}
