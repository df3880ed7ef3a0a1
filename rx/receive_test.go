package rx

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"synoptic/internal/method"
)

// script is a Source of given packets.
type script struct {
	packets [][]byte
	err     error // after the packets; nil: idle
}

func (s *script) Read() ([]byte, time.Time, error) {
	if len(s.packets) == 0 {
		if s.err != nil {
			return nil, time.Time{}, s.err
		}
		time.Sleep(time.Millisecond)
		return nil, time.Time{}, ErrIdle
	}
	b := s.packets[0]
	s.packets = s.packets[1:]
	return b, time.Unix(1, 5), nil
}
func (s *script) Drops() (uint64, error) { return 0, nil }
func (s *script) Close() error           { return nil }

func TestReceiverCountsEveryPacketOnce(t *testing.T) {
	source := &script{}
	var want Stats
	for range 500 {
		for _, s := range samples() {
			source.packets = append(source.packets, s.bytes)
			want.Received++
			*[]*uint64{&want.Valid, &want.BadCookie, &want.OutOfPlan, &want.Foreign}[s.outcome]++
		}
	}
	r := New(Input{source, classifier(t, method.ByName("syn"))})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	replies := uint64(0)
	for batch := range r.Replies() {
		for _, reply := range batch {
			if reply.Time != 1e9+5 {
				t.Fatalf("time %d", reply.Time)
			}
		}
		replies += uint64(len(batch))
		r.Release(batch)
		if replies == want.Valid {
			cancel()
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := r.Stats(); got != want || replies != want.Valid {
		t.Errorf("%+v and %d replies, want %+v", got, replies, want)
	}
}

// judged is a Judging source of no records.
type judged struct{ script }

func (judged) Judged() (badCookie, duplicate uint64, err error) { return 7, 11, nil }

// What a source has judged itself is in the counts, and what it yields is taken
// for records, never for packets.
func TestJudgingSourcesAreCounted(t *testing.T) {
	source, plain := &judged{}, &script{packets: [][]byte{samples()[0].bytes}}
	for _, s := range samples() {
		source.packets = append(source.packets, s.bytes)
	}
	n := uint64(len(source.packets))
	want := Stats{Received: n + 1 + 7 + 11, Valid: 1, BadCookie: 7, Duplicate: 11, Foreign: n}
	r := New(Input{source, classifier(t, method.ByName("syn"))}, Input{plain, classifier(t, method.ByName("syn"))})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the backlog is read all the same
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := r.Stats(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestReceiverReportsABrokenSource(t *testing.T) {
	broken := errors.New("broken")
	r := New(Input{&script{err: broken}, classifier(t, method.ByName("syn"))})
	if err := r.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, open := <-r.Replies(); open {
		t.Error("the replies are not closed")
	}
}

// endless yields one packet a millisecond, for ever.
type endless struct{ data []byte }

func (e endless) Read() ([]byte, time.Time, error) {
	time.Sleep(time.Millisecond)
	return e.data, time.Now(), nil
}
func (endless) Drops() (uint64, error) { return 0, nil }
func (endless) Close() error           { return nil }

// Whatever others send: the receiver ends when it is told to, and a lone reply
// does not wait for the noise behind it to cease.
func TestNoiseNeitherHoldsRepliesNorTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range samples() {
			r := New(Input{endless{s.bytes}, classifier(t, method.ByName("syn"))})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			ended := make(chan time.Duration, 1)
			begin := time.Now()
			go func() {
				if err := r.Run(ctx); err != nil {
					t.Error(err)
				}
				ended <- time.Since(begin)
			}()
			most := 0
			for batch := range r.Replies() {
				most = max(most, len(batch))
				r.Release(batch)
			}
			cancel()
			if took := <-ended; took > 1010*time.Millisecond || most > 6 {
				t.Errorf("%s: ended after %v, %d replies waited for each other", s.fact, took, most)
			}
		}
	})
}

// What arrived before the end is read, however late the receiver is.
func TestTheBacklogIsReadAtTheEnd(t *testing.T) {
	source := &script{}
	for range 1000 {
		source.packets = append(source.packets, samples()[0].bytes)
	}
	r := New(Input{source, classifier(t, method.ByName("syn"))})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	go r.Run(ctx)
	replies := 0
	for batch := range r.Replies() {
		replies += len(batch)
		r.Release(batch)
	}
	if replies != 1000 {
		t.Errorf("%d of 1000 replies", replies)
	}
}

func TestABrokenSourceLosesNoReply(t *testing.T) {
	source := &script{err: errors.New("broken")}
	for range 100 {
		source.packets = append(source.packets, samples()[0].bytes)
	}
	r := New(Input{source, classifier(t, method.ByName("syn"))})
	ended := make(chan error, 1)
	go func() { ended <- r.Run(t.Context()) }()
	replies := 0
	for batch := range r.Replies() {
		replies += len(batch)
		r.Release(batch)
	}
	if err := <-ended; !errors.Is(err, source.err) || replies != 100 {
		t.Errorf("%d of 100 replies, %v", replies, err)
	}
}
