package scan

import (
	"cmp"
	"fmt"
	"time"

	"synoptic/internal/ledger"
	"synoptic/internal/result"
	"synoptic/rx"
)

// keepBooks enters replies into the ledger and records into the sink until the
// receiver is done. After a sink's error it goes on counting.
func (s *Scan) keepBooks(sink Sink, abort func()) error {
	var sinkErr error
	record := result.Record{Method: s.cfg.Method.Name}
	var answers, hosts []ledger.Answer // of a batch, reused
	var look <-chan time.Time          // at the clock, where no answers come
	if s.cfg.Keeper != nil {
		ticker := time.NewTicker(samplePause)
		defer ticker.Stop()
		look = ticker.C
	}
	for replies := s.receive.Replies(); ; {
		select {
		case batch, ok := <-replies:
			if !ok {
				return unwritten(sinkErr)
			}
			answers, hosts = s.mark(answers[:0], batch), hosts[:0]
			for i := range batch {
				reply := &batch[i]
				if !s.enter(reply, answers[i], &record) {
					continue
				}
				if !reply.ReasonIP.IsValid() { // a router's word is no sign of life
					hosts = append(hosts, ledger.Answer{Pos: s.hostKey(reply.Target.Addr()), Mark: hostAlive})
				}
				if sinkErr == nil {
					sinkErr = sink.Record(&record)
				}
			}
			s.hosts.PutAll(hosts)
			s.receive.Release(batch)
			if sinkErr == nil {
				sinkErr = sink.Flush()
			}
			if sinkErr != nil {
				abort()
			}
			select {
			case s.progressed <- struct{}{}:
			default:
			}
		case <-look:
		}
		if s.cfg.Keeper != nil && sinkErr == nil && s.cfg.Keeper.Due() {
			s.keep(false)
		}
	}
}

// unwritten words a sink's error.
func unwritten(err error) error {
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// mark puts replies into the ledger, and appends what that changed. A reply to what
// was not sent has no mark.
func (s *Scan) mark(answers []ledger.Answer, batch []rx.Reply) []ledger.Answer {
	sent := s.cursor.Load()
	for i := range batch {
		a := ledger.Answer{Pos: batch[i].Pos}
		if a.Pos < sent {
			a.Mark = markOf(batch[i].State)
		}
		answers = append(answers, a)
	}
	s.answers.PutAll(answers)
	return answers
}

// enter enters a reply that is in the ledger into the books; it reports whether it is
// news, and then fills the record.
func (s *Scan) enter(reply *rx.Reply, answer ledger.Answer, record *result.Record) bool {
	s.entered.Add(1)
	if answer.Mark == ledger.None {
		s.strays.Add(1)
		return false
	}
	canary := reply.Try == s.canaries.try
	if canary {
		reply.RTT = cmp.Or(s.canaries.heard(reply.Pos, reply.Time), rx.NoRTT)
	}
	rtt := s.roundTrip(reply)
	switch outcome := answer.Outcome; {
	case outcome == ledger.Duplicate && canary:
		s.repeated.Add(1)
		if rtt > 0 {
			s.rtt.add(rtt)
		}
		return false
	case outcome == ledger.Duplicate:
		s.duplicates.Add(1)
		return false
	case outcome == ledger.New && answer.Mark > ledger.Rejected:
		s.countTry(reply.Try)
		s.canaries.offer(reply.Pos, reply.Target.Addr(), time.Unix(0, reply.Time))
	}
	// A router's word is no round trip to wait by: it may have looked for the host
	// for seconds.
	if !reply.ReasonIP.IsValid() && rtt > 0 {
		s.rtt.add(rtt)
	}
	record.Time = time.Unix(0, reply.Time)
	record.Addr = reply.Target
	record.State, record.Reason, record.Suspect = reply.State, reply.Reason, reply.Suspect
	record.TTL, record.Window = reply.TTL, reply.Window
	record.RTT, record.ReasonIP = rtt, reply.ReasonIP
	return true
}

// countTry counts the first answer of an endpoint by the try that it answers.
func (s *Scan) countTry(try int) {
	switch {
	case s.cfg.OnePort || s.cfg.Retries == 0:
	case try == 0:
		s.firstTry.Add(1)
	case try == 1:
		s.secondTry.Add(1)
	}
}

// roundTrip returns the time from the probe's span to its answer, 0 if unknown:
// too long ago, or not told apart from another try of the same endpoint
// (Karn's algorithm, RFC 6298 section 3).
func (s *Scan) roundTrip(reply *rx.Reply) time.Duration {
	if reply.RTT != 0 {
		return max(reply.RTT, 0)
	}
	if s.cfg.OnePort && s.pass.Load().try > 0 {
		return 0
	}
	sent := s.times.of(reply.Try, reply.Pos)
	if sent == 0 {
		return 0
	}
	// The span is stamped before it leaves; clocks may step.
	return max(time.Duration(reply.Time-sent), time.Microsecond)
}

// markOf ranks a state in the ledger.
func markOf(state result.State) ledger.Mark {
	switch state {
	case result.Open:
		return ledger.Open
	case result.Filtered:
		return ledger.Rejected
	}
	return ledger.Answered
}
