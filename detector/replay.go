package detector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"synoptic/bpf/watch"
	"synoptic/detector/capture"
	"synoptic/detector/twin"
)

// ReplayConfig is what a replay begins with.
type ReplayConfig struct {
	Settings
	Memory  uint64 // bytes; 0 means watch.DefaultMemory
	Gateway bool   // judge by flags alone, as a live detector on a gateway does
	// Twin has the program's Go twin look at the packets, which needs no
	// privileges. The alerts are the same.
	Twin  bool
	Alert func(*Alert)
}

// program is the kernel program or its twin.
type program interface {
	Source(watch.Ref) (watch.Snapshot, bool)
	Run(frame []byte, now uint64, c watch.Context) error
	Read(func(*watch.Snapshot)) error
	Counters() (watch.Counters, error)
	Close() error
}

// Replay runs a capture through the program as if it were happening, at the
// capture's times, and returns what was counted. If times run backwards, an
// episode may be ended by the later ones before the earlier are seen, and a scan
// that went on be told as two. On an error of the capture, as
// when it is cut off, what stands before it has been judged.
func Replay(ctx context.Context, r *capture.Reader, cfg ReplayConfig) (watch.Counters, error) {
	p, err := cfg.load()
	if err != nil {
		return watch.Counters{}, err
	}
	defer p.Close()
	scorer, err := NewScorer(ScorerConfig{
		Ruleset: cfg.Ruleset,
		Wall:    func(ns uint64) time.Time { return time.Unix(0, int64(ns)) },
		Sources: p,
		Alert:   cfg.Alert,
	})
	if err != nil {
		return watch.Counters{}, err
	}
	broken := replay(ctx, r, p, scorer)
	scorer.Close()
	c, err := p.Counters()
	return c, errors.Join(broken, err)
}

func replay(ctx context.Context, r *capture.Reader, p program, scorer *Scorer) error {
	conversations := capture.NewConversations(0)
	var (
		f      twin.Frame
		newest uint64
	)
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return fmt.Errorf("replay: stopped after %d packets: %w", n, context.Cause(ctx))
		}
		frame, at, _, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		newest = max(newest, at)
		scorer.Advance(newest)
		twin.Decode(frame, &f)
		known := watch.Unknown
		if f.Class == twin.TCP || f.Class == twin.UDP {
			known = conversations.See(
				netip.AddrPortFrom(f.Source, f.SourcePort),
				netip.AddrPortFrom(f.Destination, f.DestinationPort), f.Protocol, f.Flags)
		}
		if err := p.Run(frame, at, known); err != nil {
			return err
		}
		if err := p.Read(scorer.Observe); err != nil {
			return err
		}
	}
}

func (cfg *ReplayConfig) load() (program, error) {
	rules, err := cfg.rules()
	if err != nil {
		return nil, err
	}
	w := watch.Config{Memory: cfg.Memory, Gateway: cfg.Gateway, Packets: cfg.overPackets(), Replay: true}
	if !cfg.Twin {
		return watch.Load(w, rules)
	}
	sets, err := watch.SetsFor(w)
	if err != nil {
		return nil, err
	}
	t, err := twin.New(twin.Config{Sets: int(sets), Key: watch.RandomKey(), Gateway: cfg.Gateway})
	if err != nil {
		return nil, err
	}
	return t, t.SetRules(rules)
}
