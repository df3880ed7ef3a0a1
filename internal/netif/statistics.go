package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// statistics asks the kernel for the counters of interfaces, many times a second while a
// scan runs: on one socket, into one buffer, and of an answer it reads what it needs
// (rtnetlink(7)). It is not safe for concurrent use.
type statistics struct {
	fd       int
	question question
	answer   [16 << 10]byte
}

// question asks for an interface.
type question struct {
	head  unix.NlMsghdr
	link  unix.IfInfomsg
	where unix.RtAttr
	space int32
}

// device is what is known of an interface: nothing of one that is gone.
type device struct {
	kind string // "veth" and the like; "": a card, or what looks like one
	// peer is the index of a veth's far end, and space how the socket's network
	// namespace numbers that of the far end, or -1 for itself.
	peer, space int32
	counters    netlink.LinkStatistics64
}

// openStatistics opens the socket, in the calling thread's network namespace.
func openStatistics() (*statistics, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return &statistics{fd: fd}, nil
}

func (s *statistics) close() error { return unix.Close(s.fd) }

// of returns what is known of an interface in the network namespace of a number, -1 for
// the socket's own. The error is ENODEV for one that is gone.
func (s *statistics) of(index, space int32) (d device, err error) {
	q := &s.question
	size := unsafe.Sizeof(*q)
	if space < 0 {
		size = unsafe.Offsetof(q.where)
	}
	*q = question{
		head:  unix.NlMsghdr{Len: uint32(size), Type: unix.RTM_GETLINK, Flags: unix.NLM_F_REQUEST, Seq: q.head.Seq + 1},
		link:  unix.IfInfomsg{Index: index},
		where: unix.RtAttr{Len: unix.SizeofRtAttr + 4, Type: unix.IFLA_TARGET_NETNSID},
		space: space,
	}
	if _, err := unix.Write(s.fd, (*[unsafe.Sizeof(*q)]byte)(unsafe.Pointer(q))[:size]); err != nil {
		return d, err
	}
	for {
		n, err := unix.Read(s.fd, s.answer[:]) // it is there already
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return d, err
		case n < unix.SizeofNlMsghdr:
			return d, errTruncated
		}
		if binary.NativeEndian.Uint32(s.answer[8:]) == q.head.Seq {
			return parseDevice(s.answer[:n])
		}
	}
}

var errTruncated = errors.New("a truncated answer")

// parseDevice reads an answer: struct nlmsghdr, struct ifinfomsg, attributes.
func parseDevice(answer []byte) (d device, err error) {
	body := answer[unix.SizeofNlMsghdr:]
	switch binary.NativeEndian.Uint16(answer[4:]) {
	case unix.NLMSG_ERROR:
		if len(body) < 4 {
			return d, errTruncated
		}
		return d, unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
	case unix.RTM_NEWLINK:
		if len(body) < unix.SizeofIfInfomsg {
			return d, errTruncated
		}
	default:
		return d, errors.New("an answer to something else")
	}
	d.space = -1
	for kind, value := range attributes(body[unix.SizeofIfInfomsg:]) {
		switch {
		case kind == unix.IFLA_STATS64:
			copy((*[unsafe.Sizeof(d.counters)]byte)(unsafe.Pointer(&d.counters))[:], value)
		case kind == unix.IFLA_LINK && len(value) == 4:
			d.peer = int32(binary.NativeEndian.Uint32(value))
		case kind == unix.IFLA_LINK_NETNSID && len(value) == 4:
			d.space = int32(binary.NativeEndian.Uint32(value))
		case kind == unix.IFLA_LINKINFO:
			for kind, value := range attributes(value) {
				if kind == unix.IFLA_INFO_KIND {
					d.kind = unix.ByteSliceToString(value)
				}
			}
		}
	}
	return d, nil
}

// attributes yields those in a message: a length, a kind, a value, and padding to four
// bytes.
func attributes(b []byte) func(yield func(kind uint16, value []byte) bool) {
	return func(yield func(kind uint16, value []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofRtAttr || size > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&^unix.NLA_F_NESTED, b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}
