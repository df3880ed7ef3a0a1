package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/internal/estimate"
	"synoptic/internal/output"
	"synoptic/internal/plan"
	"synoptic/internal/result"
	"synoptic/internal/scan"
	"synoptic/internal/target"
)

func TestVerdict(t *testing.T) {
	broken := func(lost uint64) *outputs {
		return &outputs{failed: []*output.Error{{Name: "stdout", Lost: lost, Unit: "result", Err: errors.New("broken pipe")}}}
	}
	half := scan.Summary{Planned: 1000, Probed: 490, Unreachable: 10}
	whole := scan.Summary{Planned: 1000, Probed: 1000}
	with := func(s scan.Summary, change func(*scan.Summary)) scan.Summary {
		change(&s)
		return s
	}
	interrupt := func(s *scan.Summary) { s.Interrupted = true }
	lose := func(s *scan.Summary) { s.Dropped, s.Lost = 3, 812 }
	drop := func(s *scan.Summary) { s.Dropped = 3 } // and what it concerned was found

	for _, tc := range []struct {
		name    string
		summary scan.Summary
		err     error
		out     *outputs
		code    int
		message string
	}{
		{"done", whole, nil, &outputs{}, exitDone, ""},
		{"limited_is_done", scan.Summary{Planned: 10, Probed: 10}, nil, &outputs{}, exitDone, ""},
		{"dropped_and_repaired", with(whole, drop), nil, &outputs{}, exitDone, ""},
		{"lost", with(whole, lose), nil, &outputs{}, exitLost,
			"finished, 812 of 1,000 probes may have gone unanswered because this machine dropped packets: scan again with a lower --rate"},
		{"interrupted", with(half, interrupt), nil, &outputs{}, exitInterrupted, "interrupted: 500 of 1,000 endpoints were not probed"},
		{"interrupted_while_waiting", with(whole, interrupt), nil, &outputs{}, exitInterrupted, "interrupted: every endpoint had been probed"},
		{"interrupted_with_loss", with(with(half, interrupt), lose), nil, &outputs{}, exitInterrupted, "interrupted: 500 of 1,000 endpoints were not probed"},
		{"failed", half, errors.Join(errors.New("send on eth0: gone"), errors.New("receive: gone")), &outputs{}, exitFailed,
			"send on eth0: gone; receive: gone; 500 of 1,000 endpoints were not probed"},
		{"output_is_named_once", half, errors.Join(nil, errors.Join(fmt.Errorf("write results: %w", errNoOutput))), broken(7), exitFailed,
			"write stdout: broken pipe: 7 results lost there; 500 of 1,000 endpoints were not probed"},
		{"output_failed_at_the_end", whole, nil, broken(1), exitFailed, "write stdout: broken pipe: 1 result lost there"},
		{"fault_beats_interrupt", with(half, interrupt), errors.New("bad"), &outputs{}, exitFailed, "bad; 500 of 1,000 endpoints were not probed"},
		{"several_causes_in_one_error_stay_together", whole, fmt.Errorf("%w (%w)", errors.New("a"), errors.New("b")), &outputs{}, exitFailed, "a (b)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := report{Summary: tc.summary}
			code, err := r.verdict(tc.err, tc.out)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if code != tc.code || message != tc.message {
				t.Errorf("code %d, want %d\n got %q\nwant %q", code, tc.code, message, tc.message)
			}
		})
	}
}

