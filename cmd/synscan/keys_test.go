package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"synoptic/internal/lab"
)

// typist is a user at a terminal in which a program runs.
type typist struct {
	t        *testing.T
	user     *os.File // the other end
	cmd      *exec.Cmd
	before   unix.Termios
	exited   chan struct{}
	mu       sync.Mutex
	screen   []byte
	expected int // how far the screen has been read
}

// sit runs a command as the leader of a session whose terminal is a new one.
func sit(t *testing.T, args ...string) *typist {
	t.Helper()
	lab.NeedRoot(t)
	user, terminal := openTerminal(t)
	p := &typist{t: t, user: user, exited: make(chan struct{})}
	p.before = p.mode()
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Dir = t.TempDir() // for its checkpoint
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = terminal, terminal, terminal
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	p.cmd.Dir = t.TempDir() // for the checkpoints
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Our own copy of the terminal stays open: its mode is to be seen after the
	// end.
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := user.Read(buf)
			p.mu.Lock()
			p.screen = append(p.screen, buf[:n]...)
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.exited
	})
	return p
}

func (p *typist) mode() unix.Termios {
	p.t.Helper()
	mode, err := unix.IoctlGetTermios(int(p.user.Fd()), unix.TCGETS)
	if err != nil {
		p.t.Fatal(err)
	}
	return *mode
}

func (p *typist) press(keys string) {
	p.t.Helper()
	if _, err := p.user.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

func (p *typist) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits until a pattern is on the screen, after what was seen before.
func (p *typist) sees(pattern string) {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	p.until(pattern, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		at := re.FindIndex(p.screen[p.expected:])
		if at != nil {
			p.expected += at[1]
		}
		return at != nil
	})
}

// singleKeys waits until the terminal is in our mode.
func (p *typist) singleKeys() {
	p.t.Helper()
	p.until("the mode of single keys", func() bool { return p.mode().Lflag&(unix.ICANON|unix.ECHO) == 0 })
	if p.mode().Lflag&unix.ISIG == 0 {
		p.t.Error("Ctrl-C is no signal any more")
	}
}

// restored waits until the terminal is as it was.
func (p *typist) restored() {
	p.t.Helper()
	p.until("the mode from before", func() bool { return p.mode() == p.before })
}

// leaves waits for the end of the program and checks that the terminal is as it
// was.
func (p *typist) leaves(code int) {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		p.t.Fatalf("it does not end; the screen is\n%s", p.text())
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("exit code %d, want %d; the screen is\n%s", got, code, p.text())
	}
	if p.mode() != p.before {
		p.t.Errorf("the terminal is left in the mode %+v, it was %+v", p.mode(), p.before)
	}
}

func (p *typist) until(what string, so func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited too long for %s; the screen is\n%s", what, p.text())
		}
	}
}

func (p *typist) text() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.ReplaceAll(p.screen, []byte{'\r'}, []byte{'\n'})
}

// slow is a scan of this machine that takes minutes, unless it is ended.
func slow(more ...string) []string {
	return append([]string{"synscan", "-p-", "--retries", "0", "127.0.0.1"}, more...)
}

// intoTheVoid is a scan in a namespace where nothing answers.
func intoTheVoid(more ...string) []string {
	return append([]string{"innetns", "lo", "veth:lan0:10.9.0.1/24", "--", "synscan", "-e", "lan0", "--router-mac", "02:00:00:00:00:01",
		"-p-", "--retries", "0", "10.9.0.0/24"}, more...)
}

func TestKeysChangeTheRate(t *testing.T) {
	p := sit(t, slow("--rate", "100")...)
	p.singleKeys()
	p.press("+")
	p.sees(`synscan: rate 125 packets/s\r\n`)
	p.press("--")
	p.sees(`synscan: rate 100 packets/s\r\n`)
	p.sees(`synscan: rate 80 packets/s\r\n`)
	p.press("\n")
	p.sees(`synscan: [\d.]+%.* packets/s, 0 found, 0 dropped\r\n`)
	p.press("\x1b[A") // a function key is one key
	p.sees(`synscan: [\d.]+%.* packets/s, 0 found, 0 dropped\r\n`)
	p.press("\x03")
	p.sees(`interrupted: no more is sent`)
	p.leaves(exitInterrupted)
	if n := bytes.Count(p.text(), []byte("dropped\n")); n != 2 {
		t.Errorf("%d lines of progress, want 2:\n%s", n, p.text())
	}
}

func TestKeysLowerTheRateFromMax(t *testing.T) {
	p := sit(t, intoTheVoid("--rate", "max", "--max-probes", "5000000")...)
	p.singleKeys()
	p.press("+")
	p.sees(`synscan: the rate is max already\r\n`)
	p.sees(` [1-9][\d,]* packets/s`)
	p.press("-")
	p.sees(`synscan: rate [1-9][\d,]* packets/s\r\n`)
	p.press("\x03")
	p.leaves(exitInterrupted)
}

func TestTerminalIsRestoredAtTheEnd(t *testing.T) {
	p := sit(t, "synscan", "-p", "1-40", "--rate", "100", "--retries", "0", "127.0.0.1")
	p.singleKeys()
	p.leaves(exitDone)
}

func TestTerminalIsRestoredAfterAFault(t *testing.T) {
	p := sit(t, append([]string{"innetns", "veth:lan0:10.9.0.1/24", "--", "vanish", "lan0", "100"}, intoTheVoid("--rate", "200")[4:]...)...)
	p.singleKeys()
	p.leaves(exitFailed)
}

func TestTerminalIsRestoredAtOnceByTheSecondInterrupt(t *testing.T) {
	p := sit(t, intoTheVoid("--rate", "100")...)
	p.singleKeys()
	p.press("\x03")
	p.sees(`interrupted: no more is sent`)
	p.press("\x03")
	p.sees(`interrupted again`)
	p.leaves(exitInterrupted)
}

func TestTerminalIsRestoredWhenASignalEnds(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			p := sit(t, slow("--rate", "100")...)
			p.singleKeys()
			p.signal(s)
			p.leaves(exitInterrupted)
		})
	}
}

func TestTerminalIsRestoredWhileStopped(t *testing.T) {
	p := sit(t, slow("--rate", "100")...)
	p.singleKeys()
	p.press("\x1a")
	p.restored()
	p.signal(syscall.SIGCONT)
	p.singleKeys()
	p.press("+")
	p.sees(`synscan: rate 125 packets/s\r\n`)
	p.press("\x03")
	p.leaves(exitInterrupted)
}

// A job in the background leaves the terminal to the shell.
func TestTerminalIsLeftAloneFromTheBackground(t *testing.T) {
	p := sit(t, "sh", "-mc", `synscan -p 1-60 --rate 100 --retries 0 127.0.0.1 & wait $!`)
	p.sees(`packets/s`)
	if p.mode().Lflag&unix.ICANON == 0 {
		t.Error("the terminal is not the shell's any more")
	}
	p.leaves(exitDone)
}

// Keys are not taken from what is no terminal.
func TestNoKeyboardWithoutATerminal(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if k, err := openKeyboard(f); k != nil || err != nil {
		t.Errorf("%v, %v", k, err)
	}
}
