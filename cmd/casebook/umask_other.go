//go:build !unix

package main

// keepFilesPrivate does nothing: files have no modes here.
func keepFilesPrivate() (undo func()) { return func() {} }
