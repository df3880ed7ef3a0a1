package main

import (
	"context"
	"io"
	"net/netip"
	"time"

	"synoptic/bpf/watch"
	"synoptic/detector"
)

// Config is what the detector is told to begin with.
type Config struct {
	Interfaces []string // to attach to, each once; none: Capture is read
	Capture    string   // a capture file, or "-" for stdin; valid iff there are no Interfaces
	XDPMode    string   // auto, native, generic or tcx
	Gateway    bool     // what passes through is watched: there are no sockets to ask
	Memory     uint64   // bytes for the table of sources
	Rules      Rules

	// Alert takes alerts and summaries, and keeps them. With a capture it waits
	// for readers that do not keep up.
	Alert func(*detector.Alert)
	// Note takes sentences for the operator, as that another XDP program holds an
	// interface. It does not wait.
	Note func(string)
	// Trouble takes those that must not be missed, as that an interface is gone.
	Trouble func(string)
}

// Rules are what may change while the detector runs.
type Rules struct {
	Policies []detector.Policy // at least one, no two of one name
	Traps    []uint16
	UDP      watch.UDPMode
	V6Bits   int              // leading bits of an IPv6 address that make a source
	Allow    []netip.Prefix   // sources that are never probed for; masked
	Ignore   []netip.AddrPort // destinations that nobody scans by asking for them; an invalid address is any
	Filter   string           // which packets count, a tcpdump expression; empty: all
}

// Detector is a detector that is attached, or has opened its capture.
type Detector interface {
	// Run detects until ctx ends, which is no error, or the capture does. Of a
	// capture that is cut it says where, after all that could be read.
	Run(ctx context.Context) error
	// Reload goes on with other rules, without losing what is remembered; after an
	// error, with the old ones. It may be called while Run runs.
	Reload(Rules) error
	// State tells what is going on, with the top sources by points; with top 0 it
	// does not walk the table. It may be called until Close. While Run runs it
	// should answer only if Run is not stuck: it is what the watchdog asks.
	State(top int) (*State, error)
	// Close detaches.
	Close() error
}

// State is what a detector knows of itself at a moment.
type State struct {
	Interfaces []Interface // none with a capture
	Counters   watch.Counters
	Remembered uint64            // sources in the table
	Room       uint64            // sources that have room there
	Active     int               // episodes
	Lost       map[string]uint64 // what was lost, by its cause, beside Counters.LostEvents
	Cost       RunTime
	Top        []Source // the most suspicious first
}

// Interface is where the program is attached.
type Interface struct {
	Name string `json:"name"`
	Mode string `json:"mode"` // native, generic, tcx, or gone if the interface is no more
}

// RunTime is how often the program ran, on all interfaces, and how long
// altogether. The kernel counts it only while somebody has asked for that:
// BPF_ENABLE_STATS, bpf(2).
type RunTime struct {
	NS    uint64 `json:"run_time_ns"`
	Count uint64 `json:"run_cnt"` // one for each packet
}

// Source is one that is remembered.
type Source struct {
	Source netip.Prefix      `json:"source"`
	Points map[string]int    `json:"points"` // by policy, at its last probe
	Ports  int               `json:"ports"`  // distinct ones that are remembered
	Hosts  int               `json:"hosts"`  // destinations, an estimate above 1
	Kinds  map[string]uint32 `json:"kinds"`  // probes by kind
	Probes uint64            `json:"probes"`
	Since  time.Time         `json:"since"`
	Last   time.Time         `json:"last"`
}

// engine is how this program reaches the detector.
type engine struct {
	// Check says in one sentence what is wrong with rules, and touches nothing.
	Check func(*Rules) error
	// Start attaches the detector to its interfaces or opens the capture. After an
	// error nothing is attached.
	Start func(*Config) (Detector, error)
	// EnableStats makes the kernel count the run time of BPF programs until the
	// Closer is closed.
	EnableStats func() (io.Closer, error)
}
