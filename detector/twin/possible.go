package twin

import "synoptic/bpf/watch"

// systemHeader is the length of a TCP header, in bytes, from which on its
// options are an operating system's: they add up to 12 bytes or more.
const systemHeader = 32

// possible tells whether f may be a probe, and of which kind. Context is asked,
// and told to the counters, only where flags do not decide.
func (t *Twin) possible(f *Frame, c watch.Context) (watch.Kind, bool) {
	switch f.Class {
	case Tiny:
		return watch.Tiny, true
	case TCP:
		switch {
		case f.Flags&RST != 0:
			return 0, false
		case f.Flags&ACK == 0:
			return kindWithoutACK(f), true
		}
		return kindWithACK(f.Flags), t.strange(f, c)
	case UDP:
		return watch.UDP, t.rules.UDP != watch.UDPOff && t.strange(f, c)
	}
	return 0, false
}

// strange tells whether no socket knows f's conversation. A gateway has no
// sockets to ask.
func (t *Twin) strange(f *Frame, c watch.Context) bool {
	if t.gateway {
		return false
	}
	switch c {
	case watch.Handshake:
		t.counters.Handshakes++
		if e := t.source(f); e != nil {
			e.handshakes++
		}
		fallthrough
	case watch.Known:
		t.counters.Known++
		return false
	}
	return true
}

func kindWithoutACK(f *Frame) watch.Kind {
	switch flags := f.Flags & flagSets; {
	case flags == 0:
		return watch.NULL
	case flags == FIN:
		return watch.FIN
	case flags == FIN|PSH|URG:
		return watch.XMAS
	case flags&(SYN|FIN) != SYN:
		return watch.Odd
	case f.HeaderLen >= systemHeader:
		return watch.SystemSYN
	}
	return watch.SYN
}

func kindWithACK(flags uint8) watch.Kind {
	switch flags & (SYN | FIN) {
	case SYN | FIN:
		return watch.Odd
	case SYN:
		return watch.SYNACK
	case FIN:
		return watch.Maimon
	}
	return watch.ACK
}
