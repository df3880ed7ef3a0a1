package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"synoptic/bpf/watch"
	"synoptic/detector"
	"synoptic/internal/lab"
)

// What the tests in a lab know of the program's face.
const (
	readyWord = "watching " // and the device: in the line on stderr that says that it is attached
	tcxWord   = "tcx"       // in one that says that it stands behind another XDP program
)

// build builds one of our programs.
func build(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, "synoptic/cmd/"+name)
	cmd.Env = os.Environ()
	if name == "synwatch" {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// need fails a test on a machine that lacks a program.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%v: scripts/need test installs it", err)
		}
	}
}

// eve is a line of the EVE file, as far as these tests read it.
type eve struct {
	read time.Time // when the test had it

	Timestamp string     `json:"timestamp"`
	EventType string     `json:"event_type"`
	Source    netip.Addr `json:"src_ip"`
	Interface string     `json:"in_iface"`
	Alert     struct {
		Metadata map[string][]string `json:"metadata"`
	} `json:"alert"`
}

func (e *eve) metadata(key string) string { return strings.Join(e.Alert.Metadata[key], " ") }
func (e *eve) policy() string             { return e.metadata("policy") }
func (e *eve) kind() detector.Kind        { return detector.Kind(e.metadata("kind")) }
func (e *eve) begins() bool               { return e.EventType == "alert" } // a summary is none

// time is the alert's own.
func (e *eve) time(t *testing.T) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02T15:04:05.999999-0700", e.Timestamp)
	if err != nil {
		t.Fatalf("timestamp: %v", err)
	}
	return at
}

func readEve(line []byte) (e eve, err error) {
	e.read = time.Now()
	want := map[string]string{"alert": "begin", "metadata": "summary"}
	if err = json.Unmarshal(line, &e); err == nil && (!e.Source.IsValid() || e.policy() == "" || e.kind() == "" || e.metadata("event") == "" || want[e.EventType] != e.metadata("event")) {
		err = errors.New("not an alert or a summary with a source, a policy and a kind")
	}
	if err != nil {
		err = fmt.Errorf("read an EVE line: %w: %s", err, line)
	}
	return e, err
}

// watcher is a running synwatch.
type watcher struct {
	t       *testing.T
	cmd     *lab.Cmd
	control string // its control socket
	says    string // what it says when it is attached
	bin     string
	reading sync.WaitGroup
	ready   chan struct{}

	mu     sync.Mutex
	alerts []eve
	wrong  []error
	said   bytes.Buffer // stderr
	ended  bool
}

// begin starts a detector on a device and does not wait for it.
func begin(t *testing.T, bin string, ns *lab.Namespace, device string, args ...string) *watcher {
	t.Helper()
	dir, err := os.MkdirTemp("", "synwatch") // short: a socket's path is at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &watcher{t: t, bin: bin, says: readyWord + device, control: filepath.Join(dir, "control"), ready: make(chan struct{})}
	w.cmd = ns.Command(context.Background(), bin, append([]string{"-i", device, "--eve", "-", "--control", w.control}, args...)...)
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	complaints, err := w.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", bin, err)
	}
	w.reading.Go(func() { w.readAlerts(out) })
	w.reading.Go(func() { w.readWords(complaints) })
	t.Cleanup(func() { w.kill() })
	return w
}

// start starts a detector on a device and waits until it is attached.
func start(t *testing.T, bin string, ns *lab.Namespace, device string, args ...string) *watcher {
	t.Helper()
	w := begin(t, bin, ns, device, args...)
	w.wait()
	return w
}

// wait waits until the detector is attached.
func (w *watcher) wait() {
	w.t.Helper()
	select {
	case <-w.ready:
	case <-time.After(20 * time.Second):
		w.t.Fatalf("the detector does not say %q:\n%s", w.says, w.words())
	}
	if !strings.Contains(w.words(), w.says) {
		w.t.Fatalf("the detector has ended:\n%s", w.words())
	}
}

func (w *watcher) readAlerts(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		e, err := readEve(lines.Bytes())
		w.mu.Lock()
		if err != nil {
			w.wrong = append(w.wrong, err)
		} else {
			w.alerts = append(w.alerts, e)
		}
		w.mu.Unlock()
	}
}

// readWords closes ready with the line that says so, or the end.
func (w *watcher) readWords(r io.Reader) {
	said := sync.OnceFunc(func() { close(w.ready) })
	defer said()
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		w.mu.Lock()
		w.said.Write(append(lines.Bytes(), '\n'))
		w.mu.Unlock()
		if strings.Contains(lines.Text(), w.says) {
			said()
		}
	}
}

func (w *watcher) words() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said.String()
}

// begun returns the alerts so far that begin an episode by a policy.
func (w *watcher) begun(policy string) (list []eve) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.alerts {
		if a.begins() && a.policy() == policy {
			list = append(list, a)
		}
	}
	return list
}

// stop ends the detector as an operator does and fails the test unless it ends
// well.
func (w *watcher) stop() {
	w.t.Helper()
	w.ended = true
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		w.t.Errorf("stop the detector: %v", err)
	}
	late := time.AfterFunc(20*time.Second, func() { w.cmd.Process.Kill() })
	w.reading.Wait()
	if err := w.cmd.Wait(); err != nil {
		w.t.Errorf("the detector ends with %v:\n%s", err, w.words())
	}
	late.Stop()
	for _, err := range w.wrong {
		w.t.Error(err)
	}
}

// kill ends the detector without warning, once.
func (w *watcher) kill() {
	if w.ended {
		return
	}
	w.ended = true
	w.cmd.Process.Kill()
	w.reading.Wait()
	w.cmd.Wait()
}

// processorTime is what the detector's process has used until now.
func (w *watcher) processorTime() time.Duration {
	w.t.Helper()
	used, err := lab.ProcessorTime(w.cmd.Process.Pid)
	if err != nil {
		w.t.Fatal(err)
	}
	return used
}

// counters asks the running detector what it has counted.
func (w *watcher) counters() watch.Counters {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.bin, "status", "--json", "--control", w.control, "--wait", "0s")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("synwatch status: %v\n%s", err, &complaint)
	}
	var status struct{ Counters *watch.Counters }
	if err := json.Unmarshal(out, &status); err != nil || status.Counters == nil {
		w.t.Fatalf("synwatch status: %v in\n%s", err, out)
	}
	return *status.Counters
}

// replay runs the detector over a capture and returns the alerts that begin an
// episode.
func replay(t *testing.T, bin, path, policy, filter string) (begun []eve) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "-r", path, "--policy", policy, "--eve", "-", filter)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("synwatch -r: %v\n%s", err, &complaint)
	}
	for line := range bytes.Lines(out) {
		e, err := readEve(line)
		if err != nil {
			t.Fatal(err)
		}
		if e.begins() {
			begun = append(begun, e)
		}
	}
	return begun
}

// sources are those that a list of alerts accuses, each once.
func sources(alerts []eve) (list []netip.Addr) {
	for _, a := range alerts {
		list = append(list, a.Source)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}
