package output

import (
	"strconv"

	"synoptic/internal/result"
)

// List is a Format as masscan's -oL writes it: state, protocol, port, address
// and the second of the answer, between two comments.
var List = Format{Line: appendList, open: "#masscan\n", close: "# end\n", end: "\n"}

func appendList(dst []byte, r *result.Record) []byte {
	dst = append(dst, r.State.String()...)
	dst = append(dst, " tcp "...)
	dst = strconv.AppendUint(dst, uint64(r.Addr.Port()), 10)
	dst = append(dst, ' ')
	dst = r.Addr.Addr().AppendTo(dst)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, r.Time.Unix(), 10)
	return append(dst, '\n')
}

// Array is a Format as masscan's -oJ writes it: an array with an object for each
// record, of which the ports are an array of one. Objects and commas have lines
// of their own, blanks included, because there are readers that take it line by
// line. A ttl of 0 is one that is not known.
var Array = Format{Line: appendElement, open: "[", first: "\n", between: ",\n", close: "]\n", end: "}\n"}

func appendElement(dst []byte, r *result.Record) []byte {
	dst = append(dst, `{   "ip": "`...)
	dst = r.Addr.Addr().AppendTo(dst)
	dst = append(dst, `",   "timestamp": "`...)
	dst = strconv.AppendInt(dst, r.Time.Unix(), 10)
	dst = append(dst, `", "ports": [ {"port": `...)
	dst = strconv.AppendUint(dst, uint64(r.Addr.Port()), 10)
	dst = append(dst, `, "proto": "tcp", "status": "`...)
	dst = append(dst, r.State.String()...)
	dst = append(dst, `", "reason": "`...)
	dst = append(dst, flags(r)...)
	dst = append(dst, `", "ttl": `...)
	dst = strconv.AppendUint(dst, uint64(r.TTL), 10)
	return append(dst, "} ] }\n"...)
}

// flags is the reason in masscan's words, which for a reset are its flags: an
// answer to a segment without ACK has one (RFC 9293 section 3.10.7.1).
func flags(r *result.Record) string {
	if r.Reason != result.Reset {
		return r.Reason.String()
	}
	switch r.Method {
	case "maimon", "ack", "window":
		return "rst"
	}
	return "rst-ack"
}
