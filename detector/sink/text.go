package sink

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"synoptic/detector"
)

// NewText returns a sink of lines for people on an open file, which it does not
// close. In the journal, which has the time and the name itself, a line begins
// with its priority (sd-daemon(3)) in place of the prefix and the alert's time.
func NewText(f *os.File, name, prefix string, journal bool, c Config) *Sink {
	lines := func(b []byte, a *detector.Alert) []byte {
		if journal {
			return fmt.Appendf(b, "<%d>%s\n", severity(a), Describe(a))
		}
		return fmt.Appendf(b, "%s%s %s\n", prefix, a.Time.Local().Format("2006-01-02 15:04:05.000"), Describe(a))
	}
	return begin(name, lines, newStream(f, name), c)
}

// Describe says of an alert in one line what people want to know first.
func Describe(a *detector.Alert) string {
	var b strings.Builder
	b.WriteString(a.Source.String())
	if a.Prefix.IsValid() && !a.Prefix.IsSingleIP() {
		fmt.Fprintf(&b, " (%v)", a.Prefix)
	}
	took := short(a.Time.Sub(a.Begin))
	if a.Summary {
		fmt.Fprintf(&b, " has stopped: %s, %s, %s to %s in %s by %s", a.Kind, a.Direction, counted(a.Probes, "probe"), hosts(a), took, a.Policy)
		if a.Handshakes > 0 {
			fmt.Fprintf(&b, ", %s completed", counted(a.Handshakes, "connection"))
		}
	} else {
		fmt.Fprintf(&b, " scans %s: %s, %s, %d points in %s by %s (%s), ports %s", hosts(a), a.Kind, a.Direction, a.Points, took, a.Policy,
			line(a), strings.Join(ports(a), " "))
	}
	if a.Interface != "" {
		fmt.Fprintf(&b, ", on %s", a.Interface)
	}
	return b.String()
}

// hosts says who is scanned.
func hosts(a *detector.Alert) string {
	if a.Hosts > 1 {
		return fmt.Sprintf("about %d hosts, last %v", a.Hosts, a.Destination)
	}
	return a.Destination.String()
}

// line says where the policy draws its line.
func line(a *detector.Alert) string {
	limit := fmt.Sprintf("more than %d", a.Threshold)
	if a.Reaches {
		limit = fmt.Sprintf("%d or more", a.Threshold)
	}
	if a.Policy == detector.Scanlogd {
		return fmt.Sprintf("%s, gaps up to %v", limit, a.Span)
	}
	return fmt.Sprintf("%s in %v", limit, a.Span)
}

// ports lists the ports of the proof, each once, in order, neighbours as a
// range; those of UDP behind, and with its name.
func ports(a *detector.Alert) []string {
	proof := slices.SortedFunc(slices.Values(a.Proof), func(p, q detector.Point) int {
		switch {
		case p.UDP != q.UDP && q.UDP:
			return -1
		case p.UDP != q.UDP:
			return 1
		}
		return cmp.Compare(p.Port, q.Port)
	})
	var words []string
	for i := 0; i < len(proof); {
		first, last := proof[i], proof[i]
		for i++; i < len(proof) && proof[i].UDP == last.UDP && (proof[i].Port == last.Port || proof[i].Port == last.Port+1); i++ {
			last = proof[i]
		}
		word := fmt.Sprint(first.Port)
		switch last.Port - first.Port {
		case 0:
		case 1:
			word += fmt.Sprintf(" %d", last.Port)
		default:
			word += fmt.Sprintf("-%d", last.Port)
		}
		for w := range strings.FieldsSeq(word) {
			if first.UDP {
				w += "/udp"
			}
			words = append(words, w)
		}
	}
	return words
}

// short rounds a duration to what is worth reading.
func short(d time.Duration) time.Duration {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond)
	case d < time.Second:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}

func counted(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Severities of syslog, RFC 5424 section 6.2.1.
const (
	warning = 4
	notice  = 5
)

func severity(a *detector.Alert) int {
	if a.Summary {
		return notice
	}
	return warning
}
