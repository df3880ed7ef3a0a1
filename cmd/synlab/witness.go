package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"synoptic/internal/lab"
)

// witness is a detector on the answering side of the lab. There it is not the
// packets' destination, and the responder's XDP program is before it.
type witness struct {
	program string
	cmd     *lab.Cmd
	dir     string
	said    chan error // what ended the reading of its stderr
}

// startWitness starts the detector, shows what it says, and returns when it is
// attached.
func startWitness(ctx context.Context, l *lab.Lab, program string) (_ *witness, err error) {
	dir, err := os.MkdirTemp("", "synlab")
	if err != nil {
		return nil, err
	}
	w := &witness{program: program, dir: dir, said: make(chan error, 1)}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	args := []string{"-i", lab.GateDevice, "--gateway"}
	fmt.Printf("\n$ synwatch %s &\n", strings.Join(args, " "))
	w.cmd = l.Gate.Command(ctx, program, append(args, "--control", w.control())...)
	w.cmd.SysProcAttr.Setpgid = true // an interrupt from the terminal is ours to pass on
	w.cmd.Cancel = func() error { return w.cmd.Process.Signal(syscall.SIGTERM) }
	out, err := w.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("run the detector: %w: build it first with make build", err)
	}
	ready := make(chan struct{})
	go func() {
		defer close(w.said)
		lines, attached := bufio.NewScanner(out), false
		for lines.Scan() {
			fmt.Fprintln(os.Stderr, lines.Text())
			if !attached && strings.Contains(lines.Text(), "watching") {
				attached = true
				close(ready)
			}
		}
		w.said <- lines.Err()
	}()
	select {
	case <-ready:
		return w, nil
	case <-w.said:
		return nil, fmt.Errorf("run the detector: %w", w.cmd.Wait())
	case <-time.After(time.Minute):
		return nil, errors.Join(errors.New("run the detector: it does not begin"), w.stop())
	}
}

func (w *witness) control() string { return filepath.Join(w.dir, "control") }

// counted asks how many packets with these TCP flags have been seen.
func (w *witness) counted(ctx context.Context, l *lab.Lab, flags uint8) (uint64, error) {
	out, err := l.Gate.Command(ctx, w.program, "status", "--json", "--control", w.control()).Output()
	if err != nil {
		return 0, fmt.Errorf("ask the detector: %w", err)
	}
	var status struct{ Counters struct{ TCP [64]uint64 } }
	if err := json.Unmarshal(out, &status); err != nil {
		return 0, fmt.Errorf("ask the detector: %w", err)
	}
	return status.Counters.TCP[flags], nil
}

// stop ends the detector, which tells how its episodes ended.
func (w *witness) stop() error {
	defer os.RemoveAll(w.dir)
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the detector: %w", err)
	}
	err := <-w.said
	return errors.Join(err, w.cmd.Wait())
}

// summarySent is the number in the scanner's summary of what left.
var summarySent = regexp.MustCompile(`generated = ([0-9,]+) sent`)

// sentIn finds how many probes a scanner says it sent.
func sentIn(said []byte) (uint64, error) {
	found := summarySent.FindSubmatch(said)
	if found == nil {
		return 0, errors.New("the scanner's summary does not say what was sent")
	}
	return strconv.ParseUint(string(bytes.ReplaceAll(found[1], []byte(","), nil)), 10, 64)
}

// agree compares what the scanner sent with what the detector counted.
func (w *witness) agree(ctx context.Context, l *lab.Lab, said []byte, out io.Writer) error {
	const syn = 2
	sent, err := sentIn(said)
	if err != nil {
		return err
	}
	counted, err := w.counted(ctx, l, syn)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "SYNs: synscan sent %d, synwatch counted %d\n", sent, counted)
	if sent != counted {
		return errors.New("the two do not agree")
	}
	return nil
}
