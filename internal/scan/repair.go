package scan

import (
	"context"
	"fmt"
	"time"
)

// firstPass begins the first pass, or goes on with that of the state that the
// scan resumes.
func (s *Scan) firstPass() *pass {
	if r := s.cfg.Resume; r != nil {
		p := s.newPass(r.Try, r.Left)
		p.visited, p.missing, p.start.missing = r.Visited, r.Missing, r.Missing
		return s.begin(p)
	}
	return s.begin(s.newPass(0, ranges{{0, s.limit}}))
}

// nextPass begins the pass after another: a retry of whatever has no answer, and
// after the retries a repair of what this machine may have lost, slower than
// what came before. It returns nil if there is none.
func (s *Scan) nextPass(p *pass) *pass {
	s.sampling.Lock()
	defer s.sampling.Unlock()
	if s.control != nil {
		s.congested(p, s.control.ended(s.canaries.outcomes()))
	}
	local, path := s.losses.owed()
	owed := local.add(path...)
	switch try := p.try + 1; {
	case try <= s.cfg.Retries:
		owed = ranges{{0, s.cursor.Load()}}
	case try > s.cfg.Retries+s.cfg.Repairs, s.unanswered(owed, 1) == 0:
		return nil
	case s.control == nil:
		s.slowDown(p)
	}
	next := s.newPass(p.try+1, owed)
	next.owed = s.losses.forget()
	return s.begin(next)
}

// goesOn tells whether another pass is likely to come after this one.
func (s *Scan) goesOn(p *pass) bool {
	local, path := s.losses.owed()
	return p.try < s.cfg.Retries || p.try < s.cfg.Retries+s.cfg.Repairs && len(local)+len(path) > 0
}

// owes tells whether there is something to send in the next pass.
func (s *Scan) owes(p *pass) bool {
	if p.try < s.cfg.Retries {
		return true
	}
	local, path := s.losses.owed()
	return s.unanswered(local.add(path...), 1) > 0
}

// begin makes a pass the one in hand.
func (s *Scan) begin(p *pass) *pass {
	p.begun = s.tally(time.Now())
	s.pass.Store(p)
	return p
}

// tally is what the machine has done up to a time.
type tally struct {
	at             time.Time
	sent, received uint64
	Lost
}

func (s *Scan) tally(now time.Time) tally {
	return tally{now, s.send.Stats().Sent, s.receive.Stats().Received, s.losses.counters()}
}

// spare is how much slower than it could bear a machine is asked again.
const spare = 0.8

// slowDown lowers the rate to what this machine has borne in a pass.
func (s *Scan) slowDown(p *pass) {
	was, now := p.begun, s.tally(time.Now())
	sent, received := float64(now.sent-was.sent), float64(now.received-was.received)
	in, out := float64(now.Ring+now.Kernel-was.Ring-was.Kernel), float64(now.Device-was.Device)
	rate := s.Rate()
	if seconds := p.took.Seconds(); seconds > 0 && (rate == 0 || rate > sent/seconds) {
		rate = sent / seconds
	}
	kept := min(1-out/max(sent, out, 1), received/max(received+in, 1))
	s.pacer.SetRate(max(rate*kept*spare, leastRate))
	s.reason.Store("sending again what this machine may have lost")
}

// watch looks at the counters until ctx ends, and fails when the scan is not to
// go on.
func (s *Scan) watch(ctx context.Context) error {
	tick := time.NewTicker(samplePause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if err := s.sample(now); err != nil {
				return err
			}
		}
	}
}

// sample looks at what this machine has dropped and at how the canaries fared,
// and draws the conclusions.
func (s *Scan) sample(now time.Time) error {
	s.sampling.Lock()
	defer s.sampling.Unlock()
	p := s.pass.Load()
	if p == nil {
		return nil
	}
	dropped, err := s.look(p)
	if err != nil {
		return err
	}
	s.canaries.settle(s.receive.Seen(), s.due())
	s.undigested += dropped
	if s.control != nil && s.state.Load() == "sending" && now.Sub(s.steered) >= steerPause {
		s.steered = now
		s.steer(p, s.undigested, now)
		s.undigested = 0
	}
	return s.tooMuch()
}

