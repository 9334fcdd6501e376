// Package simulation builds a realistic study and simulates its patients, over the public HTTP API like any client. It
// first plans what each patient will do, from a seed only (see course.go), and then carries out the plan day by day
// (see act.go). The idempotency key of every command is derived from the plan, so that an interrupted run can be
// repeated: the server records only the commands that it has not recorded yet. Begin reading at Run.
package simulation
