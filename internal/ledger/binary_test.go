package ledger

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// mustAppend returns the bytes of a ledger.
func mustAppend(t *testing.T, l *Ledger) []byte {
	t.Helper()
	data, err := l.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// answer is what All yields.
type answer struct {
	pos  uint64
	mark Mark
}

func answers(l *Ledger) (list []answer) {
	for pos, mark := range l.All() {
		list = append(list, answer{pos, mark})
	}
	return list
}

// pending returns the unanswered positions of [from, to).
func pending(l *Ledger, from, to uint64) (list []uint64) {
	for from < to {
		var part []uint64
		part, from = l.Pending(from, to, make([]uint64, 0, 1000))
		list = append(list, part...)
	}
	return list
}

// checkSame holds one ledger against another by all that can be asked of them.
func checkSame(t *testing.T, got, want *Ledger) {
	t.Helper()
	all := answers(want)
	if !slices.Equal(answers(got), all) {
		t.Fatal("All yields others")
	}
	if got.Len() != want.Len() || got.Len() != uint64(len(all)) {
		t.Errorf("Len() = %d and %d, All yields %d", got.Len(), want.Len(), len(all))
	}
	for m := Rejected; m <= Open; m++ {
		if got.Count(m) != want.Count(m) {
			t.Errorf("Count(%d) = %d, want %d", m, got.Count(m), want.Count(m))
		}
	}
	for i := range min(len(all), 3) {
		a := all[i*(len(all)-1)/2%len(all)]
		from := a.pos &^ (pageLen - 1)
		to := from + pageLen - 1
		if !slices.Equal(pending(got, from, to), pending(want, from, to)) {
			t.Errorf("Pending(%d, %d) differs", from, to)
		}
		if got.Get(a.pos) != a.mark {
			t.Errorf("Get(%d) = %d, want %d", a.pos, got.Get(a.pos), a.mark)
		}
	}
}

// random is a ledger with as many answers as it is told, in a few places.
func random(rng *rand.Rand, answers int, width uint64) *Ledger {
	l := new(Ledger)
	bases := []uint64{0, rng.Uint64(), math.MaxUint64 - width + 1, rng.Uint64N(1 << 32)}
	for range answers {
		l.Put(bases[rng.IntN(len(bases))]+rng.Uint64N(width), Mark(1+rng.IntN(3)))
	}
	return l
}

func TestBinaryRoundTrip(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, tt := range []struct {
		answers int
		width   uint64
	}{
		{0, 1}, {1, 1}, {100, 100}, {sparseMost, pageLen}, {4 * sparseMost, pageLen}, {20000, 3 * pageLen}, {100000, pageLen},
		{3000, 1 << 30}, {9 * sparseMost, 2 * pageLen},
	} {
		t.Run(fmt.Sprintf("answers=%d/width=%d", tt.answers, tt.width), func(t *testing.T) {
			l := random(rng, tt.answers, tt.width)
			data := mustAppend(t, l)
			var got Ledger
			got.Put(99, Open) // which it must forget
			got.Put(1<<40+pageLen, Rejected)
			if err := got.UnmarshalBinary(data); err != nil {
				t.Fatal(err)
			}
			checkSame(t, &got, l)
			if again := mustAppend(t, &got); !bytes.Equal(again, data) {
				t.Error("the bytes differ the second time")
			}
			// It goes on as the other one does, and from its own memory.
			clear(data)
			for range 3000 {
				pos, mark := rng.Uint64N(2*pageLen), Mark(1+rng.IntN(3))
				if a, b := got.Put(pos, mark), l.Put(pos, mark); a != b {
					t.Fatalf("Put(%d, %d) = %d, want %d", pos, mark, a, b)
				}
			}
			checkSame(t, &got, l)
		})
	}
}

// The bytes are a promise to the programs of tomorrow. They follow from the
// answers alone, whatever way a page went.
func TestBinaryFormat(t *testing.T) {
	var l Ledger
	if got := mustAppend(t, &l); string(got) != "\x00" {
		t.Errorf("an empty ledger is %q", got)
	}
	l.Put(5*pageLen+3, Rejected) // page 5, entry 3<<2 | 1
	l.Put(2, Open)               // page 0, entry 2<<2 | 3
	l.Put(1<<6|1, Answered)      // page 0, entry 65<<2 | 2
	want := "prefix\x02" + "\x00\x02\x0b\x00\x06\x01" + "\x04\x01\x0d\x00"
	got, err := l.AppendBinary([]byte("prefix"))
	if err != nil || string(got) != want {
		t.Errorf("the bytes are %q, want %q", got, want)
	}
	for n := range uint64(9) { // put page 0 away, and have it at hand
		l.Put(n*pageLen, Open)
	}
	var other Ledger
	for pos := range l.All() {
		other.Put(pos, l.Get(pos))
	}
	if !bytes.Equal(mustAppend(t, &l), mustAppend(t, &other)) {
		t.Error("equal ledgers have different bytes")
	}
	for pos := uint64(0); pos <= sparseMost; pos++ {
		other.Put(pos, Answered)
	}
	dense := mustAppend(t, &other)
	if string(dense[:4]) != "\x09\x00\x00\xbb" || len(dense) < 3+denseLen {
		t.Errorf("a page with many answers is %q...", dense[:4])
	}
}

// What AppendBinary would not have appended is refused, and changes nothing.
func TestUnmarshalRefuses(t *testing.T) {
	number := func(n uint64) string { return string(binary.AppendUvarint(nil, n)) }
	few := strings.Repeat("\x55", sparseMost/4) + strings.Repeat("\x00", denseLen-sparseMost/4)
	var tooLong string
	for offset := range uint16(sparseMost + 1) {
		tooLong += string(binary.LittleEndian.AppendUint16(nil, offset<<2|uint16(Open)))
	}
	for name, data := range map[string]string{
		"empty":                         "",
		"no_pages_and_more":             "\x00\x00",
		"count_that_is_only_claimed":    number(1 << 40),
		"count_of_one_too_many":         "\x02\x00\x01\x05\x00",
		"count_of_one_too_few":          "\x01\x00\x01\x05\x00\x00\x01\x05\x00",
		"count_is_cut":                  "\x80",
		"number_is_cut":                 "\x01\x80",
		"number_with_a_zero_at_its_end": "\x01\x80\x00\x01\x05\x00",
		"number_beyond_64_bits":         "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x05\x00",
		"page_beyond_the_space":         "\x01" + number(lastPage+1) + "\x01\x05\x00",
		"page_after_the_last":           "\x02" + number(lastPage) + "\x01\x05\x00" + "\x00\x01\x05\x00",
		"page_far_after_the_last":       "\x02" + number(3) + "\x01\x05\x00" + number(math.MaxUint64-3) + "\x01\x05\x00",
		"entries_are_cut":               "\x01\x00\x02\x05\x00\x09",
		"entries_out_of_order":          "\x01\x00\x02\x09\x00\x05\x00",
		"position_twice":                "\x01\x00\x02\x05\x00\x06\x00",
		"entry_without_a_mark":          "\x01\x00\x01\x04\x00",
		"list_too_long":                 "\x01\x00" + number(sparseMost+1) + tooLong,
		"list_of_absurd_length":         "\x01\x00" + number(math.MaxUint64) + tooLong,
		"dense_page_is_cut":             "\x01\x00\x00" + strings.Repeat("\x55", denseLen-1),
		"dense_page_with_few_answers":   "\x01\x00\x00" + few,
	} {
		t.Run(name, func(t *testing.T) {
			var l, same Ledger
			for _, l := range []*Ledger{&l, &same} {
				l.Put(7, Open)
				l.Put(1<<40, Rejected)
			}
			if err := l.UnmarshalBinary([]byte(data)); err != errMalformed {
				t.Errorf("%v, want %v", err, errMalformed)
			}
			checkSame(t, &l, &same)
		})
	}
}

// A copy is of one time: of answers in ascending order it has the first ones, and
// no gap, whatever comes meanwhile.
func TestBinaryWhileAnswersCome(t *testing.T) {
	const most = 20 * pageLen
	var l Ledger
	var putting sync.WaitGroup
	putting.Go(func() {
		for pos := range uint64(most) {
			l.Put(pos, Open)
		}
	})
	for last := uint64(0); last < most; {
		var got Ledger
		if err := got.UnmarshalBinary(mustAppend(t, &l)); err != nil {
			t.Fatal(err)
		}
		n := got.Len()
		if n < last {
			t.Fatalf("%d answers after %d", n, last)
		}
		if gaps := pending(&got, 0, n); len(gaps) > 0 || got.Count(Open) != n {
			t.Fatalf("%d answers have %d gaps", n, len(gaps))
		}
		last = n
	}
	putting.Wait()
}

// FuzzUnmarshal reads the bytes as a ledger, and the bytes as positions and marks
// of one.
func FuzzUnmarshal(f *testing.F) {
	var few, many Ledger
	for pos := range uint64(pageLen) {
		if pos%3 > 0 {
			many.Put(math.MaxUint64-pos, Mark(1+pos%3))
		}
		if pos%1000 == 0 {
			few.Put(pos*77, Mark(1+pos%3))
		}
	}
	for _, l := range []*Ledger{new(Ledger), &few, &many} {
		data, _ := l.AppendBinary(nil)
		f.Add(data)
	}
	f.Add([]byte("\x02\x00\x02\x0b\x00\x06\x01\x04\x01\x0d\x00"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add([]byte("\x02\xff\xff\xff\xff\xff\xff\xff\x01\x01\x05\x00\x00\x01\x05\x00")) // a page after the last one
	f.Fuzz(func(t *testing.T, data []byte) {
		var l Ledger
		if err := l.UnmarshalBinary(data); err == nil {
			if again := mustAppend(t, &l); !bytes.Equal(again, data) {
				t.Fatalf("%d bytes become %d others", len(data), len(again))
			}
			var same Ledger
			previous := uint64(0)
			for i, a := range answers(&l) {
				if i > 0 && a.pos <= previous || a.mark == None {
					t.Fatalf("All yields %v after %d", a, previous)
				}
				previous = a.pos
				same.Put(a.pos, a.mark)
			}
			checkSame(t, &l, &same)
		} else if l.Len() != 0 || len(l.pages) != 0 {
			t.Fatal("an error has changed the ledger")
		}
		var put Ledger
		for ; len(data) >= 8; data = data[8:] {
			pos := binary.LittleEndian.Uint64(data)
			put.Put(pos>>(pos>>2&63), Mark(1+pos&3%3))
		}
		var got Ledger
		if err := got.UnmarshalBinary(mustAppend(t, &put)); err != nil {
			t.Fatal(err)
		}
		checkSame(t, &got, &put)
	})
}

// Whatever the bytes say, they cost no more than a small multiple of themselves.
func TestUnmarshalMemory(t *testing.T) {
	const most = 40
	number := func(n uint64) string { return string(binary.AppendUvarint(nil, n)) }
	const pages = 50000
	for name, data := range map[string]string{
		"one_answer_a_page": number(pages) + strings.Repeat("\x00\x01\x05\x00", pages),
		"as_many_claimed":   number(pages) + strings.Repeat("\xff", 4*pages),
		"only_claimed":      number(1<<20) + strings.Repeat("\x00\x01\x05\x00", 100),
		"dense_pages":       number(20) + strings.Repeat("\x00\x00"+strings.Repeat("\xff", denseLen), 20),
		"absurd_claims":     "\x01\x00" + number(math.MaxUint64/2) + strings.Repeat("\x05\x00", 2000),
	} {
		var before, after runtime.MemStats
		var l Ledger
		b := []byte(data)
		runtime.ReadMemStats(&before)
		err := l.UnmarshalBinary(b)
		runtime.ReadMemStats(&after)
		took := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(data))
		t.Logf("%s: %.1f bytes for each, %v", name, took, err)
		if took > most {
			t.Errorf("%s: %.1f bytes of memory for each of %d", name, took, len(data))
		}
	}
}
