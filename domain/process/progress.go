// Package process holds what a process manager records of itself: how far it has read the log.
package process

// Category is the category of the process managers' own streams.
const Category = "process"

// Advanced says up to where a process manager has dealt with the log. What lies behind may be dealt with again: its
// commands carry derived ids, so that changes nothing.
type Advanced struct {
	Process string `json:"process"`
	Commit  uint64 `json:"commit"`
	Prepare uint64 `json:"prepare"`
}
