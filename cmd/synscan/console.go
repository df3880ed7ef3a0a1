package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// console is stderr: messages, and on a terminal one line that is rewritten.
// There are no colours, so NO_COLOR asks for nothing more.
type console struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	silent   bool // of notes: --quiet, --status-json
	width    int  // of the rewritten line
	shown    int  // characters of it on the screen
}

func newConsole(f *os.File) *console {
	c := &console{out: f, width: 79}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
		c.terminal = true
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			c.width = int(size.Col) - 1
		}
	}
	return c
}

// print writes a message: an error, or an answer that was asked for.
func (c *console) print(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	fmt.Fprintf(c.out, "synscan: %s\n", text)
}

// note writes a message that is for people.
func (c *console) note(text string) {
	if !c.silent {
		c.print(text)
	}
}

// line writes a whole line as it is.
func (c *console) line(text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	c.out.Write(append(text, '\n'))
}

// rewrite replaces the rewritten line.
func (c *console) rewrite(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(text) > c.width {
		text = text[:c.width]
	}
	fmt.Fprintf(c.out, "\r%s%s", text, strings.Repeat(" ", max(c.shown-len(text), 0)))
	c.shown = len(text)
}

// clear removes the rewritten line.
func (c *console) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
}

func (c *console) erase() {
	if c.shown > 0 {
		fmt.Fprintf(c.out, "\r%s\r", strings.Repeat(" ", c.shown))
		c.shown = 0
	}
}

// beside returns a writer to w whose output never ends up behind the rewritten
// line, in case both are on one terminal.
func (c *console) beside(w io.Writer) io.Writer {
	if !c.terminal {
		return w
	}
	return eraseFirst{c, w}
}

type eraseFirst struct {
	console *console
	to      io.Writer
}

func (e eraseFirst) Write(p []byte) (int, error) {
	e.console.clear()
	return e.to.Write(p)
}
