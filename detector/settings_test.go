package detector_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"synoptic/detector"
	"synoptic/detector/filter"
)

// TestSettingsThatDoNotFitAreKnownBeforehand: the kernel half has room for so
// many tests of a packet, for the filter and the lists together.
func TestSettingsThatDoNotFitAreKnownBeforehand(t *testing.T) {
	networks := func(n int) (list []netip.Prefix) {
		for i := range n {
			list = append(list, netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.0/25", i/256, i%256)))
		}
		return list
	}
	ports, err := filter.Compile("dst port 80 or dst port 90 or dst port 100")
	if err != nil {
		t.Fatal(err)
	}
	settings := detector.Settings{Ruleset: published(), Filter: ports}
	for _, c := range []struct {
		allowed int
		want    string // in the error; "" is none
	}{
		{100, ""},
		{254, "the filters and lists need"},
		{300, "the lists of sources and destinations to leave out"},
	} {
		settings.Allow = networks(c.allowed)
		switch err := settings.Validate(); {
		case c.want == "" && err != nil:
			t.Errorf("%d networks: %v", c.allowed, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%d networks: error %v, want one with %q", c.allowed, err, c.want)
		}
	}
	settings.Allow, settings.Policies = nil, nil
	if settings.Validate() == nil {
		t.Error("no policy is no error")
	}
}
