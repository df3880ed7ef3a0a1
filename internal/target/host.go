package target

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
)

// Resolver returns the addresses of a host. It may be called by several
// goroutines at once. net.DefaultResolver is one:
//
//	func(ctx context.Context, host string) ([]netip.Addr, error) {
//		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
//	}
type Resolver func(ctx context.Context, host string) ([]netip.Addr, error)

// checkHost reports why a word that is no address is no host name either. The
// rules are those of RFC 1123 section 2.1 with the underscore, which DNS has
// and hosts are named with. That section also says why the last label is never
// a number: it is how an address is told from a name.
func checkHost(text string) error {
	switch {
	case strings.Contains(text, "/"):
		return malformed("a prefix length needs an address, not a host name")
	case strings.Contains(text, ","):
		return malformed("targets are separated by spaces, not commas")
	case strings.Contains(text, "*"):
		return malformed("a host name has no wildcards")
	}
	name := strings.TrimSuffix(text, ".")
	if len(name) > 253 { // RFC 1035 section 2.3.4: 255 on the wire, with length bytes
		return malformed("a host name has at most 253 characters, not %d", len(name))
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return malformed("this is neither an address nor a host name: a label is empty")
		case len(label) > 63:
			return malformed("this is neither an address nor a host name: %s is longer than 63 characters", quote(label))
		case strings.ContainsFunc(label, notHostCharacter):
			return malformed("this is neither an address nor a host name: host names have letters a-z, digits and hyphens (xn-- for any other script)")
		case label[0] == '-' || label[len(label)-1] == '-':
			return malformed("this is neither an address nor a host name: %s begins or ends with a hyphen", quote(label))
		}
		last = label
	}
	if isNumber(last) {
		return malformed("this is neither an address nor a host name: the last label of a host name is not a number")
	}
	return nil
}

const hostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

func notHostCharacter(r rune) bool { return !strings.ContainsRune(hostCharacters, r) }

// isNumber reports whether a resolver in the C tradition would take a label for
// a number (inet_aton(3)): decimal, or hexadecimal with 0x.
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(strings.ToLower(label), "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return isDecimal(label)
}

// maxLookups is how many names are looked up at once: enough to hide the delay
// of a distant server, too few to bother it.
const maxLookups = 16

// lookUp resolves names, each once. The error is that of the first word that
// fails.
func (r Resolver) lookUp(ctx context.Context, words []Word) ([]Host, error) {
	var names []Word
	seen := make(map[string]bool)
	for _, w := range words {
		if key := strings.ToLower(w.Text); !seen[key] {
			seen[key] = true
			names = append(names, w)
		}
	}
	hosts := make([]Host, len(names))
	errs := make([]error, len(names))
	var (
		workers sync.WaitGroup
		next    atomic.Int64
		failed  atomic.Bool
	)
	for range min(maxLookups, len(names)) {
		workers.Go(func() {
			// Names are taken in order and a name once taken is finished, so the
			// first that fails is always among the errors.
			for !failed.Load() {
				k := int(next.Add(1)) - 1
				if k >= len(names) {
					return
				}
				hosts[k].Name = names[k].Text
				hosts[k].Addrs, errs[k] = r.addrs(ctx, names[k].Text)
				if errs[k] != nil {
					failed.Store(true)
				}
			}
		})
	}
	workers.Wait()
	for k, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%v: %w", names[k], err)
		}
	}
	return hosts, nil
}

// addrs resolves one name into addresses that a Set can hold.
func (r Resolver) addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	if r == nil {
		return nil, malformed("host names are not looked up here: give an address")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	found, err := r(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("look up host: %w", err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("look up host: no addresses")
	}
	addrs := make([]netip.Addr, len(found))
	for i, a := range found {
		// net.Resolver returns IPv4 addresses in their mapped form at times.
		addrs[i] = a.Unmap()
		if !a.IsValid() || a.Zone() != "" {
			return nil, fmt.Errorf("look up host: %v is not an address to scan", a)
		}
	}
	return addrs, nil
}
