// Command synwatch notices port scans on a busy server, from inside the kernel,
// or in a capture file.
//
// This package turns a command line and a configuration file into a Config,
// starts the detector with it (engine.go), takes alerts to their readers, and
// answers who asks what is going on; it decides nothing about packets or scans.
//
//	flags.go      the options and the errors of a mistyped one
//	policies.go   the options that are a policy's numbers
//	config.go     a file of options
//	options.go    from words to values (values.go, interfaces.go)
//	engine.go     the detector, as this program knows it
//	run.go        the steps from options to exit code
//	daemon.go     what happens while it runs: signals, the watchdog
//	reload.go     new settings while it runs
//	privileges.go what is needed to begin, and given up then
//	outputs.go    where alerts go
//	document.go   what is known of a running detector
//	control.go    the socket where it is read; client.go who reads it
//	status.go, top.go, cost.go   what people see of it
//	metrics.go    and Prometheus
//	notify.go     systemd
//	help.go, complete.go   the options, for people and shells
package main

import (
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // a fault while it ran, as a capture that ends in the middle of a packet
	exitUsage  = 2 // it cannot begin; nothing was attached
)

func main() {
	// A reader that goes away is an error of a write, with a message, and not a
	// silent end.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, kernel()))
}
