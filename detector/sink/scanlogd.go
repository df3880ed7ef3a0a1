package sink

import (
	"fmt"
	"os"

	"synoptic/detector"
)

// NewScanlogd returns a sink of scanlogd's lines in a file as a system log has
// them, to which it appends: one for each scan. An error is one that would not
// be better later.
func NewScanlogd(name, host string, c Config) (*Sink, error) {
	out, err := openFile(name)
	if err != nil {
		return nil, err
	}
	return begin("scanlogd-line", scanlogdLines(host), out, c), nil
}

// NewScanlogdStream is NewScanlogd for an open file, which it does not close.
func NewScanlogdStream(f *os.File, name, host string, c Config) *Sink {
	return begin("scanlogd-line", scanlogdLines(host), newStream(f, name), c)
}

func scanlogdLines(host string) format {
	return func(b []byte, a *detector.Alert) []byte {
		if a.Summary {
			return b
		}
		// What a system log puts before a message: local time without a year, RFC
		// 3164 section 4.1.2.
		b = fmt.Appendf(b, "%s %s scanlogd: ", a.Time.Local().Format("Jan _2 15:04:05"), word(host, "localhost"))
		return append(appendScanlogd(b, a), '\n')
	}
}

// appendScanlogd appends what scanlogd would log, scanlogd(8): the fields in
// brackets there (source port, TOS, TTL) are left out if they varied, and
// here also if they are not known. The time is that of the first packet.
func appendScanlogd(b []byte, a *detector.Alert) []byte {
	b = fmt.Appendf(b, "%s to %s", a.Source, a.Destination)
	if a.Hosts > 1 {
		b = append(b, " and others,"...)
	}
	b = append(b, " ports "...)
	for i, p := range a.Proof {
		if again(a.Proof[:i], p) {
			continue
		}
		b = fmt.Appendf(b, "%d, ", p.Port)
	}
	b = fmt.Appendf(b, "..., %s", flags(a.Kind))
	if a.MinTTL != 0 && a.MinTTL == a.MaxTTL {
		b = fmt.Appendf(b, ", TTL %d", a.MinTTL)
	}
	return fmt.Appendf(b, " @%s", a.Begin.Local().Format("15:04:05"))
}

// again tells whether a port is there already: scanlogd lists each once.
func again(before []detector.Point, p detector.Point) bool {
	for _, b := range before {
		if b.Port == p.Port && b.UDP == p.UDP {
			return true
		}
	}
	return false
}

// flags are the TCP flags FIN, SYN, RST, PSH, ACK, URG and the two reserved
// ones of all packets of a scan: in capitals if always set, small if never, and
// a question mark if it depends, or if the packets are not TCP.
func flags(k detector.Kind) string {
	switch k {
	case detector.Connect, detector.SYN:
		return "fSrpauxy"
	case detector.NULL:
		return "fsrpauxy"
	case detector.FIN:
		return "Fsrpauxy"
	case detector.XMAS:
		return "FsrPaUxy"
	case detector.Maimon:
		return "FsrpAuxy"
	case detector.ACK:
		return "fsrpAuxy"
	}
	return "????????"
}
