package respond

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
)

// Config describes a simulated network. [DefaultConfig] is a good one to
// change; the zero Config answers for nothing.
type Config struct {
	// Key of the hash that decides every port's state.
	Key [16]byte
	// The ranges answered for, one of each family. The zero Prefix is none.
	Prefix4, Prefix6 netip.Prefix
	// What part of all ports is open, closed, or rejected with an ICMP error.
	// The rest is silent.
	Open, Closed, Rejected Share
	Personality            Personality
	// The ICMP error of a rejected port; zero means PortUnreach.
	Error ICMPError
	// Who sends the ICMP errors; the target itself when invalid.
	Router4, Router6 netip.Addr
	// Bytes of TCP header that an ICMP error quotes, from 8 (RFC 792, and what
	// many routers do) to 60, a multiple of 4; never more than there were. Zero
	// means 8.
	Quote int
	// A share of all endpoints loses the first LoseTries answers it owes,
	// whoever asked. Counting begins anew with each Configure.
	LoseShare Share
	LoseTries uint32
	// How many endpoints can be kept count of, fixed by Load. Zero means 2^21
	// if loss is configured at Load and none otherwise. Beyond it an endpoint
	// loses nothing, and Counters.LossFull grows.
	LossEndpoints int
	// Loss is the part of all TCP segments that a lossy path drops, each by itself
	// and at random, whatever its endpoint and however often it was tried. That
	// happens before an answer is decided, so that it stands for loss in either
	// direction, or for both together. It includes what a scanner's kernel sends,
	// such as its resets of a SYN scan's connections.
	Loss Share
	// Police is how many TCP segments a second the path lets through; zero means
	// all. They share a bucket of Burst tokens, and those for which it has none
	// are dropped. Random loss strikes behind the policer.
	Police uint32
	// Answer segments with a wrong checksum as well. Without it they are
	// dropped, as hosts do, and Counters.BadChecksum grows.
	SkipChecksums bool
}

// ICMPError is the type and code of an error in ICMP and in ICMPv6.
type ICMPError struct {
	Type4, Code4 uint8 // RFC 792, RFC 1812 5.2.7.1
	Type6, Code6 uint8 // RFC 4443 3
}

// The usual errors. HostUnreach is "address unreachable" in ICMPv6.
var (
	NetUnreach      = ICMPError{3, 0, 1, 0}
	HostUnreach     = ICMPError{3, 1, 1, 3}
	PortUnreach     = ICMPError{3, 3, 1, 4}
	AdminProhibited = ICMPError{3, 13, 1, 1}
	TimeExceeded    = ICMPError{11, 0, 3, 0}
)

const (
	defaultLossEndpoints = 1 << 21
	minQuote, maxQuote   = 8, 60
	minBurst             = 8
	burstsPerSecond      = 200 // 5 ms each
)

// DefaultConfig returns a network that is mostly silent, as the Internet is:
// 10.0.0.0/8 and fd00:10::/64, one port in 64 open and three closed.
func DefaultConfig() Config {
	return Config{
		Key:     [16]byte([]byte("synoptic lab key")),
		Prefix4: netip.MustParsePrefix("10.0.0.0/8"),
		Prefix6: netip.MustParsePrefix("fd00:10::/64"),
		Open:    Fraction(1, 64),
		Closed:  Fraction(3, 64),
		Error:   PortUnreach,
		Quote:   minQuote,
	}
}

// withDefaults replaces the zeros that mean something else.
func (c Config) withDefaults() Config {
	if c.Error == (ICMPError{}) {
		c.Error = PortUnreach
	}
	if c.Quote == 0 {
		c.Quote = minQuote
	}
	return c
}

// ParseKey reads a key as 32 hexadecimal digits.
func ParseKey(s string) (key [16]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(key) {
		return key, fmt.Errorf("key %q: want 32 hexadecimal digits", s)
	}
	return [16]byte(b), nil
}

// Truth returns the expected behaviour of a network configured so.
func (c Config) Truth() Truth { return Truth{c.withDefaults()} }

// Validate returns an error that names the first field that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.Prefix4.IsValid() && !c.Prefix4.Addr().Is4():
		return fmt.Errorf("prefix %s: want an IPv4 prefix", c.Prefix4)
	case c.Prefix6.IsValid() && (!c.Prefix6.Addr().Is6() || c.Prefix6.Addr().Is4In6()):
		return fmt.Errorf("prefix %s: want an IPv6 prefix", c.Prefix6)
	case c.Open > Whole || c.Closed > Whole || c.Rejected > Whole || c.Open+c.Closed+c.Rejected > Whole:
		return fmt.Errorf("shares %s open, %s closed, %s rejected: more than the whole", c.Open, c.Closed, c.Rejected)
	case c.LoseShare > Whole:
		return errors.New("share of endpoints that lose: more than the whole")
	case c.Loss > Whole:
		return errors.New("share of probes that are lost: more than the whole")
	case int(c.Personality) >= len(personalityNames):
		return fmt.Errorf("personality %d: unknown", uint8(c.Personality))
	case c.Quote != 0 && c.Quote < minQuote || c.Quote > maxQuote || c.Quote%4 != 0:
		return fmt.Errorf("quote of %d bytes: want a multiple of 4 from %d to %d", c.Quote, minQuote, maxQuote)
	case c.Router4.IsValid() && !c.Router4.Is4():
		return fmt.Errorf("router %s: want an IPv4 address", c.Router4)
	case c.Router6.IsValid() && !c.Router6.Is6():
		return fmt.Errorf("router %s: want an IPv6 address", c.Router6)
	case c.LossEndpoints < 0:
		return errors.New("number of endpoints that lose: negative")
	}
	return nil
}

