//go:build !unix

package main

import "time"

// processorTime returns 0: this system does not tell in a way that this program knows.
func processorTime() time.Duration { return 0 }
