package scan

import (
	"fmt"
	"time"

	"synoptic/internal/estimate"
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
	Dropped   uint64        `json:"dropped"`      // packets lost by this machine
	Rate      float64       `json:"rate"`         // packets per second that are asked for, 0: unlimited
	Reason    string        `json:"rate_reason"`  // why that was changed last, "" if it was not
	Path      *Path         `json:"path"`         // null: nothing is known of it
	Refused   uint64        `json:"refused"`      // frames that this machine refused and was offered again
	Remaining time.Duration `json:"remaining_ns"` // of the first pass, at the pace so far; 0 when unknown

	Neighbours Neighbours `json:"neighbours"`
}

// Path is what the canaries tell of the way to the targets and back.
type Path struct {
	Canaries
	Loss estimate.Interval `json:"loss"` // share of the answers that are lost
}

// path returns nil if no canary's fate is known.
func (b *Books) path() *Path {
	n := b.Canaries.Answered + b.Canaries.Lost
	if n == 0 {
		return nil
	}
	return &Path{b.Canaries, estimate.Binomial(b.Canaries.Lost, n)}
}

// Tries is what the first two tries tell of it.
type Tries struct {
	First  uint64            `json:"first"`  // endpoints that answered the first try
	Second uint64            `json:"second"` // and only the second
	Loss   estimate.Interval `json:"loss"`
}

// tries returns nil if there was no second try.
func (b *Books) tries(last int) *Tries {
	if last == 0 || b.FirstTry == 0 {
		return nil
	}
	return &Tries{b.FirstTry, b.SecondTry, estimate.Removal(b.FirstTry, b.SecondTry)}
}

// Progress returns a glance at the scan; safe at any time after New.
func (s *Scan) Progress() Progress {
	b := s.books()
	p := Progress{
		State: s.state.Load().(string), Elapsed: b.Elapsed,
		Planned: s.limit, Probed: s.probed(), Sent: b.Sent.Sent, Refused: b.Sent.Refused, Dropped: b.Lost.total(),
		Answered: s.answers.Len(), Open: s.answers.Count(ledger.Open), Neighbours: s.prober.Neighbours(),
		Rate: s.Rate(), Reason: s.reason.Load().(string), Path: b.path(),
	}
	if pass := s.pass.Load(); pass != nil {
		p.Try = pass.try
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
	Paths       Paths   `json:"paths"` // of the packets
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

	// Of those sent, what the device has dropped itself.
	DeviceDropped uint64 `json:"device_dropped"`

	// Receive side, in packets: Received = Valid + Duplicate + Repeated +
	// BadCookie + OutOfPlan + Foreign. Repeated are answers of canaries. Dropped
	// is what the receive ring had no room for, KernelDropped what this machine
	// dropped before it.
	Received  uint64 `json:"received"`
	Valid     uint64 `json:"valid"`
	Duplicate uint64 `json:"duplicate"`
	Repeated  uint64 `json:"repeated"`
	BadCookie uint64 `json:"bad_cookie"`
	OutOfPlan uint64 `json:"out_of_plan"`
	Foreign   uint64 `json:"foreign"`
	Dropped   uint64 `json:"dropped"`

	KernelDropped uint64 `json:"kernel_dropped"`

	// Lost are the endpoints that have not answered, and of which this machine may
	// have dropped the probe or the answer in every try. Repairs are the passes
	// that were to find them.
	Lost    uint64 `json:"lost"`
	Repairs int    `json:"repairs"`

	// What was lost on the way, by two estimates, each null if nothing is known;
	// and by them how many answering endpoints no try has found.
	Path   *Path   `json:"path"`
	Tries  *Tries  `json:"tries"`
	Missed float64 `json:"missed"`

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

// summary closes the books. It fails when they do not balance, which would be
// an error of this program.
func (s *Scan) summary(interrupted bool) (Summary, error) {
	sent, received := s.send.Stats(), s.receive.Stats()
	b := s.books()
	sum := Summary{
		Method: s.cfg.Method.Name, Seed: s.cfg.Seed, Interrupted: interrupted, Retries: s.cfg.Retries, Paths: s.prober.Paths(),
		Elapsed: b.Elapsed.Seconds(),
		Planned: s.limit, Probed: s.probed() - s.missing.Load(), Unreachable: s.missing.Load(),
		Generated: b.Sent.Generated, Sent: b.Sent.Sent, Refused: b.Sent.Refused, DeviceDropped: b.Lost.Device,
		Received: b.Received.Received, Valid: b.Received.Valid - b.Duplicates - b.Repeated - b.Strays, Duplicate: b.Duplicates, Repeated: b.Repeated,
		BadCookie: b.Received.BadCookie, OutOfPlan: b.Received.OutOfPlan + b.Strays, Foreign: b.Received.Foreign,
		Dropped: b.Lost.Ring, KernelDropped: b.Lost.Kernel, Lost: s.lost,
		Path: b.path(),
		Open: s.answers.Count(ledger.Open), Answered: s.answers.Count(ledger.Answered), Rejected: s.answers.Count(ledger.Rejected),
		OpenFiltered: s.openFiltered, Neighbours: s.prober.Neighbours(),
		HostsAlive: s.hosts.Len(), HostsAllReset: s.allReset,
		RTTMedian: s.rtt.quantile(0.5), RTT99: s.rtt.quantile(0.99),
	}
	tries := 1
	if pass := s.pass.Load(); pass != nil {
		sum.Repairs = max(pass.try-s.cfg.Retries, 0)
		sum.Tries = b.tries(min(pass.try, s.cfg.Retries))
		tries = min(pass.try, s.cfg.Retries) + 1
	}
	sum.Silent = sum.Probed - min(sum.Probed, s.answers.Len())
	sum.Missed = sum.missed(tries)
	if seconds := b.Sending.Seconds(); seconds > 0 {
		sum.Rate = float64(sum.Sent) / seconds
	}
	if sent.Generated != sent.Sent+sent.Refused {
		return sum, fmt.Errorf("the books do not balance: %d frames generated, %d sent, %d refused", sent.Generated, sent.Sent, sent.Refused)
	}
	if entered := s.entered.Load(); received.Valid != entered {
		return sum, fmt.Errorf("the books do not balance: %d answers received, %d entered", received.Valid, entered)
	}
	if total := received.Valid + received.Duplicate + received.BadCookie + received.OutOfPlan + received.Foreign; received.Received != total {
		return sum, fmt.Errorf("the books do not balance: %d packets received, %d accounted for", received.Received, total)
	}
	return sum, nil
}

// enoughCanaries is how many it takes before something is concluded from them.
const enoughCanaries = 100

// missed is how many endpoints would have answered, and no try has found them, by
// the estimate that knows more.
func (sum *Summary) missed(tries int) float64 {
	var loss float64
	switch {
	case sum.Path != nil && sum.Path.Answered+sum.Path.Lost >= enoughCanaries:
		loss = sum.Path.Loss.Estimate
	case sum.Tries != nil:
		loss = sum.Tries.Loss.Estimate
	}
	return min(estimate.Missed(sum.Open+sum.Answered, loss, tries), float64(sum.Silent))
}

// pathLoss returns what the canaries of this run tell of the loss on the way, and how
// many they are.
func (s *Scan) pathLoss() (estimate.Interval, uint64) {
	settled, _ := s.canaries.count()
	n := settled.Answered + settled.Lost
	return estimate.Binomial(settled.Lost, n), n
}
