package output

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"synoptic/internal/result"
)

// ReadJSON reads what JSON has written and gives each record to a function,
// which may keep nothing of it, and whose error ends the reading. An error names
// the input and the line. Keys that are not JSON's own are passed over; a line
// that lacks what every result has is an error, and so is half a line.
func ReadJSON(in io.Reader, name string, each func(*result.Record) error) error {
	lines := bufio.NewScanner(in) // lines are far below its limit of 64 KiB
	n := 0
	for lines.Scan() {
		n++
		record, err := parseJSON(lines.Bytes())
		if err != nil {
			return fmt.Errorf("read %s: line %d is no result as -oD writes it: %w", name, n, err)
		}
		if err := each(&record); err != nil {
			return err
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("read %s: line %d is no result as -oD writes it: it is too long", name, n+1)
	} else if err != nil {
		return fmt.Errorf("read %s: %w", name, cause(err))
	}
	return nil
}

func parseJSON(line []byte) (result.Record, error) {
	var got struct {
		Timestamp time.Time  `json:"timestamp"`
		Host      string     `json:"host"`
		IP        netip.Addr `json:"ip"`
		Port      *uint16    `json:"port"`
		Protocol  string     `json:"protocol"`
		State     string     `json:"state"`
		Reason    string     `json:"reason"`
		Method    string     `json:"method"`
		TTL       uint8      `json:"ttl"`
		Window    uint16     `json:"window"`
		RTT       int64      `json:"rtt_us"`
		ReasonIP  netip.Addr `json:"reason_ip"`
		Suspect   string     `json:"suspect"`
	}
	if err := json.Unmarshal(line, &got); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			err = fmt.Errorf("%s is %s", cmp.Or(e.Field, "it"), e.Value) // "port is string"
		}
		return result.Record{}, err
	}
	state, stateOK := result.ParseState(got.State)
	why, reasonOK := result.ParseReason(got.Reason)
	suspect, suspectOK := result.ParseSuspect(got.Suspect)
	switch {
	case got.Timestamp.IsZero():
		return result.Record{}, errors.New("no timestamp")
	case !got.IP.IsValid():
		return result.Record{}, errors.New("no ip")
	case !plainAddr(got.IP):
		return result.Record{}, fmt.Errorf("ip %q", got.IP)
	case got.ReasonIP.IsValid() && !plainAddr(got.ReasonIP):
		return result.Record{}, fmt.Errorf("reason_ip %q", got.ReasonIP)
	case got.Port == nil:
		return result.Record{}, errors.New("no port")
	case got.Protocol != "tcp":
		return result.Record{}, fmt.Errorf("protocol %q", got.Protocol)
	case !stateOK:
		return result.Record{}, fmt.Errorf("state %q", got.State)
	case !reasonOK:
		return result.Record{}, fmt.Errorf("reason %q", got.Reason)
	case !suspectOK:
		return result.Record{}, fmt.Errorf("suspect %q", got.Suspect)
	case got.Method == "":
		return result.Record{}, errors.New("no method")
	}
	name := ""
	if addr, err := netip.ParseAddr(got.Host); got.Host != "" && (err != nil || addr != got.IP) {
		if name = got.Host; !PlainName(name) {
			return result.Record{}, fmt.Errorf("host %q", name)
		}
	}
	return result.Record{
		Time: got.Timestamp, Addr: netip.AddrPortFrom(got.IP, *got.Port), State: state, Reason: why, Suspect: suspect,
		Method: got.Method, TTL: got.TTL, Window: got.Window, RTT: time.Duration(got.RTT) * time.Microsecond, ReasonIP: got.ReasonIP,
		Host: name,
	}, nil
}

// plainAddr tells whether an address is one that a scan has: without a zone, which
// may be any text, and not an IPv4 address in IPv6's clothes.
func plainAddr(a netip.Addr) bool { return a.Zone() == "" && !a.Is4In6() }
