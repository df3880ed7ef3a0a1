package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"synoptic/internal/checkpoint"
	"synoptic/internal/scan"
)

// When checkpoints are written.
const (
	longScan = time.Minute // scans that take longer have one in any case
	// One is due after a two-hundredth of the expected time, within these bounds, and
	// not before four times as long has passed as the last one took to write. A scan
	// that has no rate would be faster without: there they take less than a hundredth of
	// a processor's time, of which one needs some milliseconds, and 3 ns for a byte.
	mostEvery, leastEvery = 5 * time.Second, 50 * time.Millisecond
	freeEvery, everyByte  = 2 * time.Second, 400 * time.Nanosecond
	assumedRate           = 1e6 // packets per second of a scan that has no rate
)

// saver is a scan.Keeper that writes a checkpoint from time to time, beside the
// scan. Of a short scan it only keeps the last snapshot in memory, and writes that
// when the scan does not come to its end.
type saver struct {
	path   string
	file   *checkpoint.File
	chosen bool // the path was, by us: the file is gone when the scan is done
	plan   *recipe
	out    sink // set before the scan begins
	every  time.Duration
	byByte time.Duration // everyByte, or 0 for a scan that has a rate
	say    *console

	urgent  atomic.Bool // the next snapshot is due now
	writes  atomic.Bool // snapshots are written
	writing atomic.Bool
	pause   atomic.Int64 // ns to the next one
	taken   time.Time    // the last one

	mu      sync.Mutex // over what follows, and over writing
	last    *snapshot
	written bool  // last is
	done    bool  // it is of a scan that is
	there   bool  // the file is this scan's, if not with the last
	failed  error // what writing last failed with
}

// snapshot is a checkpoint to be.
type snapshot struct {
	state   *scan.State
	outputs outputsState
	hosts   func(dst []byte) []byte
}

// save is the header of a checkpoint: the scan, and where it is.
type save struct {
	*recipe
	Done    bool         `json:"done"` // the scan is, and its outputs are closed
	Outputs outputsState `json:"outputs"`
	State   *scan.State  `json:"state"`
}

// The sections of a checkpoint.
const (
	answersSection = iota
	hostsSection
	reportSection
	targetsSection
	sectionCount
)

// newSaver prepares the checkpoints of a scan.
func (a *app) newSaver(s *scope, plan *recipe) (*saver, error) {
	v := &saver{path: a.opt.checkpoint, chosen: plan.Chosen, plan: plan, say: a.say, taken: time.Now(), there: a.resumed != nil}
	if v.path == "" {
		v.path = checkpointName(a.opt)
	}
	rate := a.opt.rate
	least := leastEvery
	if rate == 0 {
		rate, least, v.byByte = assumedRate, freeEvery, everyByte
	}
	expected := time.Duration(min(float64(s.visit)*float64(s.retries+1)/rate, 1e9) * float64(time.Second))
	v.every = min(max(expected/200, least), mostEvery)
	v.writes.Store(!v.chosen || expected > longScan || a.resumed != nil)
	if !v.writes.Load() {
		v.every = mostEvery // one that is only kept costs memory twice
	}
	v.pause.Store(int64(v.every))
	// First of all, for another scan may be writing it.
	var err error
	if v.file = a.held; v.file == nil {
		v.file, err = checkpoint.Hold(v.path)
	}
	if err == nil {
		err = checkpoint.Usable(v.path)
	}
	if err == nil && !v.chosen && a.resumed == nil {
		err = checkReplaced(v.path)
	}
	if err != nil {
		if !v.chosen {
			return nil, err
		}
		a.say.note(fmt.Sprintf("there will be no checkpoint: %v", err))
		return nil, nil
	}
	return v, nil
}

// checkReplaced refuses a file for which nobody could have a scan again.
func checkReplaced(path string) error {
	old := save{recipe: new(recipe)}
	if _, err := checkpoint.Read(path, &old); err == nil && !old.Done || errors.Is(err, checkpoint.ErrVersion) {
		return fmt.Errorf("checkpoint %s: it is that of another scan, which is not finished: go on with that by --resume, or remove the file", path)
	}
	return nil // there is none, or nothing that is worth keeping
}

