// Command synscan finds open TCP ports on many addresses at once, with raw
// probes and without a connection per port.
//
// This package turns a command line into a scan.Config, runs the scan, and
// turns its end into an exit code; it decides nothing about probes or answers.
//
//	args.go     nmap's two-letter options, made readable for the flag package
//	flags.go    the options and the errors of a mistyped one
//	habits.go   options of nmap and masscan that cannot be honoured, and why
//	config.go   a file of options, read and written
//	options.go  from words to values (values.go, timing.go)
//	run.go      the steps from options to exit code
//	connect.go  raw probes or the system's own connections
//	targets.go  which endpoints: targets, confirmation, plan
//	dryrun.go   the plan's endpoints, or its addresses, as lines
//	iflist.go   this machine's interfaces and routes
//	stdout.go   what is printed there that is no result
//	outputs.go  where results go; about.go what reports say of the scan
//	names.go    the names of addresses, looked up beside the scan
//	convert.go, diff.go   the commands for files of results
//	doctor.go   the command that says what is missing (machine.go, diagnose.go)
//	signals.go  what an interrupt does
//	checkpoint.go, resume.go, marks.go   going on with a scan that ended early
//	keys.go     what a key does during a scan
//	help.go, complete.go   the options, for people and shells
//	console.go, progress.go, summary.go   what stderr says
package main

import (
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1   // a fault during the run
	exitUsage       = 2   // the command line cannot be honoured; nothing was sent
	exitLost        = 3   // finished, but this machine lost something
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

func main() {
	// A reader that goes away is an error of a write, with a message, and not a
	// silent end.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
