package target

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// zoneFile is a Resolver over fixed names, which counts what it is asked.
type zoneFile struct {
	names map[string][]string
	mu    sync.Mutex
	asked map[string]int
}

var errNoSuchHost = errors.New("no such host")

func (z *zoneFile) resolve(_ context.Context, host string) ([]netip.Addr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.asked == nil {
		z.asked = map[string]int{}
	}
	z.asked[host]++
	list, ok := z.names[host]
	if !ok {
		return nil, errNoSuchHost
	}
	var addrs []netip.Addr
	for _, a := range list {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, nil
}

var exampleZone = map[string][]string{
	"www.example.com":   {"9.0.0.1", "2001:470::1", "9.0.0.2"},
	"mapped.example":    {"::ffff:9.0.0.3"},
	"intranet.example.": {"10.0.0.1"},
	"_srv.ex-1.example": {"9.0.0.4"},
	"localhost":         {"127.0.0.1", "::1"},
	"1.2.3.four":        {"9.0.0.5"},
	"zoned.example":     {"fe80::1%eth0"},
	"empty.example":     {},
}

func TestHostNamesStandForAllTheirAddresses(t *testing.T) {
	tests := []struct{ name, words, exclude, want string }{
		{"all_addresses", "www.example.com", "", "9.0.0.1-9.0.0.2 2001:470::1"},
		{"among_other_words", "9.0.0.3 www.example.com", "", "9.0.0.1-9.0.0.3 2001:470::1"},
		{"excluded", "9.0.0.0/30", "www.example.com", "9.0.0.0 9.0.0.3"},
		{"mapped_addresses_are_ipv4", "mapped.example", "", "9.0.0.3"},
		{"special_addresses_are_named_outright", "localhost intranet.example.", "", "10.0.0.1 127.0.0.1 ::1"},
		{"underscore_and_hyphen", "_srv.ex-1.example", "", "9.0.0.4"},
		{"number_like_but_for_the_last_label", "1.2.3.four", "", "9.0.0.5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			z := zoneFile{names: exampleZone}
			s, _, err := Parse(context.Background(), Words(strings.Fields(tt.words)...), Words(strings.Fields(tt.exclude)...), z.resolve)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(ranges(s), " "); got != tt.want {
				t.Errorf("%s less %s is %s, want %s", tt.words, tt.exclude, got, tt.want)
			}
		})
	}
}

func TestReportListsHostsOnceInOrder(t *testing.T) {
	z := zoneFile{names: exampleZone}
	_, report, err := Parse(context.Background(), Words("www.example.com", "mapped.example", "WWW.example.com", "www.example.com"), nil, z.resolve)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Hosts) != 2 || report.Hosts[0].Name != "www.example.com" || report.Hosts[1].Name != "mapped.example" {
		t.Fatalf("hosts are %v", report.Hosts)
	}
	if a := report.Hosts[1].Addrs; len(a) != 1 || a[0] != netip.MustParseAddr("9.0.0.3") {
		t.Errorf("mapped.example is %v, want 9.0.0.3", a)
	}
	if z.asked["www.example.com"] != 1 || z.asked["WWW.example.com"] != 0 {
		t.Errorf("asked %v, want each name once", z.asked)
	}
}

func TestHostNameErrors(t *testing.T) {
	tests := []struct {
		name, word, says string
		is               error
	}{
		{"unknown", "nowhere.example", `"nowhere.example": look up host: no such host`, errNoSuchHost},
		{"no_addresses", "empty.example", "no addresses", nil},
		{"zoned", "zoned.example", "fe80::1%eth0 is not an address to scan", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			z := zoneFile{names: exampleZone}
			_, _, err := Parse(context.Background(), Words(tt.word), nil, z.resolve)
			if err == nil || !strings.Contains(err.Error(), tt.says) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("the error is %v, want %q", err, tt.says)
			}
			if errors.Is(err, ErrSyntax) {
				t.Errorf("%v is a syntax error", err)
			}
			_, _, err = Parse(context.Background(), Words("9.0.0.1"), Words(tt.word), z.resolve)
			if err == nil || !strings.HasPrefix(err.Error(), "exclude ") {
				t.Errorf("as an exclusion: %v", err)
			}
		})
	}
	t.Run("no_resolver", func(t *testing.T) {
		_, _, err := Parse(context.Background(), Words("www.example.com"), nil, nil)
		if err == nil || !strings.Contains(err.Error(), "give an address") {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		z := zoneFile{names: exampleZone}
		if _, _, err := Parse(ctx, Words("www.example.com"), nil, z.resolve); !errors.Is(err, context.Canceled) || len(z.asked) != 0 {
			t.Errorf("the error is %v after asking %v", err, z.asked)
		}
	})
}

func TestFirstUnknownNameIsTheOneReported(t *testing.T) {
	var words []Word
	zone := map[string][]string{}
	for k := range 200 {
		w := Word{Text: "h" + strings.Repeat("x", k%60) + string(rune('a'+k/60)) + ".example", File: "list.txt", Line: k + 1}
		words = append(words, w)
		if k != 77 && k < 150 {
			zone[w.Text] = []string{"9.0.0.1"}
		}
	}
	for range 20 {
		z := zoneFile{names: zone}
		_, _, err := Parse(context.Background(), words, nil, z.resolve)
		if err == nil || !strings.HasPrefix(err.Error(), "list.txt:78: ") {
			t.Fatalf("the error is %v, want one at list.txt:78", err)
		}
	}
}
