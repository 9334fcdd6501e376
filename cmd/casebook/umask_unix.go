//go:build unix

package main

import "syscall"

// keepFilesPrivate makes new files and folders of this process accessible to their owner only. It returns a function that
// undoes it.
func keepFilesPrivate() (undo func()) {
	before := syscall.Umask(0o077)
	return func() { syscall.Umask(before) }
}