// checkpointName is where a checkpoint goes that nobody has named: beside the first
// output that is a file, and no device or pipe.
func checkpointName(o options) string {
	i := slices.IndexFunc(o.places, func(p place) bool {
		info, err := os.Stat(p.name)
		return p.name != "-" && err == nil && info.Mode().IsRegular()
	})
	if i < 0 {
		return fmt.Sprintf("synscan-%s-%d.checkpoint", time.Now().Format("20060102-150405"), os.Getpid())
	}
	return o.places[i].name + ".checkpoint"
}

// Due implements scan.Keeper.
func (v *saver) Due() bool {
	return v.urgent.Load() || time.Since(v.taken) >= time.Duration(v.pause.Load()) && !v.writing.Load()
}

// Keep implements scan.Keeper.
func (v *saver) Keep(take func() *scan.State) {
	v.taken = time.Now()
	v.urgent.Store(false) // where it fails, as for a reader that is behind, the scan does not wait for it again
	outputs, hosts, ok := v.out.snapshot()
	if !ok {
		return // what is in the outputs is not known; the last one stays good
	}
	s := &snapshot{take(), outputs, hosts}
	v.mu.Lock()
	v.last, v.written = s, false
	v.mu.Unlock()
	if v.writes.Load() && v.writing.CompareAndSwap(false, true) {
		go func() { // finish waits for it
			defer v.writing.Store(false)
			v.write()
		}()
	}
}

// write writes the last snapshot, if it is not written yet. What fails is said
// once, and tried again with the next one.
func (v *saver) write() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.last == nil || v.written {
		return
	}
	began := time.Now()
	s := v.last
	report := s.hosts(nil)
	err := v.file.Write(save{v.plan, v.done, s.outputs, s.state}, s.state.Answers, s.state.Hosts, report, v.plan.targets)
	if err != nil && v.failed == nil {
		v.say.note(err.Error())
	}
	v.failed, v.written, v.there = err, err == nil, v.there || err == nil
	size := len(s.state.Answers) + len(s.state.Hosts) + len(report) + len(v.plan.targets)
	v.pause.Store(int64(max(v.every, 4*time.Since(began), min(v.byByte*time.Duration(size), mostEvery))))
}

// hurry makes the next snapshot come, and be written, at once: the scan is being
// interrupted.
func (v *saver) hurry() {
	if v != nil {
		v.writes.Store(true)
		v.urgent.Store(true)
	}
}

// leaveWait is how long the end at once waits for a disk.
const leaveWait = 2 * time.Second

// leave writes what is known before the process ends at once, and says how to go on.
func (v *saver) leave() {
	if v == nil {
		return
	}
	command := make(chan string, 1)
	go func() { command <- v.finish(false) }()
	select {
	case c := <-command:
		v.tell(c)
	case <-time.After(leaveWait):
	}
}

// tell says how to go on with the scan, if it can be.
func (v *saver) tell(command string) {
	if command != "" {
		v.say.print("go on with: " + command)
	}
}

// finish ends the checkpoints when the scan has. It returns the command that goes
// on with the scan, "" if there is nothing to go on with.
func (v *saver) finish(done bool) string {
	if v == nil {
		return ""
	}
	if done && v.chosen {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.last = nil // whoever is about to write it is too late
		if err := os.Remove(v.path); err != nil && !os.IsNotExist(err) {
			v.say.note(fmt.Sprintf("remove %s: %v", v.path, bare(err)))
		}
		return ""
	}
	if done {
		v.mu.Lock()
		v.done, v.written = true, false
		v.mu.Unlock()
	}
	v.write()
	v.mu.Lock()
	defer v.mu.Unlock()
	if done || !v.there {
		return ""
	}
	return "synscan --resume " + shellWord(v.path)
}

// shellWord quotes a word for a shell, if it has to be.
func shellWord(word string) string {
	if strings.Trim(word, plainLetters) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

const plainLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" + digits + "/._-+=:,@%"

// load reads a checkpoint.
func load(path string) (*save, [][]byte, error) {
	s := &save{recipe: &recipe{}, State: &scan.State{}}
	parts, err := checkpoint.Read(path, s)
	if err != nil {
		return nil, nil, err
	}
	if len(parts) != sectionCount {
		return nil, nil, fmt.Errorf("read checkpoint %s: it has %d sections, and this program reads %d", path, len(parts), sectionCount)
	}
	if s.State == nil {
		return nil, nil, fmt.Errorf("read checkpoint %s: it does not say where the scan was", path)
	}
	s.State.Answers, s.State.Hosts, s.targets = parts[answersSection], parts[hostsSection], parts[targetsSection]
	return s, parts, nil
}