func TestEnd(t *testing.T) {
	targets, _, err := target.Parse(t.Context(), target.Words("10.0.0.0/24"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := plan.New(targets, target.PortsOf(22, 80), 1, plan.Shard{Index: 1, Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		summary scan.Summary
		want    uint64 // addresses
	}{
		{"all", scan.Summary{Planned: 512, Probed: 512}, 256},
		{"few_neighbours_exist", scan.Summary{Planned: 512, Probed: 4, Unreachable: 508}, 256},
		{"no_neighbour_exists", scan.Summary{Planned: 512, Unreachable: 512}, 256},
		{"ended_early", scan.Summary{Planned: 512, Probed: 7, Unreachable: 2}, 9},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := report{Summary: tc.summary, scope: &scope{plan: plan}}
			if end := r.end(nil, &outputs{}); end.Addresses != tc.want {
				t.Errorf("%d addresses, want %d", end.Addresses, tc.want)
			}
		})
	}
	lossy := report{Summary: scan.Summary{Planned: 512, Probed: 512, Dropped: 3, KernelDropped: 4}, scope: &scope{plan: plan}}
	if end := lossy.end(nil, &outputs{}); end.Dropped != 7 || end.Err != "" {
		t.Errorf("of lost packets: %+v", end)
	}
}

// fake is an output that fails when told to.
type fake struct {
	records int
	err     error
	closed  bool
}

func (f *fake) Record(*result.Record) error { f.records++; return f.err }
func (f *fake) Begin(*output.Scan) error    { return f.err }
func (f *fake) Flush() error                { return f.err }
func (f *fake) Discard()                    {}
func (f *fake) Close(*output.End) error     { f.closed = true; return f.err }

func TestOutputs(t *testing.T) {
	good, bad := &fake{}, &fake{}
	stopped := 0
	o := &outputs{lines: []lineWriter{bad, good}, allStates: true, stop: func() { stopped++ }}
	record := result.Record{State: result.Closed}
	for range 3 {
		if err := o.Record(&record); err != nil {
			t.Fatal(err)
		}
	}
	bad.err = &output.Error{Name: "bad", Err: errors.New("full")}
	for range 3 {
		if err := errors.Join(o.Record(&record), o.Flush()); err != nil {
			t.Errorf("one output is left, and the scan hears %v", err)
		}
	}
	if stopped != 1 || len(o.failed) != 1 || good.records != 6 || bad.records != 6 {
		t.Errorf("stopped %d times, %d failures; %d and %d records of 6", stopped, len(o.failed), good.records, bad.records)
	}
	good.err = &output.Error{Name: "good", Err: errors.New("full too")}
	if err := o.Record(&record); !errors.Is(err, errNoOutput) {
		t.Errorf("no output is left, and the scan hears %v", err)
	}
	o.close(nil)
	if !good.closed || !bad.closed || len(o.failed) != 2 {
		t.Errorf("closed %v and %v, %d failures", good.closed, bad.closed, len(o.failed))
	}
}

func TestOutputsAllocateNothing(t *testing.T) {
	o := &outputs{lines: []lineWriter{output.New(io.Discard, "text", output.Text), output.New(io.Discard, "json", output.JSON)}}
	record := result.Record{Addr: netip.MustParseAddrPort("127.0.0.1:80"), State: result.Open, Reason: result.SynAck, Method: "syn"}
	if n := testing.AllocsPerRun(1000, func() {
		if err := o.Record(&record); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a record", n)
	}
}

func TestOpenShows(t *testing.T) {
	for state, want := range map[result.State]bool{
		result.Open: true, result.OpenFiltered: true, result.Unfiltered: true, result.Closed: false, result.Filtered: false,
	} {
		w := &fake{}
		o := &outputs{lines: []lineWriter{w}}
		o.Record(&result.Record{State: state})
		if (w.records == 1) != want {
			t.Errorf("%v: shown %v", state, w.records == 1)
		}
		o.Record(&result.Record{State: state, Suspect: result.SynProxy})
		if (w.records >= 1) != true {
			t.Errorf("%v: a suspect answer is not shown", state)
		}
	}
}

func TestGlance(t *testing.T) {
	g := glance{scan.Progress{State: "sending", Planned: 2000, Probed: 250, Remaining: 61 * time.Second, Open: 1234, Dropped: 5}, 9999.7}
	for _, tc := range []struct {
		name   string
		change func()
		want   string
	}{
		{"first_pass", func() {}, "12.5%, 1m1s left, 9,999 packets/s, 1,234 found, 5 dropped"},
		{"retry", func() { g.Try = 2 }, "retry 2, 9,999 packets/s, 1,234 found, 5 dropped"},
		{"waiting", func() { g.State, g.Pace = "waiting", 0 }, "waiting, 0 packets/s, 1,234 found, 5 dropped"},
		{"adaptive", func() {
			g.Path = &scan.Path{Loss: estimate.Interval{Low: 0.001, Estimate: 0.0123, High: 0.03}}
			g.Progress.Rate, g.Reason = 1900, "this machine dropped packets"
		}, "waiting, 0 packets/s, 1,234 found, 5 dropped, 1.2% lost on the way, rate 1,900: this machine dropped packets"},
	} {
		tc.change()
		if got := g.String(); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	text, err := json.Marshal(g)
	if err != nil || !strings.Contains(string(text), `"packets_per_second":0`) || !strings.Contains(string(text), `"probed":250`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestPace(t *testing.T) {
	var p pace
	at := func(quarters int, sent uint64) scan.Progress {
		return scan.Progress{Elapsed: time.Duration(quarters) * terminalEvery, Sent: sent}
	}
	for i, want := range []float64{100, 100, 100, 100, 175} {
		sent := uint64(25 * (i + 1))
		if i == 4 {
			sent = 200
		}
		if got := p.next(at(i+1, sent)); got != want {
			t.Errorf("glance %d: %v packets/s, want %v", i, got, want)
		}
	}
}

// On a terminal the progress line is rewritten, and never in front of a result.
func TestTerminal(t *testing.T) {
	user, terminal := openTerminal(t)
	say := newConsole(terminal)
	if !say.terminal {
		t.Fatal("a terminal is not taken for one")
	}
	stdout := say.beside(terminal)
	say.rewrite("50%, many left")
	say.rewrite("60%")
	fmt.Fprint(stdout, "127.0.0.1:80 open syn-ack\n")
	say.rewrite("70%")
	say.print("a message")
	say.rewrite(strings.Repeat("x", 200))
	say.clear()
	terminal.Close()
	// The kernel passes the bytes on in its own time, and says EIO after the last.
	screen, err := io.ReadAll(user)
	if err != nil && !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	want := "\r50%, many left\r60%           \r   \r127.0.0.1:80 open syn-ack\r\n" +
		"\r70%\r   \rsynscan: a message\r\n\r" + strings.Repeat("x", 79) + "\r" + strings.Repeat(" ", 79) + "\r"
	if got := string(screen); got != want {
		t.Errorf("the screen got\n%q, want\n%q", got, want)
	}
}

// openTerminal opens a pseudo-terminal, pty(7).
func openTerminal(t *testing.T) (user, terminal *os.File) {
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetUint32(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return user, terminal
}

func TestFileIsNoTerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if say := newConsole(f); say.terminal || say.beside(f) != f {
		t.Error("a file is taken for a terminal")
	}
}
