package report

import (
	"math"
	"strings"
	"testing"
)

// some is a comparison of two programs, three rounds long.
func some() *Comparison {
	return &Comparison{Rounds: 3, Works: []Work{{
		Name: "sweep", Section: "Sweep", Text: "A sweep.", Truth: 1000, Runs: []Run{
			{Program: "synscan", Limit: "limit: loop", Figures: map[string][]float64{PPS: {100, 300, 200}, Missing: {0, 0, 1}}},
			{Program: "zmap", Figures: map[string][]float64{PPS: {50, 100, 200}, Missing: {3, 1, 2}}},
			{Program: "hping3", Cannot: "has one host only"},
			{Program: "limit: loop", Figures: map[string][]float64{PPS: {200, 400, 400}}},
		},
	}}}
}

func TestFigures(t *testing.T) {
	for _, c := range []struct {
		is     string
		source source
		want   float64
	}{
		{"the_median_of_the_rounds", of("sweep", "synscan", PPS), 200},
		{"the_median_of_their_ratios_and_not_the_ratio_of_medians", ratio("sweep", "zmap", "synscan", PPS), 0.5},
		{"the_worst_round", worst("sweep", "synscan", Missing), 1},
		{"the_worst_round_of_all_programs", worst("sweep", "", Missing), 3},
		{"the_least", least("sweep", "zmap", PPS), 50},
		{"the_greatest_median", medians("sweep", "", Missing), 2},
		{"everywhere", everywhere("sw", "zmap", Missing), 1},
		{"a_sum", sum(worst("sweep", "synscan", Missing), worst("sweep", "zmap", Missing)), 4},
		{"turned_around", inverse(of("sweep", "synscan", PPS)), 1. / 200},
		{"scaled", scaled(of("sweep", "synscan", PPS), 3), 600},
	} {
		t.Run(c.is, func(t *testing.T) {
			if got, err := c.source(some()); err != nil || got != c.want {
				t.Errorf("%v, %v, want %v", got, err, c.want)
			}
		})
	}
}

// What was not measured is an error, however a claim comes to its figure.
func TestWhatIsAbsentIsAnError(t *testing.T) {
	for is, s := range map[string]source{
		"no_such_work":             of("swoop", "synscan", PPS),
		"no_such_program":          of("sweep", "nmap", PPS),
		"no_such_metric":           of("sweep", "synscan", CPU),
		"a_program_that_cannot":    ratio("sweep", "synscan", "hping3", PPS),
		"neither":                  ratio("sweep", "hping3", "synscan", PPS),
		"nothing_to_be_the_worst":  worst("sweep", "nmap", Missing),
		"nothing_to_be_the_least":  least("sweep", "synscan", CPU),
		"nothing_with_a_median":    medians("swoop", "", PPS),
		"nowhere":                  everywhere("swoop", "zmap", Missing),
		"everywhere_but_there":     everywhere("sweep", "zmap", CPU),
		"nowhere_possible":         everywhere("sweep", "hping3", PPS),
		"a_part_of_a_sum":          sum(of("sweep", "synscan", PPS), of("sweep", "nmap", PPS)),
		"what_is_turned_or_scaled": inverse(scaled(of("sweep", "nmap", PPS), 2)),
	} {
		t.Run(is, func(t *testing.T) {
			if got, err := s(some()); err == nil {
				t.Errorf("%v", got)
			}
		})
	}
	c := some()
	if _, err := c.Claims(); err == nil {
		t.Error("there are claims about works that are not there")
	}
	if _, err := c.Report(); err == nil {
		t.Error("there is a report without all claims")
	}
}

// with has the claims of a test in place of the project's.
func with(t *testing.T, some []Claim) {
	before := claims
	claims = some
	t.Cleanup(func() { claims = before })
}

func TestVerdicts(t *testing.T) {
	const text = "It is fast."
	for _, c := range []struct {
		is    string
		claim Claim
		met   bool
	}{
		{"at_least_and_more", of("sweep", "synscan", PPS).atLeast(199, "", "Sweep", text), true},
		{"at_least_and_equal", of("sweep", "synscan", PPS).atLeast(200, "", "Sweep", text), true},
		{"at_least_and_less", of("sweep", "synscan", PPS).atLeast(201, "", "Sweep", text), false},
		{"at_most_and_less", of("sweep", "synscan", PPS).atMost(201, "", "Sweep", text), true},
		{"at_most_and_equal", of("sweep", "synscan", PPS).atMost(200, "", "Sweep", text), true},
		{"at_most_and_more", of("sweep", "synscan", PPS).atMost(199, "", "Sweep", text), false},
		{"no_number", scaled(of("sweep", "synscan", PPS), math.NaN()).atMost(199, "", "Sweep", text), false},
	} {
		t.Run(c.is, func(t *testing.T) {
			with(t, []Claim{c.claim})
			verdicts, err := some().Claims()
			if err != nil || len(verdicts) != 1 || verdicts[0].Met != c.met {
				t.Fatalf("%+v, %v", verdicts, err)
			}
			report, err := some().Report()
			if err != nil {
				t.Fatal(err)
			}
			if shown := strings.Contains(string(report), "**not met**"); shown == c.met {
				t.Errorf("the report says:\n%s", report)
			}
			if told := strings.Contains(string(report), "0 of 1 claims are met. Not met:\n\n- "+text); told == c.met {
				t.Errorf("the report says:\n%s", report)
			}
		})
	}
}

func TestTable(t *testing.T) {
	with(t, nil)
	report, err := some().Report()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"A sweep. To be reported: 1,000.\n",
		"| program | pps | missing | pps, ours = 1 | of its limit |\n",
		"| synscan | 200 [100 … 300] | 0 [0 … 1] | 1 | 50 % |\n",
		"| zmap | 100 [50 … 200] | 2 [1 … 3] | 0.500 |  |\n",
		"| hping3 | *has one host only* |  |  |  |\n",
	} {
		if !strings.Contains(string(report), line) {
			t.Errorf("not there: %s\n%s", line, report)
		}
	}
}

func TestShort(t *testing.T) {
	for want, v := range map[string]float64{
		"0": 0, "1": 1, "0.500": 0.5, "0.0123": 0.01234, "12.3": 12.34, "1.23": 1.2345, "123": 123.4, "1,230": 1234.5, "1,234": 1234, "503,214": 503_214, "503,000": 503_214.5,
		"5,800,000": 5_803_214.2, "-1.50": -1.5, "-12,300": -12_345.6, "NaN": math.NaN(), "+Inf": math.Inf(1),
	} {
		if got := short(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
}

func TestReadmeHasOnePlaceForFigures(t *testing.T) {
	for _, text := range []string{"", begin, end, end + begin} {
		if got, err := some().Readme([]byte(text)); err == nil || !strings.Contains(err.Error(), "no place") {
			t.Errorf("%q has become %q, %v", text, got, err)
		}
	}
}
