package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// topCommand is `synwatch top`.
func (a *app) topCommand() *cobra.Command {
	var w words
	var times, interval string
	cmd := &cobra.Command{
		Use: "top", Short: "show the most suspicious sources, every second",
		Long: "Shows what a running detector counts and whom it suspects, on a terminal in place and elsewhere one table after the other. Ctrl-C ends it.",
		Args: cobra.NoArgs,
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVarP(&times, "times", "n", "", "show `N` tables and end")
	cmd.Flags().StringVar(&interval, "interval", "1s", "show one each `TIME`")
	cmd.Flags().StringVar(&w.control, "control", "", "ask at the socket `PATH` ("+defaultControl+")")
	cmd.RunE = func(*cobra.Command, []string) error {
		var n uint64
		var err error
		if times != "" {
			if n, err = parseCount("-n", times, 1, 1<<32); err != nil {
				return err
			}
		}
		apart, err := parseTime("--interval", interval, 50*time.Millisecond, time.Hour)
		if err != nil {
			return err
		}
		path, err := w.socket()
		if err != nil {
			return err
		}
		return a.failed(a.top(path, n, apart))
	}
	return cmd
}

// Control sequences of terminals, console_codes(4).
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // another screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	clearScreen = "\x1b[H\x1b[2J"
)

// top shows tables until it is interrupted, or n of them.
func (a *app) top(path string, n uint64, apart time.Duration) error {
	before, err := ask(path)
	if err != nil {
		return err
	}
	counting, why := a.engine.EnableStats()
	if why == nil {
		defer counting.Close()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	screen := newScreen(a.stdout)
	defer screen.leave()
	look := time.NewTicker(apart)
	defer look.Stop()
	stopped, resumed := make(chan os.Signal, 1), make(chan os.Signal, 1)
	if screen.terminal {
		signal.Notify(stopped, syscall.SIGTSTP)
		signal.Notify(resumed, syscall.SIGCONT)
		defer signal.Stop(stopped)
		defer signal.Stop(resumed)
	}
	for shown := uint64(0); n == 0 || shown < n; {
		select {
		case <-ctx.Done():
			return nil
		case <-stopped:
			screen.leave()
			unix.Kill(unix.Getpid(), unix.SIGSTOP)
			continue
		case <-resumed:
			continue
		case <-look.C:
		}
		doc, err := ask(path)
		if err != nil {
			return err
		}
		doc.Cost = costBetween(before, doc)
		if err := screen.show(renderTop(doc, before, costLine(doc.Cost, why, doc.Time.Sub(before.Time)), screen.height())); err != nil {
			return fmt.Errorf("write stdout: %w", bare(err))
		}
		before = doc
		shown++
	}
	return nil
}

// screen is stdout, on a terminal in its place.
type screen struct {
	out      *os.File
	terminal bool
	entered  bool
	shown    int
}

func newScreen(out *os.File) *screen {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	return &screen{out: out, terminal: err == nil}
}

// height is how many lines there are, 0 for any number.
func (s *screen) height() int {
	if !s.terminal {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(s.out.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Row == 0 {
		return 24
	}
	return int(size.Row)
}

func (s *screen) width() int {
	size, err := unix.IoctlGetWinsize(int(s.out.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return 80
	}
	return int(size.Col)
}

func (s *screen) show(text string) error {
	switch {
	case s.terminal:
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		for i, l := range lines {
			lines[i] = cut(l, s.width())
		}
		text = clearScreen + strings.Join(lines, "\n")
		if !s.entered {
			text = enterScreen + text
		}
		s.entered = true
	case s.shown > 0:
		text = "\n" + text
	}
	s.shown++
	_, err := io.WriteString(s.out, text)
	return err
}

// leave gives the terminal its own screen back.
func (s *screen) leave() {
	if s.entered {
		io.WriteString(s.out, leaveScreen)
		s.entered = false
	}
}

// cut shortens a line to what a terminal shows of it.
func cut(line string, width int) string {
	runes := []rune(line)
	return string(runes[:min(len(runes), width)])
}

// renderTop writes a Document and what has changed since the one before, in at
// most so many lines; 0 is any number.
func renderTop(d, before *Document, cost string, height int) string {
	took := d.Time.Sub(before.Time)
	var b strings.Builder
	fmt.Fprintf(&b, "synwatch %s  up %s  %s  %s\n", d.Time.Local().Format("15:04:05"), age(d.Time.Sub(d.Since)), interfaceList(d.Interfaces), list(d.Policies))
	frames := d.Counters.Frames()
	fmt.Fprintf(&b, "packets/s %s: %s\n", rate(frames-min(before.Counters.Frames(), frames), took), classList(d, before, took))
	fmt.Fprintf(&b, "sources   %s\n", sourceLine(d))
	fmt.Fprintf(&b, "alerts    %s   lost %s\n", alertLine(d), lostLine(d))
	fmt.Fprintf(&b, "cost      %s\n", cost)
	for _, s := range d.Sinks {
		if s.Failing {
			fmt.Fprintf(&b, "output    %s\n", sinkLine(s))
		}
	}
	most := len(d.Top)
	if height > 0 {
		most = min(most, height-strings.Count(b.String(), "\n")-2) // the empty line and the table's head
	}
	if table := topTable(d, most); table != "" {
		fmt.Fprintf(&b, "\n%s", table)
	}
	return b.String()
}
