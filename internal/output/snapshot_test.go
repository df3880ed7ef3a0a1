package output

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"synoptic/internal/result"
)

var snapshotSeed = flag.Uint64("snapshotseed", 0, "seed of TestRestoredHostsReportTheSame; 0: a new one")

// anyRecord is one of few hosts and ports, so that endpoints have several.
func anyRecord(rng *rand.Rand) result.Record {
	addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(rng.IntN(12))})
	if rng.IntN(4) == 0 {
		addr = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(rng.IntN(5))})
	}
	r := result.Record{
		Time: when, Addr: netip.AddrPortFrom(addr, uint16(1+rng.IntN(60)*997)), Method: "syn", TTL: uint8(rng.UintN(256)),
		State: result.OpenFiltered + result.State(rng.UintN(5)), Reason: result.NoResponse + result.Reason(rng.UintN(12)),
	}
	if rng.IntN(3) > 0 {
		r.RTT = time.Duration(rng.Int64N(int64(time.Second)))
	}
	if rng.IntN(3) == 0 {
		r.ReasonIP = netip.AddrFrom4([4]byte{192, 0, 2, byte(rng.IntN(5))})
	}
	if rng.IntN(9) == 0 {
		r.Suspect = result.SynProxy
	}
	if rng.IntN(3) == 0 {
		r.Host = fmt.Sprintf("host%d.example", rng.IntN(40))
	}
	return r
}

// reports are all reports of what Hosts has.
func reports(t testing.TB, h *Hosts) string {
	t.Helper()
	var b bytes.Buffer
	for _, style := range []Style{XML, Grepable, Normal} {
		scan := aScan()
		scan.Reasons = true
		r := NewReport(&b, "test", style, h)
		if err := errors.Join(r.Begin(scan), r.Close(anEnd())); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func encoded(t testing.TB, s Snapshot) []byte {
	t.Helper()
	data, err := s.AppendBinary([]byte("prefix"))
	if err != nil || !bytes.HasPrefix(data, []byte("prefix")) {
		t.Fatalf("%q, %v", data, err)
	}
	return data[len("prefix"):]
}

func restored(t testing.TB, data []byte) *Hosts {
	t.Helper()
	h := NewHosts()
	if err := h.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	return h
}

// Whenever a snapshot is taken, encoded and restored: with what came after it, the
// reports are those of a run that nothing disturbed.
func TestRestoredHostsReportTheSame(t *testing.T) {
	seed := *snapshotSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-snapshotseed=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, n := range []int{0, 1, 2, 50, 2000} {
		for range 20 {
			records := make([]result.Record, n)
			for i := range records {
				records[i] = anyRecord(rng)
			}
			undisturbed := NewHosts()
			for i := range records {
				undisturbed.Record(&records[i])
			}
			want := reports(t, undisturbed)

			h := NewHosts()
			at := rng.IntN(n + 1)
			for i := range records[:at] {
				h.Record(&records[i])
			}
			sortedFirst := rng.IntN(2) == 0
			if sortedFirst {
				reports(t, h)
			}
			snapshot := h.Snapshot()
			early := encoded(t, snapshot)
			for i := range records[at:] {
				h.Record(&records[at+i])
			}
			if got := reports(t, h); got != want {
				t.Fatalf("a snapshot after %d of %d records, sorted %v, changes the reports:\n%s\nwant\n%s", at, n, sortedFirst, got, want)
			}
			if late := encoded(t, snapshot); !bytes.Equal(early, late) {
				t.Fatalf("a snapshot after %d of %d records, sorted %v, has changed", at, n, sortedFirst)
			}
			again := restored(t, early)
			if got := encoded(t, again.Snapshot()); !bytes.Equal(got, early) {
				t.Fatal("what was restored is encoded in another way")
			}
			for i := range records[at:] {
				again.Record(&records[at+i])
			}
			if got := reports(t, again); got != want {
				t.Fatalf("restored after %d of %d records, sorted %v:\n%s\nwant\n%s", at, n, sortedFirst, got, want)
			}
		}
	}
}

// Encoding goes on beside a scan, and beside the reports at its end.
func TestSnapshotIsOfItsMoment(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	h := NewHosts()
	var encoding sync.WaitGroup
	var first, second []byte
	for i := range 20000 {
		r := anyRecord(rng)
		h.Record(&r)
		switch i {
		case 9000, 19000:
			s := h.Snapshot()
			now := encoded(t, s)
			encoding.Go(func() {
				data, _ := s.AppendBinary(nil)
				if !bytes.Equal(data, now) {
					t.Errorf("the snapshot after %d records has changed", i)
				}
			})
			first, second = second, now
		}
	}
	reports(t, h)
	encoding.Wait()
	if a, b := restored(t, first), restored(t, second); len(a.answers) != 9001 || len(b.answers) != 19001 {
		t.Errorf("%d and %d answers", len(a.answers), len(b.answers))
	}
}

// manyHosts has so many answers, of a hundred ports each.
func manyHosts(answers int) *Hosts {
	h := NewHosts()
	for i := range answers {
		h.Record(&result.Record{
			Addr:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i / 100 >> 16), byte(i / 100 >> 8), byte(i / 100)}), uint16(i%100)),
			State: result.Closed, Reason: result.Reset, TTL: 64,
		})
	}
	return h
}

