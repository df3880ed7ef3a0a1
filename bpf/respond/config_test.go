package respond

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestConfigSurvivesTheKernel(t *testing.T) {
	full := Config{
		Key:     [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		Prefix4: netip.MustParsePrefix("198.18.128.0/17"), Prefix6: netip.MustParsePrefix("2001:db8::/33"),
		Open: 1, Closed: 2, Rejected: Whole - 3,
		Personality: BSD, Error: AdminProhibited, Quote: 28,
		Router4: netip.MustParseAddr("192.0.2.1"), Router6: netip.MustParseAddr("2001:db8::1"),
		LoseShare: Fraction(1, 3), LoseTries: 3, LossEndpoints: 77, SkipChecksums: true,
		Loss: Whole - 1, Police: 1 << 31,
	}
	everyAddress := DefaultConfig()
	everyAddress.Prefix4, everyAddress.Prefix6 = netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	single := DefaultConfig()
	single.Prefix4, single.Prefix6 = netip.MustParsePrefix("255.255.255.255/32"), netip.Prefix{}
	for i, cfg := range []Config{DefaultConfig(), full, everyAddress, single, {}} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			r := load(t, cfg)
			got, err := r.Config()
			if err != nil {
				t.Fatal(err)
			}
			if got != cfg.withDefaults() {
				t.Errorf("got  %+v\nwant %+v", got, cfg.withDefaults())
			}
		})
	}
}

func TestInvalidConfigIsRefused(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"want an IPv4 prefix":     func(c *Config) { c.Prefix4 = c.Prefix6 },
		"want an IPv6 prefix":     func(c *Config) { c.Prefix6 = netip.MustParsePrefix("::ffff:10.0.0.0/104") },
		"more than the whole":     func(c *Config) { c.Open = Whole },
		"probes that are lost":    func(c *Config) { c.Loss = Whole + 1 },
		"endpoints that lose: mo": func(c *Config) { c.LoseShare = Whole + 1 },
		"personality 9":           func(c *Config) { c.Personality = 9 },
		"quote of 9 bytes":        func(c *Config) { c.Quote = 9 },
		"want an IPv6 addr":       func(c *Config) { c.Router6 = netip.MustParseAddr("192.0.2.1") },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate: %v, want %q", err, want)
		}
	}
}

func TestShare(t *testing.T) {
	for text, want := range map[string]Share{
		"0": 0, "1": Whole, "1/64": 1 << 26, "3/64": 3 << 26, "0.25": 1 << 30, "1/3": 1431655765, "1e-6": 4294,
	} {
		got, err := ParseShare(text)
		if err != nil || got != want {
			t.Errorf("ParseShare(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "1.5", "2", "1/0", "x", "65/64", "NaN", "Inf"} {
		if got, err := ParseShare(text); err == nil {
			t.Errorf("ParseShare(%q) = %s", text, got)
		}
	}
	for share, want := range map[Share]string{0: "0", Whole: "1", 3 << 26: "3/64", 1431655765: "0.333333"} {
		if got := share.String(); got != want {
			t.Errorf("%d is written %q, want %q", share, got, want)
		}
	}
	if Fraction(1, 3) != 1431655765 || Fraction(0, 1) != 0 || Fraction(7, 7) != Whole {
		t.Error("Fraction is not the quotient rounded down")
	}
}

// TestExtremeShares: all or nothing is exact, there is no last hash value left
// over.
func TestExtremeShares(t *testing.T) {
	rnd := random(t)
	for want, change := range map[State]func(*Config){
		Open:     func(c *Config) { c.Open = Whole },
		Closed:   func(c *Config) { c.Closed = Whole },
		Rejected: func(c *Config) { c.Rejected = Whole },
		Silent:   func(*Config) {},
	} {
		cfg := DefaultConfig()
		cfg.Open, cfg.Closed = 0, 0
		change(&cfg)
		for range 1000 {
			if got := cfg.Truth().State(randomEndpoint(rnd)); got != want {
				t.Fatalf("%s where all is %s", got, want)
			}
		}
		if got := cfg.Truth().State(netip.MustParseAddrPort("192.0.2.1:80")); got != Outside {
			t.Errorf("an address outside is %s", got)
		}
	}
}
