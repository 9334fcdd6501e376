package contexts_test

import (
	"casebook/cmd/casebook/contexts"
)

// listenersOfEvents returns the processes that listen to each event, by its stored name.
func listenersOfEvents() map[string][]string {
	all, registry := map[string][]string{}, contexts.Registry()
	for _, p := range contexts.Processes() {
		for _, event := range p.Events() {
			name, _ := registry.NameOfType(event)
			all[name] = append(all[name], p.Name)
		}
	}
	return all
}

// sendersOfCommands returns the processes that may send each command, by its name.
func sendersOfCommands() map[string][]string {
	all := map[string][]string{}
	for _, p := range contexts.Processes() {
		for _, command := range p.Commands() {
			all[command.Name()] = append(all[command.Name()], p.Name)
		}
	}
	return all
}
