package output

import (
	"strconv"
	"time"

	"synoptic/internal/result"
)

// timestamp is RFC 3339 with all nine digits, so that lines sort by time.
const timestamp = "2006-01-02T15:04:05.000000000Z07:00"

// JSON is a Format of one JSON object per line:
//
//	timestamp  RFC 3339 in UTC, to the nanosecond
//	host, ip   the address, twice; or in host its name, where that is known
//	port, protocol, state, reason, method
//	tls        false, which the same readers expect
//	ttl        of the answer; not there when nothing answered, or only the system saw it
//	window     the TCP window of the answer, if it was a segment
//	rtt_us     the round trip in microseconds, when known
//	reason_ip  who sent the ICMP error, when one was sent
//	suspect    why the answer should not be taken at face value
//
// No value needs escaping: all are numbers, addresses, host names or words
// from our own tables.
var JSON = Format{Line: appendJSON, end: "\n"}

func appendJSON(dst []byte, r *result.Record) []byte {
	dst = append(dst, `{"timestamp":"`...)
	dst = r.Time.UTC().AppendFormat(dst, timestamp)
	dst = append(dst, `","host":"`...)
	if r.Host != "" {
		dst = append(dst, r.Host...)
	} else {
		dst = r.Addr.Addr().AppendTo(dst)
	}
	dst = append(dst, `","ip":"`...)
	dst = r.Addr.Addr().AppendTo(dst)
	dst = append(dst, `","port":`...)
	dst = strconv.AppendUint(dst, uint64(r.Addr.Port()), 10)
	dst = append(dst, `,"protocol":"tcp","state":"`...)
	dst = append(dst, r.State.String()...)
	dst = append(dst, `","reason":"`...)
	dst = append(dst, r.Reason.String()...)
	if r.TTL > 0 {
		dst = append(dst, `","ttl":`...)
		dst = strconv.AppendUint(dst, uint64(r.TTL), 10)
		dst = append(dst, `,"method":"`...)
	} else {
		dst = append(dst, `","method":"`...)
	}
	dst = append(dst, r.Method...)
	dst = append(dst, `","tls":false`...)
	if r.RTT > 0 {
		dst = append(dst, `,"rtt_us":`...)
		dst = strconv.AppendInt(dst, int64(max(r.RTT/time.Microsecond, 1)), 10)
	}
	if r.ReasonIP.IsValid() {
		dst = append(dst, `,"reason_ip":"`...)
		dst = r.ReasonIP.AppendTo(dst)
		dst = append(dst, '"')
	}
	if r.TTL > 0 && (r.Reason == result.SynAck || r.Reason == result.Reset) {
		dst = append(dst, `,"window":`...)
		dst = strconv.AppendUint(dst, uint64(r.Window), 10)
	}
	if r.Suspect != result.NotSuspect {
		dst = append(dst, `,"suspect":"`...)
		dst = append(dst, r.Suspect.String()...)
		dst = append(dst, '"')
	}
	return append(dst, '}', '\n')
}
