package bench

import (
	"fmt"
	"slices"
	"testing"
)

// What is read of the programs' files and words.

func TestAddressesThatAreReportedOpen(t *testing.T) {
	for format, text := range map[string]string{
		"synscan": `{"timestamp":"2026-11-30T00:29:07Z","host":"10.0.0.1","ip":"10.0.0.1","port":80,"state":"open"}` + "\n" + `{"host":"10.0.0.22","ip":"10.0.0.22","port":80}` + "\n",
		"zmap":    "10.0.0.1\n10.0.0.22\n",
		"masscan": "#masscan\nopen tcp 80 10.0.0.1 1700000000\nopen tcp 80 10.0.0.22 1700000001\n# end\n",
		"nmap": "# Nmap 7.93 scan as: nmap -p80 10.0.0.0/24\nHost: 10.0.0.1 ()\tStatus: Up\nHost: 10.0.0.1 ()\tPorts: 80/open/tcp//http///\n" +
			"Host: 10.0.0.22 ()\tPorts: 80/open/tcp//http///\n# Nmap done\n",
	} {
		t.Run(format, func(t *testing.T) {
			if got := fmt.Sprint(addresses([]byte(text))); got != "[10.0.0.1 10.0.0.22]" {
				t.Error(got)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	truth := map[int]bool{1: true, 2: true, 3: true}
	for _, c := range []struct {
		is                      string
		reported                []int
		missing, wrong, doubled int
	}{
		{"exact", []int{3, 1, 2}, 0, 0, 0},
		{"nothing", nil, 3, 0, 0},
		{"missing", []int{1, 3}, 1, 0, 0},
		{"wrong", []int{1, 2, 3, 4}, 0, 1, 0},
		{"one_twice", []int{1, 1, 1, 2, 3}, 0, 0, 2},
		{"a_wrong_one_twice", []int{1, 2, 4, 4}, 1, 1, 1},
	} {
		t.Run(c.is, func(t *testing.T) {
			if missing, wrong, doubled := judge(c.reported, truth); missing != c.missing || wrong != c.wrong || doubled != c.doubled {
				t.Errorf("%d missing, %d wrong, %d twice", missing, wrong, doubled)
			}
		})
	}
}

func TestWhatMasscanHasNotWritten(t *testing.T) {
	const said = "rate:  9.00-kpps, 50.00% done, found=100       \rrate:  0.00-kpps, 100.00% done, waiting -1-secs, found=809       \r"
	if got := unwritten(said, 699); got != 110 {
		t.Error(got)
	}
	if got := unwritten(said, 810) + unwritten("", 5); got != 0 {
		t.Error(got)
	}
}

func TestFiguresThatAreSaid(t *testing.T) {
	const out = `
goos: linux
BenchmarkPut/answered=1%-2         	       3	  107 ns/op	        25.5 ns/answer
    x_test.go:1: inside:
        === ATTR  TestMemory/a_slash_8 MiB 53
=== ATTR  TestBegins more-ms 74.5
BenchmarkSweep/program=bare/span=4096 	 500	 83 median-ns/frame
--- PASS: TestBegins (0.1s)
`
	want := []figure{
		{"TestMemory/a_slash_8", "MiB", 53}, {"TestBegins", "more-ms", 74.5},
		{"Put/answered=1%", "ns/op", 107}, {"Put/answered=1%", "ns/answer", 25.5}, {"Sweep/program=bare/span=4096", "median-ns/frame", 83},
	}
	if got := figures(out); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
