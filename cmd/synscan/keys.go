package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// keyboard reads single keys from a terminal while a scan runs: without waiting
// for Enter and without showing them, termios(3) non-canonical mode. Ctrl-C and
// Ctrl-Z stay signals. The terminal gets its own mode back whenever we leave it:
// at the end, when we are stopped, and when a signal kills us.
type keyboard struct {
	pressed chan byte

	fd      int
	wake    [2]*os.File // a pipe: a byte to look up, closed to end
	signals chan os.Signal
	ended   chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex
	saved *unix.Termios // of the terminal, while it is ours
	over  bool
}

// Signals that stop or kill a process which does not catch them. SIGINT, SIGTERM
// and SIGHUP are caught elsewhere.
var leaving = []os.Signal{unix.SIGTSTP, unix.SIGQUIT}

// keyboard opens the terminal for keys if the user sees what they do. It returns
// nil otherwise.
func (a *app) keyboard() (*keyboard, error) {
	if !a.say.terminal || a.say.silent {
		return nil, nil
	}
	k, err := openKeyboard(a.stdin)
	if k != nil {
		a.signals.onLeave(k.release)
	}
	return k, err
}

// openKeyboard returns nil unless stdin is a terminal.
func openKeyboard(stdin *os.File) (*keyboard, error) {
	fd := int(stdin.Fd())
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return nil, nil
	}
	k := &keyboard{pressed: make(chan byte), fd: fd, signals: make(chan os.Signal, 4), ended: make(chan struct{})}
	var err error
	if k.wake[0], k.wake[1], err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("open a pipe: %w", err)
	}
	for _, s := range append([]os.Signal{unix.SIGCONT}, leaving...) {
		if !signal.Ignored(s) { // as under nohup(1)
			signal.Notify(k.signals, s)
		}
	}
	k.grab()
	k.running.Go(k.read)
	k.running.Go(k.watchSignals)
	return k, nil
}

// keys yields what is pressed; of a nil keyboard, nothing.
func (k *keyboard) keys() <-chan byte {
	if k == nil {
		return nil
	}
	return k.pressed
}

// close ends the reading and gives the terminal back.
func (k *keyboard) close() {
	if k == nil {
		return
	}
	k.release()
	k.mu.Lock()
	k.over = true // a late SIGCONT changes nothing
	k.mu.Unlock()
	signal.Stop(k.signals)
	close(k.signals)
	close(k.ended)
	k.wake[1].Close()
	k.running.Wait()
	k.wake[0].Close()
}

// grab puts the terminal into our mode, if we are in its foreground: from the
// background this would stop us (SIGTTOU), and the keys are somebody else's.
func (k *keyboard) grab() {
	k.mu.Lock()
	defer k.mu.Unlock()
	group, err := unix.IoctlGetInt(k.fd, unix.TIOCGPGRP)
	if err != nil || group != unix.Getpgrp() || k.over || k.saved != nil {
		return
	}
	mode, err := unix.IoctlGetTermios(k.fd, unix.TCGETS)
	if err != nil {
		return
	}
	saved := *mode
	mode.Lflag &^= unix.ICANON | unix.ECHO
	mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 1, 0
	if unix.IoctlSetTermios(k.fd, unix.TCSETS, mode) == nil {
		k.saved = &saved
	}
}

// release gives the terminal its mode back.
func (k *keyboard) release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.saved != nil {
		unix.IoctlSetTermios(k.fd, unix.TCSETS, k.saved)
		k.saved = nil
	}
}

func (k *keyboard) ours() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.saved != nil
}

// watchSignals lets go of the terminal when we are stopped or killed, and takes
// it again when we go on in the foreground.
func (k *keyboard) watchSignals() {
	for s := range k.signals {
		switch s {
		case unix.SIGCONT:
			k.grab()
			k.wake[1].Write([]byte{1})
		case unix.SIGTSTP:
			k.release()
			unix.Kill(unix.Getpid(), unix.SIGSTOP)
		default:
			k.release()
			signal.Reset(s)
			unix.Kill(unix.Getpid(), s.(unix.Signal))
		}
	}
}

// read hands on the keys until the pipe is closed or the terminal is gone. What
// one read yields is one key, unless all are + and -: a function key is several
// bytes.
func (k *keyboard) read() {
	var buf [64]byte
	for {
		fds := []unix.PollFd{{Fd: int32(k.wake[0].Fd()), Events: unix.POLLIN}, {Fd: -1, Events: unix.POLLIN}}
		if k.ours() {
			fds[1].Fd = int32(k.fd)
		}
		if _, err := unix.Poll(fds, -1); err != nil {
			continue // EINTR
		}
		if fds[0].Revents != 0 {
			if n, _ := k.wake[0].Read(buf[:]); n == 0 {
				return
			}
			continue
		}
		n, err := unix.Read(k.fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return
		}
		for i, key := range buf[:n] {
			if i > 0 && key != '+' && key != '-' {
				break
			}
			if !k.press(key) {
				return
			}
		}
	}
}

// press hands on a key, and reports false when the end came first.
func (k *keyboard) press(key byte) bool {
	select {
	case k.pressed <- key:
		return true
	case <-k.ended:
		return false
	}
}

// step is what + multiplies the rate by, and - divides it by.
const step = 1.25

// rated is a scan whose rate can be changed.
type rated interface {
	Rate() float64 // packets per second, 0: unlimited
	SetRate(float64)
}

// answer does what a key asks for and says it.
func answer(key byte, s rated, g glance) string {
	rate := s.Rate()
	switch {
	case key == '+' && rate == 0:
		return "the rate is max already"
	case key == '+':
		rate *= step
	case key == '-' && rate == 0 && g.Pace < 1:
		return "the rate is max, and nothing is being sent that it could be lowered from"
	case key == '-' && rate == 0:
		rate = g.Pace / step
	case key == '-':
		rate /= step
	default:
		return g.String()
	}
	s.SetRate(rate)
	return "rate " + perSecond(rate)
}

// perSecond writes a rate for people.
func perSecond(rate float64) string {
	if rate < 100 {
		return strconv.FormatFloat(rate, 'g', 3, 64) + " packets/s"
	}
	return count(uint64(rate)) + " packets/s"
}
