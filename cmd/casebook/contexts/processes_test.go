package contexts_test

func listenersOfEvents() map[string][]string { return nil }
func sendersOfCommands() map[string][]string { return nil }
