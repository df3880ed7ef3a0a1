package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/internal/result"
)

// written keeps what it gets.
type written struct {
	mu       sync.Mutex
	lines    []string
	nameless int
	only     func(*result.Record) bool // shown, nil: all
	err      error
}

func (w *written) recordNamed(r *result.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf("%v %s", r.Addr, r.Host))
}

func (w *written) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lines)
}

func (w *written) recordNameless(*result.Record) { w.nameless++ }
func (w *written) shows(r *result.Record) bool   { return w.only == nil || w.only(r) }
func (w *written) left() error                   { return w.err }
func (w *written) Flush() error                  { return w.err }

func (w *written) snapshotWith([][]result.Record) (outputsState, func([]byte) []byte, bool) {
	return outputsState{}, nil, false
}

func record(endpoint string) *result.Record {
	return &result.Record{Addr: netip.MustParseAddrPort(endpoint), State: result.Open}
}

// slowly is a search that takes some time and names 127.0.0.N "hostN.example",
// and those above 100 not at all.
func slowly(d time.Duration) func(context.Context, netip.Addr) string {
	return func(ctx context.Context, a netip.Addr) string {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return ""
		}
		if n := a.As4()[3]; n <= 100 {
			return fmt.Sprintf("host%d.example", n)
		}
		return ""
	}
}

func TestNamerNeverStallsTheScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &written{}
		n := newNamer(t.Context(), out, slowly(time.Second))
		begin := time.Now()
		for _, e := range []string{"127.0.0.1:80", "127.0.0.2:80", "127.0.0.1:81", "127.0.0.101:80"} {
			if err := n.Record(record(e)); err != nil {
				t.Fatal(err)
			}
		}
		n.Flush()
		if time.Since(begin) != 0 || len(out.all()) != 0 {
			t.Errorf("after %v: %q", time.Since(begin), out.all())
		}
		if out.nameless != 4 {
			t.Errorf("%d of 4 records are where no name is needed", out.nameless)
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if len(out.all()) != 4 {
			t.Errorf("the names are there, and written is %q", out.all())
		}
		n.Record(record("127.0.0.1:82")) // known by now
		if got := out.all()[4]; got != "127.0.0.1:82 host1.example" {
			t.Errorf("the last line is %q", got)
		}
		if missed := n.finish(); missed != 0 {
			t.Errorf("%d missed", missed)
		}
		of1 := slices.DeleteFunc(out.all(), func(l string) bool { return !strings.HasPrefix(l, "127.0.0.1:") })
		if want := []string{"127.0.0.1:80 host1.example", "127.0.0.1:81 host1.example", "127.0.0.1:82 host1.example"}; !slices.Equal(of1, want) {
			t.Errorf("of one address %q, want %q in this order", of1, want)
		}
		if !slices.Contains(out.all(), "127.0.0.101:80 ") {
			t.Errorf("what has no name is not written: %q", out.all())
		}
	})
}

func TestNamerEndsInBoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &written{}
		n := newNamer(t.Context(), out, func(ctx context.Context, _ netip.Addr) string {
			<-ctx.Done()
			return ""
		})
		const hosts = 1000
		for i := range hosts {
			n.Record(&result.Record{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 80)})
		}
		begin := time.Now()
		missed := n.finish()
		if d := time.Since(begin); d > nameGrace+time.Second {
			t.Errorf("the end took %v", d)
		}
		if len(out.all()) != hosts {
			t.Errorf("%d of %d records are written", len(out.all()), hosts)
		}
		// One round of searches ran into their own limit, all others into the end's.
		if missed != hosts-nameSearches {
			t.Errorf("%d missed, want %d", missed, hosts-nameSearches)
		}
	})
}

// An interrupt gives what waits away at once, without names, and does not let
// what comes later wait.
func TestInterruptEndsTheWaitForNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &written{}
		ctx, interrupt := context.WithCancel(t.Context())
		n := newNamer(ctx, out, slowly(time.Hour))
		const hosts = 100
		for i := range hosts {
			n.Record(record(fmt.Sprintf("127.0.0.%d:80", i)))
		}
		begin := time.Now()
		interrupt()
		synctest.Wait()
		if got := len(out.all()); got != hosts {
			t.Errorf("%d of %d records are written", got, hosts)
		}
		n.Record(record("127.0.0.200:80"))
		synctest.Wait()
		if got := len(out.all()); got != hosts+1 {
			t.Errorf("a later record waits")
		}
		if missed := n.finish(); missed != hosts+1 || time.Since(begin) != 0 {
			t.Errorf("%d missed, the end took %v", missed, time.Since(begin))
		}
	})
}

func TestNamerPassesOnWhatIsNotShown(t *testing.T) {
	out := &written{only: (*result.Record).MaybeOpen}
	n := newNamer(t.Context(), out, func(context.Context, netip.Addr) string {
		t.Error("somebody asked for the name of what is not shown")
		return ""
	})
	n.Record(&result.Record{Addr: netip.MustParseAddrPort("127.0.0.1:80"), State: result.Closed})
	n.finish()
	if !slices.Equal(out.all(), []string{"127.0.0.1:80 "}) {
		t.Errorf("%q", out.all())
	}
}

func TestNamerTellsTheScanOfAFailedSink(t *testing.T) {
	full := errors.New("full")
	out := &written{err: full}
	n := newNamer(t.Context(), out, func(context.Context, netip.Addr) string { return "" })
	if err := n.Record(record("127.0.0.1:80")); !errors.Is(err, full) {
		t.Errorf("Record: %v", err)
	}
	n.finish()
	if err := n.Record(record("127.0.0.1:81")); !errors.Is(err, full) {
		t.Errorf("Record: %v", err)
	}
	if err := n.Flush(); !errors.Is(err, full) {
		t.Errorf("Flush: %v", err)
	}
}
