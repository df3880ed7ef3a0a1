package synoptic_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The arrows of docs/architecture.md: who may import whom, and why not more.
// A package that is not listed may import nothing of this module.
var mayImport = map[string][]string{
	"internal/target":   {},
	"internal/permute":  {},
	"internal/siphash":  {},
	"internal/cookie":   {"internal/siphash"},
	"internal/wire":     {},
	"internal/result":   {},
	"internal/ledger":   {},
	"internal/netif":    {},
	"internal/estimate": {},
	"internal/method":   {"internal/result", "internal/wire"},
	"internal/plan":     {"internal/target", "internal/permute"},
	"internal/output":   {"internal/result"},
	"tx":                {"bpf/generate", "internal/plan", "internal/method", "internal/cookie", "internal/wire"},
	"rx":                {"internal/plan", "internal/method", "internal/cookie", "internal/wire", "internal/result", "bpf/validate"},
	"internal/scan": {"tx", "rx", "internal/ledger", "internal/plan", "internal/netif", "internal/result",
		"internal/cookie", "internal/method", "internal/wire", "internal/estimate", "bpf/generate", "bpf/validate"},
	// The system's connections are another way to probe, which scan does not
	// know: it implements scan's Prober, and Start takes scan's Config.
	"internal/connect": {"internal/scan", "tx", "rx", "internal/plan", "internal/method", "internal/result", "internal/cookie"},
	"bpf/respond":      {"internal/siphash", "internal/wire"},
	// The programs are a plan's and a key's; what probes look like, tx says.
	"bpf/generate":      {"internal/plan", "internal/cookie", "internal/wire"},
	"bpf/validate":      {"internal/cookie", "internal/method", "internal/wire"},
	"internal/lab":      {"bpf/respond", "internal/result"},
	"internal/services": {},
	"internal/cli":      {},
	// The file knows nothing of what is in it.
	"internal/checkpoint": {},
	"cmd/synscan": {"internal/scan", "internal/connect", "internal/target", "internal/output", "internal/result", "internal/netif",
		"internal/plan", "internal/method", "internal/services", "internal/cli", "internal/checkpoint", "internal/estimate"},
	"bpf/watch":        {"internal/siphash"},
	"detector":         {"bpf/watch", "detector/capture", "detector/filter", "detector/twin"},
	"detector/capture": {"bpf/watch"},
	"detector/filter":  {"bpf/watch"},
	"detector/naive":   {"bpf/watch"}, // what the tests of the others hold them against
	"detector/twin":    {"bpf/watch"},
	"detector/sink":    {"detector"},
	"cmd/synwatch":     {"detector", "detector/sink", "detector/filter", "detector/capture", "bpf/watch", "internal/cli"},
	"cmd/synlab":       {"internal/lab", "bpf/respond", "internal/target", "internal/result", "internal/output"},
	"bench":            {},
	"bench/report":     {},
}

// Each rule has its reason; a rule that the table above already implies is here
// because its breach would be hard to see in a review.
var never = []struct {
	from, to string // a package, and the beginning of an import path
	reason   string
}{
	{"tx", "synoptic/rx", "stateless means that both sides share the plan and the key, and nothing else"},
	{"rx", "synoptic/tx", "stateless means that both sides share the plan and the key, and nothing else"},
	{"cmd/synscan", "synoptic/internal/lab", "nothing that is shipped carries the simulated network"},
	{"cmd/synscan", "synoptic/detector", "a scanner is not a detector"},
	{"internal/scan", "synoptic/internal/connect", "a scan does not choose how it probes"},
	{"internal/scan", "github.com/spf13", "only cmd/ knows the command line"},
	{"detector", "github.com/spf13", "only cmd/ knows the command line"},
	{"cmd/synwatch", "synoptic/internal/lab", "nothing that is shipped carries the simulated network"},
	{"cmd/synwatch", "synoptic/internal/scan", "a detector is not a scanner"},
	{"cmd/synwatch", "synoptic/tx", "a detector is not a scanner"},
	{"detector", "synoptic/internal/scan", "a detector is not a scanner"},
	{"detector", "synoptic/detector/naive", "nothing that is shipped keeps every packet"},
}

// Libraries with one gateway each, so that each can be replaced in one place.
var gateways = map[string][]string{
	"golang.org/x/time/rate":              {"tx"},
	"gonum.org/v1/gonum":                  {"internal/estimate"},
	"gonum.org/v1/plot":                   {"bench/report"},
	"github.com/google/gopacket/afpacket": {"rx"},
	"github.com/google/gopacket":          {"rx"}, // through afpacket
	"github.com/google/gopacket/layers":   {},     // tests; it takes 4 ms to start
	"github.com/cilium/ebpf":              {"bpf/"},
	"github.com/vishvananda/netlink":      {"internal/netif", "internal/lab", "bpf/"},
	"os/exec":                             {"internal/lab", "cmd/synlab"}, // a scanner starts no other program
	"log":                                 {},                             // libraries return errors, cmd prints
	"net/http":                            {"cmd/synwatch"},               // metrics; nothing else talks to anybody but targets
	"github.com/prometheus":               {"cmd/synwatch"},
}

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func TestImportsFollowTheArrows(t *testing.T) {
	seen := 0
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, "synoptic/")
		allowed, known := mayImport[from]
		if !known && from != "synoptic" {
			t.Errorf("%s has no place in the picture: add it to docs/architecture.md and to this table", from)
		}
		for _, imported := range p.Imports {
			seen++
			if to, ours := strings.CutPrefix(imported, "synoptic/"); ours && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s, an arrow that the picture does not have", from, to)
			}
			for _, rule := range never {
				if from == rule.from && strings.HasPrefix(imported, rule.to) {
					t.Errorf("%s imports %s: %s", from, imported, rule.reason)
				}
			}
			for library, users := range gateways {
				if (imported == library || strings.HasPrefix(imported, library+"/")) && !slices.ContainsFunc(users, func(u string) bool {
					return from == u || strings.HasSuffix(u, "/") && strings.HasPrefix(from, u)
				}) {
					t.Errorf("%s imports %s, which belongs to %v", from, imported, users)
				}
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d imports were seen: is the list complete?", seen)
	}
}
