package validate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"synoptic/internal/cookie"
	"synoptic/internal/method"
)

// Config says what an answer to a scan's probes looks like on one device. It
// stays the same while the program is loaded.
type Config struct {
	Method *method.Method
	Key    cookie.Key
	// The probes' source addresses; invalid: the scan has none of this family.
	Source4, Source6 netip.Addr
	// The probes' source ports: so many from Port on.
	Port, Ports uint16
	// NoReset leaves the connections that a SYN+ACK half opens to time out at
	// the target, which meanwhile repeats itself.
	NoReset bool
	// Ring is the room for answers that were not read yet, in bytes: a power of
	// two, and at least a page; 0 means DefaultRing. An answer takes 40 bytes, an
	// ICMP error of somebody else than the target 56.
	Ring int
}

// DefaultRing has room for 209,715 answers.
const DefaultRing = 8 << 20

// Validate returns an error that names the first field that cannot be used.
func (c *Config) Validate() error {
	switch {
	case c.Method == nil || len(c.Method.ResetDelta) == 0:
		return errors.New("method: its answers are not the kernel program's to judge")
	case c.Source4.IsValid() && !c.Source4.Is4():
		return fmt.Errorf("source %s: want an IPv4 address", c.Source4)
	case c.Source6.IsValid() && (!c.Source6.Is6() || c.Source6.Is4In6()):
		return fmt.Errorf("source %s: want an IPv6 address", c.Source6)
	case !c.Source4.IsValid() && !c.Source6.IsValid():
		return errors.New("no source address")
	case c.Ports == 0:
		return errors.New("no source ports")
	case c.Ring < 0 || c.Ring&(c.Ring-1) != 0 || c.Ring > 1<<30:
		return fmt.Errorf("ring of %d bytes: want a power of two up to 1 GiB", c.Ring)
	}
	for _, d := range c.Method.ResetDelta {
		if d > 1 { // a record has one bit for it
			return fmt.Errorf("method %s: resets that bring back cookie+%d are unknown to the kernel program", c.Method.Name, d)
		}
	}
	return nil
}

// set writes the config into the program that is to be loaded.
func (c *Config) set(v *bpfVariableSpecs) error {
	key := c.Key.Bytes()
	var deltas uint8
	for _, d := range c.Method.ResetDelta {
		deltas |= 1 << d
	}
	errs := []error{
		v.CookieKey.Set(bpfSiphashKey{K0: binary.LittleEndian.Uint64(key[:8]), K1: binary.LittleEndian.Uint64(key[8:])}),
		v.FirstPort.Set(c.Port), v.Ports.Set(c.Ports),
		v.Syn.Set(c.Method.Flags == method.ByName("syn").Flags), v.CookieInAck.Set(c.Method.CookieInAck), v.ResetDeltas.Set(deltas),
		v.Reset.Set(!c.NoReset),
		v.Icmp4Codes.Set(icmpCodes(false)), v.Icmp6Codes.Set(icmpCodes(true)),
		v.HasSource4.Set(c.Source4.IsValid()), v.HasSource6.Set(c.Source6.IsValid()),
	}
	if c.Source4.IsValid() {
		errs = append(errs, v.Source4.Set(c.Source4.As4()))
	}
	if c.Source6.IsValid() {
		errs = append(errs, v.Source6.Set(c.Source6.As16()))
	}
	return errors.Join(errs...)
}

// icmpTypes is ICMP_TYPES in maps.bpf.h: the types that say something are below.
const icmpTypes = 16

// icmpCodes returns the errors that say something of a target, as maps.bpf.h has
// them.
func icmpCodes(ipv6 bool) (codes [icmpTypes][4]uint64) {
	for kind := range codes {
		for code := range 256 {
			if _, says := method.ICMP(ipv6, uint8(kind), uint8(code)); says {
				codes[kind][code/64] |= 1 << (code % 64)
			}
		}
	}
	return codes
}
