package target

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// services is a lookup over a few names.
func services(name string) (uint16, error) {
	known := map[string]uint16{"http": 80, "https": 443, "ssh": 22, "http-alt": 8080, "3com-tsmux": 106}
	port, ok := known[name]
	if !ok {
		return 0, errors.New("no such service")
	}
	return port, nil
}

func TestParsePorts(t *testing.T) {
	tests := []struct{ name, list, want string }{
		{"list", "22,80,8000-8100", "22,80,8000-8100"},
		{"one", "65535", "65535"},
		{"unsorted_and_repeated", "443,22,80,22,79-81", "22,79-81,443"},
		{"neighbours_join", "80,81,83", "80-81,83"},
		{"overlapping_ranges_join", "1-10,5-20,21", "1-21"},
		{"hyphen_is_everything_but_0", "-", "1-65535"},
		{"open_below_starts_at_1", "-100", "1-100"},
		{"open_above", "60000-", "60000-65535"},
		{"range_of_one", "80-80", "80"},
		{"port_0_when_written", "0", "0"},
		{"range_from_0", "0-3", "0-3"},
		{"everything", "0-", "0-65535"},
		{"everything_in_two", "0,-", "0-65535"},
		{"tcp_prefix", "T:80,T:443", "80,443"},
		{"tcp_prefix_of_a_range", "t:-3,7", "1-3,7"},
		{"spaces_after_commas", " 22, 80 , T: 81", "22,80-81"},
		{"leading_zeros", "0080", "80"},
		{"service", "http", "80"},
		{"services_among_numbers", "https,1,ssh", "1,22,443"},
		{"service_with_hyphen", "http-alt", "8080"},
		{"service_with_digit_first", "3com-tsmux", "106"},
		{"service_with_prefix", "T:http", "80"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParsePortsFunc(tt.list, services)
			if err != nil {
				t.Fatal(err)
			}
			if p.String() != tt.want {
				t.Errorf("%q is %s, want %s", tt.list, p, tt.want)
			}
		})
	}
}

func TestMalformedPortsAreErrors(t *testing.T) {
	tests := []struct{ name, list, says string }{
		{"empty", "", "empty"},
		{"blank", "  ", "empty"},
		{"comma_first", ",80", "comma too many"},
		{"comma_last", "80,", "comma too many"},
		{"comma_twice", "80,,81", "comma too many"},
		{"only_a_comma", ",", "comma too many"},
		{"above_65535", "65536", `"65536" is above 65535`},
		{"far_above_65535", "99999999999999999999999", "is above 65535"},
		{"range_above_65535", "1-70000", `"70000" is above 65535`},
		{"range_from_above_65535", "70000-", `"70000" is above 65535`},
		{"reversed", "100-1", `"100-1" is reversed`},
		{"reversed_from_1", "-0", `"-0" is reversed`},
		{"two_hyphens", "1-2-3", `"2-3" is not a number`},
		{"only_hyphens", "--", `"-" is not a number`},
		{"udp", "U:53", `"U:53": only TCP is supported`},
		{"udp_after_tcp", "T:80,U:53", "only TCP is supported"},
		{"sctp", "S:9", "only TCP is supported"},
		{"ip_protocol", "P:6", "only TCP is supported"},
		{"prefix_alone", "T:", "empty item"},
		{"unknown_prefix", "X:80", `"X" is not a protocol`},
		{"unknown_service", "http,gopher9", `service "gopher9" is unknown`},
		{"wildcard", "http*", "wildcards are not supported"},
		{"brackets", "[-1024]", "brackets are not supported"},
		{"sign", "+80", `"+80" is unknown`},
		{"hexadecimal", "0x50", `"0x50" is unknown`},
		{"two_numbers", "80 81", "neither a number nor a service name"},
		{"option", "-http", "neither a range nor a service name"},
		{"slash", "80/tcp", "neither a number nor a service name"},
		{"not_ascii", "８０", "neither a number nor a service name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParsePortsFunc(tt.list, services)
			if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%q: %v, want a syntax error that says %q", tt.list, err, tt.says)
			}
		})
	}
}

func TestParsePortsKnowsServices(t *testing.T) {
	// The net package carries a few names for systems without /etc/services.
	p, err := ParsePorts("http,https")
	if err != nil || p.String() != "80,443" {
		t.Errorf("http,https is %v, %v", p, err)
	}
}

func TestPortsAtAndRankAreInverse(t *testing.T) {
	r := seeded(t)
	for _, n := range []int{0, 1, 2, 63, 64, 65, 1000, 65535, 65536} {
		member := [65536]bool{}
		var list []uint16
		for _, p := range r.Perm(65536)[:n] {
			member[p] = true
			list = append(list, uint16(p))
		}
		p := PortsOf(append(list, list[:n/2]...)...)
		if p.Len() != n {
			t.Fatalf("Len() = %d, want %d", p.Len(), n)
		}
		next := 0
		for port, want := range member {
			i, ok := p.Rank(uint16(port))
			if ok != want || ok && (i != next || p.At(i) != uint16(port)) {
				t.Fatalf("n=%d: Rank(%d) = %d, %v, want %d, %v", n, port, i, ok, next, want)
			}
			if ok {
				next++
			}
		}
		if n > 0 {
			back, err := ParsePorts(p.String())
			if err != nil || back.String() != p.String() {
				t.Fatalf("n=%d: String does not read back: %v", n, err)
			}
		}
	}
}

func TestPortsOfKeepsNoReferenceToItsList(t *testing.T) {
	list := []uint16{3, 1, 2}
	p := PortsOf(list...)
	list[0] = 9
	if p.String() != "1-3" || list[1] != 1 || list[2] != 2 {
		t.Errorf("ports are %v and the list %v", p, list)
	}
}

func TestZeroPortsIsEmpty(t *testing.T) {
	var p Ports
	if _, ok := p.Rank(80); ok || p.Len() != 0 || p.String() != "" {
		t.Errorf("the zero Ports has %d ports: %v", p.Len(), p)
	}
}

func TestPortLookupsDoNotAllocate(t *testing.T) {
	p := PortsOf(22, 80, 443)
	if n := testing.AllocsPerRun(100, func() { p.Rank(p.At(1)); p.Rank(9) }); n != 0 {
		t.Errorf("At and Rank allocate %v times", n)
	}
}

func BenchmarkPorts(b *testing.B) {
	for _, list := range []string{"80", "1-65535", "1-1024,3000,8000-8100"} {
		p, err := ParsePorts(list)
		if err != nil {
			b.Fatal(err)
		}
		order := rand.New(rand.NewPCG(1, 2)).Perm(p.Len())
		b.Run("op=at+rank/ports="+list, func(b *testing.B) {
			b.ReportAllocs()
			k := 0
			for b.Loop() {
				if _, ok := p.Rank(p.At(order[k])); !ok {
					b.Fatal("lost")
				}
				if k++; k == len(order) {
					k = 0
				}
			}
		})
	}
}
