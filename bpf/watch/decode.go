package watch

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"unsafe"
)

// decodeEvent fills a snapshot from what the program handed over.
func (w *Watch) decodeEvent(raw []byte, s *Snapshot) error {
	if len(raw) < int(unsafe.Sizeof(bpfEvent{})) {
		return fmt.Errorf("read a snapshot: %d bytes instead of %d", len(raw), unsafe.Sizeof(bpfEvent{}))
	}
	e := (*bpfEvent)(unsafe.Pointer(unsafe.SliceData(raw)))
	w.decode(s, &e.Source, &e.Packets, e.Addr)
	s.Ref, s.From, s.To, s.Device, s.SourcePort = Ref(e.Ref), address(e.From), address(e.To), int(e.Ifindex), e.Sport
	if w.config.Replay {
		s.Device = 0
	}
	s.Time, s.Probed, s.Before, s.BeforePacket = e.Time, e.Probed != 0, e.Before, e.BeforePacket
	return nil
}

// decode fills what is known of a source between its packets.
func (w *Watch) decode(s *Snapshot, src *bpfSource, ring *bpfPacketRing, addr [2]uint64) {
	probes, packets := s.Probes[:0], s.Packets[:0]
	*s = Snapshot{
		Source: w.source(addr),
		Time:   max(src.Last, src.LastPacket),
		Born:   src.Born, Last: src.Last, LastPacket: src.LastPacket, Chain: src.Chain,
		Classes: src.Classes, Kinds: src.Kinds, Handshakes: src.Handshakes,
		Hosts: Hosts(src.Hosts),
	}
	if src.Last != 0 {
		s.MinTTL, s.MaxTTL = src.MinTtl, src.MaxTtl
		s.First, s.Latest = address(src.First), address(src.Latest)
	}
	for i := range min(int(src.Used), MaxProbes) {
		probes = append(probes, Probe{src.Time[i], uint16(src.Port[i]), Kind(src.Port[i] >> 24)})
	}
	slices.SortStableFunc(probes, func(a, b Probe) int {
		if a.Time < b.Time {
			return -1
		}
		return int(min(a.Time-b.Time, 1))
	})
	s.Probes = probes
	for i := range ring.Port { // from the oldest on
		at := (int(ring.Next) + i) % MaxProbes
		if ring.Port[at] != 0 {
			packets = append(packets, Probe{Time: ring.Time[at], Port: uint16(ring.Port[at])})
		}
	}
	s.Packets = packets
}

// source turns a key of the table into a prefix.
func (w *Watch) source(addr [2]uint64) netip.Prefix {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:], addr[0])
	binary.NativeEndian.PutUint64(b[8:], addr[1])
	a := netip.AddrFrom16(b)
	if a.Is4In6() {
		return netip.PrefixFrom(a.Unmap(), 32)
	}
	return netip.PrefixFrom(a, int(w.v6Bits.Load()))
}

// Counters returns the sums over all CPUs.
func (w *Watch) Counters() (Counters, error) {
	var (
		c     Counters
		desks []bpfDesk
	)
	if err := w.objects.Desks.Lookup(uint32(0), &desks); err != nil {
		return c, fmt.Errorf("read the detector's counters: %w", err)
	}
	for i := range desks {
		c.add(&desks[i].Counters)
	}
	c.Malformed += w.short.Load()
	return c, nil
}

func (c *Counters) add(b *bpfCounters) {
	c.NotIP += b.NotIp
	c.Malformed += b.Malformed
	c.TooDeep += b.TooDeep
	c.Filtered += b.Filtered
	for i, n := range b.Tcp {
		c.TCP[i] += n
	}
	c.UDP += b.Udp
	c.ICMP += b.Icmp
	c.Other += b.Other
	c.Fragments += b.Fragments
	c.Tiny += b.Tiny
	c.Cached += b.Cached
	c.Known += b.Known
	c.Handshakes += b.Handshakes
	c.Ignored += b.Ignored
	c.Backscatter += b.Backscatter
	c.Probes += b.Probes
	c.Repeats += b.Repeats
	c.Sources += b.Sources
	c.EvictedIdle += b.EvictedIdle
	c.EvictedLive += b.EvictedLive
	c.Events += b.Events
	c.LostEvents += b.LostEvents
}
