package filter

import (
	"errors"
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"synoptic/bpf/watch"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 takes one from the clock")

// seeded returns a source of random numbers and prints how to get it again.
func seeded(t *testing.T) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("go test -run '^%s$' -seed=%d", t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestTableDecidesAsTheExpressionMeans(t *testing.T) {
	r := seeded(t)
	packets := make([]watch.Packet, 500)
	for i := range packets {
		packets[i] = few().packet(r)
	}
	matched, refused, nothing, everything := 0, 0, 0, 0
	for range 4000 {
		q := few().query(r, 1+r.IntN(10))
		expr := q.print(&printer{r: r})
		f, err := Compile(expr)
		switch {
		case errors.Is(err, ErrNothing):
			nothing++
			for i := range packets {
				if q.matches(&packets[i]) {
					t.Fatalf("%q matches %+v", expr, packets[i])
				}
			}
			continue
		case err != nil:
			t.Fatalf("%q: %v", expr, err)
		case f == nil:
			everything++
		}
		sound(t, f)
		if p, _ := assemble((&parser{words: scan(expr)}).whole()); f != nil && p.thread() {
			t.Fatalf("%q: something decided is asked again\n%s", expr, text(f))
		}
		for i := range packets {
			want := q.matches(&packets[i])
			if got := f.Match(&packets[i]); got != want {
				t.Fatalf("%q of %+v: %t, want %t\n%s", expr, packets[i], got, want, text(f))
			}
			if want {
				matched++
			} else {
				refused++
			}
		}
	}
	if matched < 100_000 || refused < 100_000 || nothing == 0 || everything == 0 {
		t.Errorf("%d matched, %d not; %d expressions match nothing, %d everything", matched, refused, nothing, everything)
	}
}

// What is left out because the way through the table has decided it must be
// decided by the packet just so.
func TestImpliedAnswersAreTheAnswers(t *testing.T) {
	r := seeded(t)
	tests := make([]watch.Node, 300)
	for i := range tests {
		q := few().primitive(r)
		switch q.kind {
		case "host", "net":
			tests[i] = watch.Node{Test: pick(r, []watch.Test{watch.TestSource, watch.TestDestination}), Prefix: q.prefix}
		case "port", "portrange":
			tests[i] = watch.Node{Test: pick(r, []watch.Test{watch.TestSourcePort, watch.TestDestinationPort}), Lo: q.lo, Hi: q.hi}
		case "proto":
			tests[i] = watch.Node{Test: watch.TestProtocol, Lo: q.lo, Hi: q.lo + uint16(r.IntN(2)*r.IntN(130))}
		default:
			tests[i] = watch.Node{Test: watch.TestFamily, Lo: pick(r, []uint16{4, 6}), Hi: 6}
		}
	}
	// Whole ranges.
	tests = append(tests, watch.Node{Test: watch.TestSourcePort, Hi: 65535}, watch.Node{Test: watch.TestDestinationPort, Hi: 65535},
		watch.Node{Test: watch.TestFamily, Lo: 4, Hi: 4}, watch.Node{Test: watch.TestProtocol, Hi: 255}, watch.Node{Test: watch.TestProtocol, Lo: 6, Hi: 132})
	answers := make([][]bool, len(tests)) // of a test, for each packet
	packets := 400
	for i := range tests {
		tests[i].Yes, tests[i].No = watch.Pass, watch.Reject
		answers[i] = make([]bool, packets)
	}
	for n := range packets {
		p := few().packet(r)
		for i := range tests {
			answers[i][n] = watch.Filter{tests[i]}.Match(&p)
		}
	}
	sure := 0
	for i := range tests {
		for j := range tests {
			for _, held := range []bool{true, false} {
				want, decided := implies(&tests[i], held, &tests[j])
				if !decided {
					continue
				}
				sure++
				for n := range packets {
					if answers[i][n] == held && answers[j][n] != want {
						t.Fatalf("if %+v is %t, %+v need not be %t", tests[i], held, tests[j], want)
					}
				}
			}
		}
	}
	if sure < 10_000 {
		t.Errorf("only %d answers follow from others", sure)
	}
}
