package scan

import (
	"net/netip"
	"time"

	"synoptic/internal/ledger"
	"synoptic/internal/result"
)

// Silence says of which silent endpoints a scan makes records. Open|filtered is
// recorded in any case.
type Silence uint8

const (
	// NoSilence: of none but these.
	NoSilence Silence = iota
	// SilenceOfLiving: of the ports of hosts that gave a sign of life.
	SilenceOfLiving
	// SilenceOfAll: of every endpoint that was probed.
	SilenceOfAll
)

// The ledger of hosts has one mark for each address that gave a sign of life,
// and a higher one once its silent ports are listed.
const (
	hostAlive  = ledger.Rejected
	hostListed = ledger.Answered
)

// hostKey is an address's rank among the targets; where ranks exceed 64 bits,
// both halves are folded, and hosts are told apart with overwhelming
// probability only: 2^32 hosts found would meet one collision.
func (s *Scan) hostKey(a netip.Addr) uint64 {
	rank, _ := s.cfg.Plan.Targets().Rank(a)
	return rank.Lo ^ rank.Hi*0x9e3779b97f4a7c15
}

// concludeSilence records what the last try's silence means: open|filtered for
// the silent ports of living hosts where an open port would keep silent, and
// filtered for every silent port where it would not, if that was asked for.
func (s *Scan) concludeSilence(sink Sink) error {
	record := result.Record{
		Time: time.Now(), State: s.cfg.Method.Silence, Reason: result.NoResponse, Method: s.cfg.Method.Name,
	}
	switch {
	case !s.cfg.Method.SilentWhenOpen() && s.answers.Len() == s.probed():
		return nil // no endpoint is silent, which long lists of ports need not be walked for
	case s.cfg.Method.SilentWhenOpen(), s.cfg.Silence == SilenceOfLiving:
		return s.silentPortsOfLivingHosts(sink, &record)
	case s.cfg.Silence == NoSilence:
		return nil
	}
	pending, from := make([]uint64, 0, 1024), uint64(0)
	for from < s.cursor.Load() {
		pending, from = s.answers.Pending(from, s.cursor.Load(), pending[:0])
		for _, pos := range pending {
			record.Addr = s.cfg.Plan.At(pos)
			if !s.wasProbed(pos) || !s.prober.Reaches(record.Addr.Addr()) {
				continue
			}
			if err := sink.Record(&record); err != nil {
				return err
			}
		}
	}
	return nil
}

// silentPortsOfLivingHosts records them, and counts the hosts that have none:
// a stack that resets whatever the port's state makes these methods blind.
func (s *Scan) silentPortsOfLivingHosts(sink Sink, record *result.Record) error {
	if s.cfg.Plan.Ports().Len() > 1 { // a host's only port that answered is not silent
		for pos := range s.answers.All() {
			if err := s.silentPorts(s.cfg.Plan.At(pos).Addr(), sink, record); err != nil {
				return err
			}
		}
	}
	for host := range s.prober.Living() {
		if err := s.silentPorts(host, sink, record); err != nil {
			return err
		}
	}
	return nil
}

// silentPorts records those of a host, if it is alive and not listed yet.
func (s *Scan) silentPorts(host netip.Addr, sink Sink, record *result.Record) error {
	key := s.hostKey(host)
	if s.hosts.Get(key) != hostAlive {
		return nil
	}
	s.hosts.Put(key, hostListed)
	plan, ports, silentWhenOpen := s.cfg.Plan, s.cfg.Plan.Ports(), s.cfg.Method.SilentWhenOpen()
	probed, reset := 0, 0
	for i := range ports.Len() {
		record.Addr = netip.AddrPortFrom(host, ports.At(i))
		pos, ok := plan.Position(record.Addr)
		if !ok || !s.wasProbed(pos) {
			continue
		}
		probed++
		switch s.answers.Get(pos) {
		case ledger.None:
			if silentWhenOpen {
				s.openFiltered++
			}
			if err := sink.Record(record); err != nil {
				return err
			}
		case ledger.Answered:
			reset++
		}
	}
	// Resets to FIN+ACK are what most stacks send anyway.
	if probed > 1 && reset == probed && silentWhenOpen && !s.cfg.Method.CookieInAck {
		s.allReset++
	}
	return nil
}
