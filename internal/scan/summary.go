package scan

import (
	"fmt"
	"time"

	"synoptic/internal/ledger"
)

// Progress is a glance at a running scan; all counts are since its start.
type Progress struct {
	State     string        `json:"state"` // starting, resolving, sending, waiting, concluding, done
	Elapsed   time.Duration `json:"elapsed_ns"`
	Try       int           `json:"try"`          // 0 in the first pass
	Planned   uint64        `json:"planned"`      // positions of the first pass
	Probed    uint64        `json:"probed"`       // of those, handed to a sender
	Sent      uint64        `json:"sent"`         // packets, retries included
	Answered  uint64        `json:"answered"`     // endpoints
	Open      uint64        `json:"open"`         // of those
	Dropped   uint64        `json:"dropped"`      // received packets lost by this machine
	Refused   uint64        `json:"refused"`      // frames that this machine refused and was offered again
	Remaining time.Duration `json:"remaining_ns"` // of the first pass, at the pace so far; 0 when unknown

	Neighbours Neighbours `json:"neighbours"`
}

// Progress returns a glance at the scan; safe at any time after New.
func (s *Scan) Progress() Progress {
	sent := s.send.Stats()
	p := Progress{
		State: s.state.Load().(string), Try: int(s.try.Load()),
		Planned: s.limit, Probed: s.probed(), Sent: sent.Sent, Refused: sent.Refused,
		Answered: s.answers.Len(), Open: s.answers.Count(ledger.Open), Neighbours: s.prober.Neighbours(),
	}
	p.Dropped, _, _ = s.prober.Dropped()
	if started := s.started.Load(); started != 0 {
		p.Elapsed = time.Since(time.Unix(0, started))
	}
	if p.Probed > 0 && p.Probed < p.Planned {
		p.Remaining = time.Duration(float64(p.Elapsed) * (float64(p.Planned)/float64(p.Probed) - 1))
	}
	return p
}

// Summary closes the books of a scan.
type Summary struct {
	Method      string  `json:"method"`
	Seed        uint64  `json:"seed"`
	Interrupted bool    `json:"interrupted"`
	Retries     int     `json:"retries"`
	Elapsed     float64 `json:"elapsed_seconds"`
	Rate        float64 `json:"packets_per_second"` // while sending

	// Endpoints of the plan: Planned >= Probed + Unreachable.
	Planned     uint64 `json:"planned"`
	Probed      uint64 `json:"probed"`      // at least once
	Unreachable uint64 `json:"unreachable"` // no way there, so no probe

	Neighbours Neighbours `json:"neighbours"`

	// Transmit side, in frames: Generated = Sent + Refused.
	Generated uint64 `json:"generated"`
	Sent      uint64 `json:"sent"`
	Refused   uint64 `json:"refused"`

	// Receive side, in packets: Received = Valid + Duplicate + BadCookie +
	// OutOfPlan + Foreign. Dropped is what the receive ring had no room for,
	// KernelDropped what this machine dropped before it.
	Received  uint64 `json:"received"`
	Valid     uint64 `json:"valid"`
	Duplicate uint64 `json:"duplicate"`
	BadCookie uint64 `json:"bad_cookie"`
	OutOfPlan uint64 `json:"out_of_plan"`
	Foreign   uint64 `json:"foreign"`
	Dropped   uint64 `json:"dropped"`

	KernelDropped uint64 `json:"kernel_dropped"`

	// Endpoints by answer, and the addresses behind them.
	Open     uint64 `json:"open"`
	Answered uint64 `json:"answered_not_open"` // closed or unfiltered
	Rejected uint64 `json:"rejected"`          // an ICMP error
	Silent   uint64 `json:"silent"`
	// Of the silent ones, those reported open|filtered.
	OpenFiltered uint64 `json:"open_filtered"`
	HostsAlive   uint64 `json:"hosts_alive"`
	// Hosts that reset each of at least two probed ports, counted where an open
	// port should keep silent: their stacks probably do so for open ones too.
	HostsAllReset uint64 `json:"hosts_all_reset"`

	RTTMedian time.Duration `json:"rtt_median_ns"`
	RTT99     time.Duration `json:"rtt_p99_ns"`
}

// Lost reports whether this machine lost something that the results may miss.
func (s *Summary) Lost() bool { return s.Dropped+s.KernelDropped > 0 }

// summary closes the books. It fails when they do not balance, which would be
// an error of this program.
func (s *Scan) summary(interrupted bool) (Summary, error) {
	sent, received := s.send.Stats(), s.receive.Stats()
	dropped, kernelDropped, err := s.prober.Dropped()
	duplicates, strays := s.duplicates.Load(), s.strays.Load()
	sum := Summary{
		Method: s.cfg.Method.Name, Seed: s.cfg.Seed, Interrupted: interrupted, Retries: s.cfg.Retries,
		Elapsed: time.Since(time.Unix(0, s.started.Load())).Seconds(),
		Planned: s.limit, Probed: s.probed() - s.missing.Load(), Unreachable: s.missing.Load(),
		Generated: sent.Generated, Sent: sent.Sent, Refused: sent.Refused,
		Received: received.Received, Valid: received.Valid - duplicates - strays, Duplicate: duplicates,
		BadCookie: received.BadCookie, OutOfPlan: received.OutOfPlan + strays, Foreign: received.Foreign,
		Dropped: dropped, KernelDropped: kernelDropped,
		Open: s.answers.Count(ledger.Open), Answered: s.answers.Count(ledger.Answered), Rejected: s.answers.Count(ledger.Rejected),
		OpenFiltered: s.openFiltered, Neighbours: s.prober.Neighbours(),
		HostsAlive: s.hosts.Len(), HostsAllReset: s.allReset,
		RTTMedian: s.rtt.quantile(0.5), RTT99: s.rtt.quantile(0.99),
	}
	sum.Silent = sum.Probed - min(sum.Probed, s.answers.Len())
	if seconds := s.sending.Seconds(); seconds > 0 {
		sum.Rate = float64(sum.Sent) / seconds
	}
	if err != nil {
		return sum, fmt.Errorf("read the counters of dropped answers: %w", err)
	}
	if sum.Generated != sum.Sent+sum.Refused {
		return sum, fmt.Errorf("the books do not balance: %d frames generated, %d sent, %d refused", sum.Generated, sum.Sent, sum.Refused)
	}
	if entered := s.entered.Load(); received.Valid != entered {
		return sum, fmt.Errorf("the books do not balance: %d answers received, %d entered", received.Valid, entered)
	}
	if total := sum.Valid + sum.Duplicate + sum.BadCookie + sum.OutOfPlan + sum.Foreign; sum.Received != total {
		return sum, fmt.Errorf("the books do not balance: %d packets received, %d accounted for", sum.Received, total)
	}
	return sum, nil
}
