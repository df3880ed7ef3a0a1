package output

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/internal/result"
)

// queued returns a Writer with a queue to w, begun, and how often it was told of
// a failure.
func queued(t *testing.T, w io.Writer, format Format) (*Lines, func() int) {
	t.Helper()
	var mu sync.Mutex
	calls := 0
	l := New(w, "pipe", format)
	l.Queue(func() {
		mu.Lock()
		defer mu.Unlock()
		calls++
	})
	if err := l.Begin(nil); err != nil {
		t.Fatal(err)
	}
	return l, func() int {
		mu.Lock()
		defer mu.Unlock()
		return calls
	}
}

// A reader that reads nothing for a while stalls nobody and loses nothing.
func TestSlowReaderLosesNothing(t *testing.T) {
	const records, stall = 20000, time.Minute
	for name, format := range map[string]Format{"text": Text, "json": JSON, "list": List} {
		synctest.Test(t, func(t *testing.T) {
			reader, writer := io.Pipe()
			var got bytes.Buffer
			var reading sync.WaitGroup
			reading.Go(func() {
				io.CopyN(&got, reader, int64(len(format.open)))
				time.Sleep(stall)
				io.Copy(&got, reader)
			})
			l, _ := queued(t, writer, format)
			begin := time.Now()
			want := []byte(format.open)
			for i := range records {
				if err := l.Record(&longest); err != nil {
					t.Fatal(err)
				}
				if i%100 == 0 {
					l.Flush()
				}
				want = format.Line(want, &longest)
			}
			if d := time.Since(begin); d != 0 {
				t.Errorf("%s: recording took %v", name, d)
			}
			if err := l.Close(nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if d := time.Since(begin); d != stall {
				t.Errorf("%s: the end came after %v, the reader after %v", name, d, stall)
			}
			writer.Close()
			reading.Wait()
			if want = append(want, format.close...); !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s: %d bytes arrived of %d", name, got.Len(), len(want))
			}
		})
	}
}

// What is lost is counted to the line, however much waited when a write failed.
func TestBrokenReaderOfAQueue(t *testing.T) {
	line := len(Text.Line(nil, &openV4))
	for _, tc := range []struct {
		name    string
		room    int // bytes that the reader takes
		flushes int // each after 10 records
		lost    uint64
	}{
		{"half_a_line_is_no_result", 5*line + line/2, 3, 25},
		{"between_lines", 20 * line, 3, 10},
		{"nothing_is_taken", 0, 1, 10},
		{"the_last_line", 29 * line, 3, 1},
		{"in_a_later_chunk", 50_000 * line, 10_000, 50_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := &disk{room: tc.room}
			l, told := queued(t, d, Text)
			for range tc.flushes {
				for range 10 {
					l.Record(&openV4)
				}
				l.Flush()
			}
			err := l.Close(nil)
			failed, ok := errors.AsType[*Error](err)
			if !ok || !errors.Is(err, errFull) || err.Error() != "write pipe: no room" {
				t.Fatalf("error %v", err)
			}
			if failed.Lost != tc.lost || told() != 1 {
				t.Errorf("%d lost, want %d; told %d times", failed.Lost, tc.lost, told())
			}
		})
	}
}

// The scan hears of a failed write though it has nothing more to record.
func TestFailureIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, told := queued(t, &disk{}, Text)
		l.Record(&openV4)
		if err := l.Flush(); err != nil || told() != 0 {
			t.Fatalf("%v, told %d times", err, told())
		}
		synctest.Wait()
		if told() != 1 {
			t.Errorf("told %d times", told())
		}
		if err := l.Record(&openV4); err != nil {
			t.Errorf("recording: %v", err) // that is in the buffer
		}
		err := l.Flush()
		if failed, ok := errors.AsType[*Error](err); !ok || failed.Lost != 2 {
			t.Errorf("%v", err)
		}
	})
}

// A queue does not grow beyond its limit.
func TestFullQueueWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		q := newQueue(writer, "\n", func() {})
		q.limit = 100
		wrote := 0
		var writing sync.WaitGroup
		writing.Go(func() {
			for range 50 {
				q.Write([]byte("ten bytes\n"))
				wrote++
			}
		})
		synctest.Wait()
		if wrote > 20 || q.size > q.limit {
			t.Errorf("%d writes are through, %d bytes wait", wrote, q.size)
		}
		got := make([]byte, 500)
		if _, err := io.ReadFull(reader, got); err != nil {
			t.Fatal(err)
		}
		writing.Wait()
		if err := q.close(); err != nil || !bytes.Equal(got, bytes.Repeat([]byte("ten bytes\n"), 50)) {
			t.Errorf("%v: %q", err, got)
		}
		reader.Close()
	})
}

// A failure lets go of a writer that waits for room.
func TestFailureEndsTheWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		q := newQueue(writer, "\n", func() {})
		q.limit = 10
		var err error
		var writing sync.WaitGroup
		writing.Go(func() {
			for err == nil {
				_, err = q.Write([]byte("ten bytes\n"))
			}
		})
		synctest.Wait()
		reader.Close()
		writing.Wait()
		if !errors.Is(err, io.ErrClosedPipe) || q.close() == nil {
			t.Errorf("error %v", err)
		}
	})
}

// A queue in front of a regular file would only cost memory.
func TestRegularFileHasNoQueue(t *testing.T) {
	l, err := Create(t.TempDir()+"/out", Text)
	if err != nil {
		t.Fatal(err)
	}
	l.Queue(func() {})
	if err := l.Begin(nil); err != nil || l.queue != nil {
		t.Errorf("%v, queue %v", err, l.queue)
	}
	l.Record(&result.Record{})
	if err := l.Close(nil); err != nil {
		t.Error(err)
	}
}

func TestQueuedRecordAllocatesNothing(t *testing.T) {
	l, _ := queued(t, io.Discard, Text)
	record := func() {
		if err := errors.Join(l.Record(&openV4), l.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(10000, record); n > 0 {
		t.Errorf("%v allocations for a record", n)
	}
	if err := l.Close(nil); err != nil {
		t.Fatal(err)
	}
}
