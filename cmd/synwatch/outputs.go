package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"synoptic/detector"
	"synoptic/detector/sink"
)

// priority is how a note is marked in the journal, sd-daemon(3).
type priority int

const (
	failure priority = 3
	trouble priority = 4
	news    priority = 6
)

// voice says things on stderr while the detector runs, and waits for nobody.
type voice struct {
	text    *sink.Sink
	journal bool
}

func newVoice(stderr *os.File, c sink.Config) *voice {
	v := &voice{journal: toJournal(stderr)}
	v.text = sink.NewText(stderr, "stderr", "synwatch: ", v.journal, c)
	return v
}

func (v *voice) say(p priority, format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ") // one line, whatever an error contains
	if v.journal {
		v.text.Say(fmt.Sprintf("<%d>%s\n", p, text))
	} else {
		v.text.Say("synwatch: " + text + "\n")
	}
}

// toJournal tells whether a file is what the journal gave us: $JOURNAL_STREAM,
// systemd.exec(5).
func toJournal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", s.Dev, s.Ino)
}

// openSinks opens every output but stderr.
func (o *options) openSinks(stdout *os.File, c sink.Config) (all sink.Sinks, err error) {
	defer func() {
		if err != nil {
			all.Close(0)
		}
	}()
	host, _ := os.Hostname()
	for _, out := range []struct {
		name   string
		file   func(name, host string, c sink.Config) (*sink.Sink, error)
		stream func(f *os.File, name, host string, c sink.Config) *sink.Sink
		option string
	}{
		{o.eve, sink.NewEVE, sink.NewEVEStream, "--eve"},
		{o.scanlogd, sink.NewScanlogd, sink.NewScanlogdStream, "--scanlogd-line"},
	} {
		switch out.name {
		case "":
		case "-":
			all = append(all, out.stream(stdout, "stdout", host, c))
		default:
			s, err := out.file(out.name, host, c)
			if err != nil {
				return all, fmt.Errorf("%s: %w", out.option, err)
			}
			all = append(all, s)
		}
	}
	if o.hasSyslog {
		all = append(all, sink.NewSyslog(o.syslog, host, c))
	}
	return all, nil
}

// tally counts alerts. It is safe for concurrent use.
type tally struct {
	mu     sync.Mutex
	counts map[[2]string]uint64 // by policy and kind
}

// add counts the beginning of an episode.
func (t *tally) add(a *detector.Alert) {
	if a.Summary {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[[2]string]uint64{}
	}
	t.counts[[2]string{a.Policy, string(a.Kind)}]++
}

// printer is stdout for what is no alert: help, lists. It keeps its first error,
// because who prints does not always ask.
type printer struct {
	to  *os.File
	err error
}

func (p *printer) Write(text []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.to.Write(text)
	if err != nil {
		p.err = fmt.Errorf("write stdout: %w", bare(err))
	}
	return n, p.err
}

// bare strips what package os puts before an error.
func bare(err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}