// loses tells whether any answer is lost on purpose.
func (c Config) loses() bool { return c.LoseShare > 0 && c.LoseTries > 0 }

// Burst returns how many segments the policer lets through at once after a
// pause: what it lets through in 5 ms, and at least 8. In any time t, at most
// Burst + Police*(t + 1 ms) pass, as tokens may be credited so much later.
func (c Config) Burst() uint32 {
	if c.Police == 0 {
		return 0
	}
	return max(c.Police/burstsPerSecond, minBurst)
}

// encode returns the config as the BPF program reads it.
func (c Config) encode() bpfConfig {
	c = c.withDefaults()
	var b bpfConfig
	b.Key.K0 = binary.LittleEndian.Uint64(c.Key[:8])
	b.Key.K1 = binary.LittleEndian.Uint64(c.Key[8:])
	b.OpenBelow = uint64(c.Open)
	b.ClosedBelow = uint64(c.Open + c.Closed)
	b.RejectedBelow = uint64(c.Open + c.Closed + c.Rejected)
	if c.loses() {
		b.LostBelow, b.LoseTries = uint64(c.LoseShare), c.LoseTries
	}
	b.PathLostBelow = uint64(c.Loss)
	b.Police, b.PoliceBurst = c.Police, c.Burst()
	encodePrefix(b.Net4[:], b.Mask4[:], c.Prefix4)
	encodePrefix(b.Net6[:], b.Mask6[:], c.Prefix6)
	if c.Router4.IsValid() {
		b.Router4, b.FromRouter4 = c.Router4.As4(), 1
	}
	if c.Router6.IsValid() {
		b.Router6, b.FromRouter6 = c.Router6.As16(), 1
	}
	b.Personality = bpfPersonality(c.Personality)
	b.Icmp4Type, b.Icmp4Code = c.Error.Type4, c.Error.Code4
	b.Icmp6Type, b.Icmp6Code = c.Error.Type6, c.Error.Code6
	b.Quote = uint8(c.Quote)
	if c.SkipChecksums {
		b.SkipChecksums = 1
	}
	return b
}

// decode is the inverse of encode, but for LossEndpoints, and for LoseShare
// when nothing is lost. Redirect is the Responder's affair in both.
func decode(b bpfConfig) Config {
	c := Config{
		Prefix4:       decodePrefix(b.Net4[:], b.Mask4[:]),
		Prefix6:       decodePrefix(b.Net6[:], b.Mask6[:]),
		Open:          Share(b.OpenBelow),
		Closed:        Share(b.ClosedBelow - b.OpenBelow),
		Rejected:      Share(b.RejectedBelow - b.ClosedBelow),
		LoseShare:     Share(b.LostBelow),
		LoseTries:     b.LoseTries,
		Loss:          Share(b.PathLostBelow),
		Police:        b.Police,
		Personality:   Personality(b.Personality),
		Error:         ICMPError{b.Icmp4Type, b.Icmp4Code, b.Icmp6Type, b.Icmp6Code},
		Quote:         int(b.Quote),
		SkipChecksums: b.SkipChecksums != 0,
	}
	binary.LittleEndian.PutUint64(c.Key[:8], b.Key.K0)
	binary.LittleEndian.PutUint64(c.Key[8:], b.Key.K1)
	if b.FromRouter4 != 0 {
		c.Router4 = netip.AddrFrom4(b.Router4)
	}
	if b.FromRouter6 != 0 {
		c.Router6 = netip.AddrFrom16(b.Router6)
	}
	return c
}

// encodePrefix writes address and mask. Nothing is equal to ones under a mask
// of zeros, so that is how no prefix is written.
func encodePrefix(network, mask []byte, p netip.Prefix) {
	if !p.IsValid() {
		for i := range network {
			network[i] = 0xff
		}
		return
	}
	copy(network, p.Masked().Addr().AsSlice())
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
}

func decodePrefix(network, mask []byte) netip.Prefix {
	bits := 0
	for bits < 8*len(mask) && mask[bits/8]&(0x80>>(bits%8)) != 0 {
		bits++
	}
	if bits == 0 && network[0] == 0xff {
		return netip.Prefix{}
	}
	addr, _ := netip.AddrFromSlice(network)
	return netip.PrefixFrom(addr, bits)
}