func TestSnapshotCopiesNoAnswers(t *testing.T) {
	h := manyHosts(1000)
	if s := h.Snapshot(); &s.answers[0] != &h.answers[0] || &s.seen[0] == &h.seen[0] {
		t.Error("answers are copied, or addresses are not")
	}
}

func TestMalformedSnapshots(t *testing.T) {
	h := NewHosts()
	named := openV4
	named.Host = "www.example.com"
	for _, r := range []*result.Record{&named, &rejected, &proxied} {
		h.Record(r)
	}
	good := encoded(t, h.Snapshot())
	huge := binary.AppendUvarint(nil, 1<<62)
	malformed := "malformed snapshot of hosts"
	type bad struct {
		name, want string
		data       []byte
	}
	cases := []bad{
		{"nothing", malformed, nil},
		{"more_than_all", malformed + ": 1 bytes too many", append(bytes.Clone(good), 0)},
		{"claims_many_addresses", malformed, huge},
		{"claims_many_senders", malformed, append([]byte{0}, huge...)},
		{"claims_many_answers", malformed, append([]byte{0, 0}, huge...)},
		{"a_number_without_end", malformed, bytes.Repeat([]byte{0xff}, 20)},
		{"an_address_of_5_bytes", malformed, []byte{1, 5, 1, 2, 3, 4, 5, 0, 0, 0, 0}},
		{"an_address_in_another_ones_clothes", malformed,
			append(append([]byte{1, 16}, netip.MustParseAddr("::ffff:1.2.3.4").AsSlice()...), 0, 0, 0, 0)},
		{"a_name_that_is_none", malformed, []byte{1, 4, 10, 0, 0, 1, 2, 'a', '\n', 0, 0, 0}},
		{"a_round_trip_below_0", malformed, append(binary.AppendUvarint([]byte{1, 4, 10, 0, 0, 1, 0}, 1<<63), 0, 0)},
		{"an_address_twice", malformed + ": an address is there twice", []byte{2, 4, 10, 0, 0, 1, 0, 0, 4, 10, 0, 0, 1, 0, 0, 0, 0}},
		{"a_sender_twice", malformed + ": an address is there twice", []byte{0, 2, 4, 10, 0, 0, 1, 4, 10, 0, 0, 1, 0}},
	}
	one := func(answer ...byte) []byte { return append([]byte{1, 4, 10, 0, 0, 1, 0, 0, 0, 1}, answer...) }
	for name, answer := range map[string][]byte{
		"of_an_unknown_address": {1, 0, 0, 80, 5, 2, 0, 64}, "of_an_unknown_sender": {0, 1, 0, 80, 5, 2, 0, 64},
		"of_an_unknown_state": {0, 0, 0, 80, 6, 2, 0, 64}, "of_an_unknown_reason": {0, 0, 0, 80, 5, 13, 0, 64},
		"of_an_unknown_suspicion": {0, 0, 0, 80, 5, 2, 3, 64},
	} {
		cases = append(cases, bad{"an_answer_" + name, malformed + ": answer 0", one(answer...)})
	}
	if err := NewHosts().UnmarshalBinary(one(0, 0, 0, 80, 5, 2, 0, 64)); err != nil {
		t.Fatal(err) // so each case above has one fault
	}
	for n := range good {
		cases = append(cases, bad{fmt.Sprintf("cut_to_%d_bytes", n), malformed, good[:n]})
	}
	for _, tc := range cases {
		kept := restored(t, good)
		err := kept.UnmarshalBinary(tc.data)
		if !errors.Is(err, errSnapshot) || err.Error() != tc.want && !strings.HasPrefix(tc.name, "cut_") {
			t.Errorf("%s: error %v, want %s", tc.name, err, tc.want)
		}
		if !bytes.Equal(encoded(t, kept.Snapshot()), good) {
			t.Errorf("%s: a refused snapshot has changed something", tc.name)
		}
	}
}

// Whatever a snapshot has, it is refused or told in reports.
func FuzzHosts(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	h := NewHosts()
	for range 20 {
		f.Add(encoded(f, h.Snapshot()))
		r := anyRecord(rng)
		h.Record(&r)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h := NewHosts()
		if h.UnmarshalBinary(data) != nil {
			return
		}
		again := encoded(t, h.Snapshot())
		if len(again) > len(data) {
			t.Errorf("%d bytes of %d", len(again), len(data))
		}
		if got, want := reports(t, restored(t, again)), reports(t, h); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// What the scan waits for, and what it does not.
func BenchmarkSnapshot(b *testing.B) {
	const answers = 1_000_000
	h := manyHosts(answers)
	b.Run("take", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.Snapshot()
		}
	})
	b.Run("encode", func(b *testing.B) {
		var data []byte
		s := h.Snapshot()
		for b.Loop() {
			data, _ = s.AppendBinary(data[:0])
		}
		b.ReportMetric(float64(len(data))/answers, "bytes/answer")
	})
	b.Run("restore", func(b *testing.B) {
		data, _ := h.Snapshot().AppendBinary(nil)
		for b.Loop() {
			if err := h.UnmarshalBinary(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
