package watch

import (
	"testing"
	"time"
)

// TestReadEndsThoughMoreComes: who reads while others scan without a pause must
// come to an end, or nobody hears him stop.
func TestReadEndsThoughMoreComes(t *testing.T) {
	w := loadFor(t, Config{Replay: true}, defaultRules())
	now, port := uint64(time.Hour), uint16(1000)
	probe := func() {
		t.Helper()
		now, port = now+uint64(60*time.Millisecond), port+1
		s := segment{src: at("203.0.113.7", 40000), dst: at("192.0.2.1", port), flags: syn}
		if err := w.Run(s.bytes(), now, Unknown); err != nil {
			t.Fatal(err)
		}
	}
	for range 25 {
		probe()
	}
	c, err := w.Counters()
	if err != nil {
		t.Fatal(err)
	}
	waiting, told := int(c.Events), 0
	read := func(more int) {
		t.Helper()
		if err := w.Read(func(*Snapshot) {
			if told++; told <= more {
				probe() // and so there is always one more
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if read(10 * waiting); waiting == 0 || told != waiting {
		t.Errorf("%d snapshots were read, and %d waited", told, waiting)
	}
	told = 0
	if read(0); told != waiting {
		t.Errorf("%d snapshots were left, of %d", told, waiting)
	}
}
