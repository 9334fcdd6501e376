package api

// Queries lists every query.
func Queries() []Query { return nil }

const projectionStopped = "stopped"

func storeUnreachable(error) bool { return false }