// look reads the counters of what this machine drops, and returns how much that was
// since the last look.
func (s *Scan) look(p *pass) (dropped uint64, err error) {
	// Below this everything had been sent before the time: a mark is never later
	// than it says, however long reading the counters takes.
	before := mark{reach: p.reached(), at: time.Now()}
	read, err := s.prober.Dropped()
	if err != nil {
		return 0, fmt.Errorf("read the counters of dropped packets: %w", err)
	}
	// Devices count a frame that they refuse to a socket as dropped; it was offered again.
	if s.prober.Paths().Transmit != string(KernelPath) {
		read.Device -= min(read.Device, s.send.Stats().Refused)
	}
	dropped, since := s.losses.sample(p, before, read, Patience(s.rtt.max(), s.cfg.Wait)+s.prober.Late())
	if dropped > 0 {
		s.canaries.discard(since)
	}
	return dropped, nil
}

// steer lets the controller change the rate.
func (s *Scan) steer(p *pass, dropped uint64, now time.Time) {
	if ceiling := s.ceiling.Swap(nil); ceiling != nil {
		s.control.ceiling = *ceiling
	}
	before := s.control.rate
	why, congested := s.control.observe(observation{now: now, outcomes: s.canaries.outcomes(), dropped: dropped, sent: s.pace(now)})
	s.congested(p, congested)
	if s.control.rate != before {
		s.pacer.SetRate(s.control.rate)
		s.canaries.follow(s.control.rate)
		s.reason.Store(why)
	}
}

// congested enters since when the controller has found that too much was sent for
// the path, if it has: the probes since then, and those whose answers were on the
// way.
func (s *Scan) congested(p *pass, since time.Time) {
	if !since.IsZero() {
		s.losses.congested(p, since.Add(-s.due()))
	}
}

// pace returns how many packets a second were sent over the last moments.
func (s *Scan) pace(now time.Time) float64 {
	sent := s.send.Stats().Sent
	old := s.paced[0]
	copy(s.paced[:], s.paced[1:])
	s.paced[len(s.paced)-1] = moment{now, sent}
	return float64(sent-old.sent) / now.Sub(old.at).Seconds()
}

// moment is how many packets were sent up to a time.
type moment struct {
	at   time.Time
	sent uint64
}

// tooMuch says why the scan is not to go on, if so.
func (s *Scan) tooMuch() error {
	if most := s.cfg.MaxErrors; most > 0 {
		if n := s.send.Stats().Refusals; n > most {
			return fmt.Errorf("this machine refused frames %d times, more than --max-errors %d: go on with a lower --rate", n, most)
		}
	}
	if most := s.cfg.MaxLoss; most > 0 {
		if loss, n := s.pathLoss(); n >= enoughCanaries && loss.Low > most {
			return fmt.Errorf("at least %.1f%% of the answers are lost on the way, more than --max-loss %g%%: go on with a lower --rate", 100*loss.Low, 100*most)
		}
	}
	return nil
}

// due is how long an answer may take to arrive: what is not there then is taken for
// lost, or never sent. It is not about how long this process takes to notice.
func (s *Scan) due() time.Duration { return s.dueBy(s.rtt.max()) }

// dueBy is due if the largest round trip so far is known (or 0).
func (s *Scan) dueBy(largest time.Duration) time.Duration {
	wait := blindCooldown
	if largest > 0 {
		wait = dueCooldown + 2*largest
	}
	return min(wait, s.cfg.Wait)
}

// dueCooldown is added to twice the largest round trip seen.
const dueCooldown = 20 * time.Millisecond

// inFlight is how long ago a probe must have been sent for its answer to be in a
// snapshot. While little is known of round trips it is as long as at the end of a
// scan; after so many answers that one of twice the longest is not to be expected,
// as long as before a retry.
func (s *Scan) inFlight() time.Duration {
	largest := max(s.rtt.max(), s.rttBefore)
	if s.answers.Len() < manyAnswers {
		return Patience(largest, s.cfg.Wait)
	}
	return s.dueBy(largest)
}

const manyAnswers = 10_000

// unanswered counts the endpoints of a set that have no answer, though probes go
// there, up to a number.
func (s *Scan) unanswered(rs ranges, most uint64) uint64 {
	n, buf := uint64(0), make([]uint64, 0, 1024)
	for _, r := range rs {
		for from := r.From; from < r.To && n < most; {
			buf, from = s.answers.Pending(from, r.To, buf[:0])
			for _, pos := range buf {
				if s.prober.Reaches(s.cfg.Plan.At(pos).Addr()) {
					n++
				}
			}
		}
	}
	return n
}
