package output

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"synoptic/internal/result"
)

// Snapshot is what Hosts kept at a moment. It never changes, and any goroutine may
// encode it while Hosts takes more.
type Snapshot struct {
	seen    []seen
	answers []answer
	senders []netip.Addr
}

// Snapshot takes one. It copies 56 bytes for each address and none for an answer,
// as answers are only ever added.
func (h *Hosts) Snapshot() Snapshot {
	h.shared = true
	return Snapshot{slices.Clone(h.seen), slices.Clip(h.answers), slices.Clip(h.senders)}
}

// The encoding has no version, which is that of the file it is put in. Numbers are
// varints, as encoding/binary has them:
//
//	count of addresses: each its length and bytes, that of its name, round trip in ns
//	count of senders:   each its length and bytes
//	count of answers:   each the index of its address, that of its sender and 1 or 0,
//	                    port (2 bytes, big endian), state, reason, suspicion, TTL

// AppendBinary implements encoding.BinaryAppender; it has no error.
func (s Snapshot) AppendBinary(dst []byte) ([]byte, error) {
	dst = binary.AppendUvarint(dst, uint64(len(s.seen)))
	for i := range s.seen {
		h := &s.seen[i]
		dst = appendAddr(dst, h.addr)
		dst = binary.AppendUvarint(dst, uint64(len(h.name)))
		dst = append(dst, h.name...)
		dst = binary.AppendUvarint(dst, uint64(h.rtt))
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.senders)))
	for _, a := range s.senders {
		dst = appendAddr(dst, a)
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.answers)))
	for i := range s.answers {
		a := &s.answers[i]
		dst = binary.AppendUvarint(dst, uint64(a.host))
		dst = binary.AppendUvarint(dst, uint64(a.sender))
		dst = binary.BigEndian.AppendUint16(dst, a.port)
		dst = append(dst, byte(a.state), byte(a.reason), byte(a.suspect), a.ttl)
	}
	return dst, nil
}

func appendAddr(dst []byte, a netip.Addr) []byte {
	bytes := a.AsSlice()
	return append(append(dst, byte(len(bytes))), bytes...)
}

// The least that each of these takes in the encoding, so that no count can claim
// more than there is.
const (
	minSeen   = 1 + 4 + 1 + 1
	minSender = 1 + 4
	minAnswer = 1 + 1 + 2 + 4
)

// errSnapshot is the error of data that no Snapshot has made.
var errSnapshot = errors.New("malformed snapshot of hosts")

// UnmarshalBinary implements encoding.BinaryUnmarshaler: Hosts becomes what it was
// when the Snapshot was taken, and goes on from there. Of malformed data it
// takes nothing.
func (h *Hosts) UnmarshalBinary(data []byte) error {
	in := reader{rest: data}
	got := NewHosts()
	got.seen = make([]seen, in.count(minSeen))
	for i := range got.seen {
		s := seen{addr: in.addr(), name: string(in.bytes(in.uvarint())), rtt: time.Duration(in.uvarint())}
		if s.name != "" && !PlainName(s.name) || s.rtt < 0 {
			in.bad = true
		}
		got.seen[i], got.index[s.addr] = s, uint32(i)
	}
	got.senders = make([]netip.Addr, in.count(minSender))
	for i := range got.senders {
		got.senders[i] = in.addr()
		got.sender[got.senders[i]] = uint32(i + 1)
	}
	got.answers = make([]answer, in.count(minAnswer))
	for i := range got.answers {
		host, sender, fixed := in.uvarint(), in.uvarint(), in.bytes(minAnswer-2)
		if in.bad || host >= uint64(len(got.seen)) || sender > uint64(len(got.senders)) {
			return fmt.Errorf("%w: answer %d", errSnapshot, i)
		}
		a := answer{
			uint32(host), uint32(sender), binary.BigEndian.Uint16(fixed),
			result.State(fixed[2]), result.Reason(fixed[3]), result.Suspect(fixed[4]), fixed[5],
		}
		if !a.state.Valid() || !a.reason.Valid() || !a.suspect.Valid() {
			return fmt.Errorf("%w: answer %d", errSnapshot, i)
		}
		got.answers[i] = a
	}
	switch {
	case in.bad:
		return errSnapshot
	case len(got.index) != len(got.seen), len(got.sender) != len(got.senders):
		return fmt.Errorf("%w: an address is there twice", errSnapshot)
	case len(in.rest) > 0:
		return fmt.Errorf("%w: %d bytes too many", errSnapshot, len(in.rest))
	}
	*h = *got
	return nil
}

// reader takes values off the front of data. After a value that is not there it
// gives zeros.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || r.bad {
		r.rest, r.bad = nil, true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count is that of things that take at least so many bytes each.
func (r *reader) count(least int) int {
	n := r.uvarint()
	if n > uint64(len(r.rest)/least) {
		r.rest, r.bad = nil, true
		return 0
	}
	return int(n)
}

// bytes are the data's own.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.rest, r.bad = nil, true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// addr is one as a scan has it.
func (r *reader) addr() netip.Addr {
	var length uint64
	if b := r.bytes(1); b != nil {
		length = uint64(b[0])
	}
	a, ok := netip.AddrFromSlice(r.bytes(length))
	if !ok || !plainAddr(a) {
		r.bad = true
	}
	return a
}
