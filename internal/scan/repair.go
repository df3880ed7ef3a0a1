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
	local, path := s.losses.owed()
	owed := local.add(path...)
	switch try := p.try + 1; {
	case try <= s.cfg.Retries:
		owed = ranges{{0, s.cursor.Load()}}
	case try > s.cfg.Retries+s.cfg.Repairs, s.unanswered(owed) == 0:
		return nil
	case s.control == nil:
		s.slowDown(p)
	}
	s.losses.forget()
	return s.begin(s.newPass(p.try+1, owed))
}

// goesOn tells whether another pass is likely to come after this one.
func (s *Scan) goesOn(p *pass) bool {
	local, path := s.losses.owed()
	return p.try < s.cfg.Retries || p.try < s.cfg.Retries+s.cfg.Repairs && len(local)+len(path) > 0
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
	if seconds := p.took.Seconds(); rate == 0 && seconds > 0 {
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
		case <-tick.C:
			if err := s.sample(); err != nil {
				return err
			}
		}
	}
}

// sample looks at what this machine has dropped and at how the canaries fared,
// and draws the conclusions.
func (s *Scan) sample() error {
	s.sampling.Lock()
	defer s.sampling.Unlock()
	p := s.pass.Load()
	if p == nil {
		return nil
	}
	read, err := s.prober.Dropped()
	if err != nil {
		return fmt.Errorf("read the counters of dropped packets: %w", err)
	}
	due := s.due()
	here := mark{reach: p.reached()}
	here.at = time.Now() // not before: what the mark has was sent by then, whenever a tick meant to come
	now := here.at
	dropped, since := s.losses.sample(p, read, here, due)
	if dropped > 0 {
		s.canaries.discard(since)
	}
	s.canaries.settle(now, due)
	if s.control != nil && s.state.Load() == "sending" {
		s.steer(p, dropped, now)
	}
	return s.tooMuch()
}

// steer lets the controller change the rate.
func (s *Scan) steer(p *pass, dropped uint64, now time.Time) {
	if ceiling := s.ceiling.Swap(nil); ceiling != nil {
		s.control.ceiling = *ceiling
	}
	before := s.control.rate
	why, congested := s.control.observe(observation{now: now, outcomes: s.canaries.outcomes(), dropped: dropped, sent: s.pace(now)})
	if !congested.IsZero() {
		s.losses.congested(p, congested.Add(-s.due()))
	}
	if s.control.rate != before {
		s.pacer.SetRate(s.control.rate)
		s.reason.Store(why)
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
		if n := s.send.Stats().Refused + s.before.Sent.Refused; n > most {
			return fmt.Errorf("this machine refused %d frames, more than --max-errors %d: go on with a lower --rate", n, most)
		}
	}
	if most := s.cfg.MaxLoss; most > 0 {
		if loss := s.pathLoss(); loss.Low > most {
			return fmt.Errorf("at least %.1f%% of the answers are lost on the way, more than --max-loss %g%%: go on with a lower --rate", 100*loss.Low, 100*most)
		}
	}
	return nil
}

// due is how long an answer is waited for before something else is concluded from
// its absence than at the end.
func (s *Scan) due() time.Duration {
	wait := blindCooldown
	if largest := s.rtt.max(); largest > 0 {
		wait = retryCooldown + 2*largest
	}
	return min(wait, s.cfg.Wait)
}

// unanswered counts the endpoints of a set that have no answer, though probes go
// there.
func (s *Scan) unanswered(rs ranges) uint64 {
	n, buf := uint64(0), make([]uint64, 0, 1024)
	for _, r := range rs {
		for from := r.From; from < r.To; {
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
