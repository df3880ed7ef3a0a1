package rx

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/gopacket/afpacket"
	"golang.org/x/net/bpf"
)

// The ring: 2048 blocks of 8 KiB, 16 MiB in all, each holding about 58 answers.
// Small blocks, because a block that its time-out closes is spent however few
// packets it holds: with 2048 of them the receiver may be kept from running for
// 4 seconds of a trickle, or for a quarter of a second of 400,000 answers.
const (
	blockSize = 8 << 10
	blocks    = 2048
	frameSize = 2048 // divides the block; TPACKET_V3 packs frames by their size

	// How long a packet may wait in a block that does not fill. Kernels before
	// 6.18 round it up to a jiffy.
	blockTimeout = 2 * time.Millisecond
	// How long Read waits before it reports ErrIdle.
	pollTimeout = 4 * time.Millisecond
)

// Ring is a Source over a TPACKET_V3 receive ring of a packet socket
// (Documentation/networking/packet_mmap.rst).
type Ring struct {
	packets *afpacket.TPacket
	since   time.Time
}

// OpenRing opens a ring on a device with the filter of a match. When it
// returns, every answer that arrives from then on is seen. The calling
// thread's network namespace is the one that counts.
func OpenRing(device string, match Match) (*Ring, error) {
	filter, err := bpf.Assemble(append(incoming(), match.Filter()...))
	if err != nil {
		return nil, fmt.Errorf("assemble receive filter: %w", err)
	}
	packets, err := afpacket.NewTPacket(
		afpacket.OptInterface(device), afpacket.TPacketVersion3, afpacket.SocketRaw,
		afpacket.OptFrameSize(frameSize), afpacket.OptBlockSize(blockSize), afpacket.OptNumBlocks(blocks),
		afpacket.OptBlockTimeout(blockTimeout), afpacket.OptPollTimeout(pollTimeout))
	if err != nil {
		return nil, fmt.Errorf("open receive ring on %s: %w", device, err)
	}
	if err := packets.SetBPF(filter); err != nil {
		packets.Close()
		return nil, fmt.Errorf("set receive filter on %s: %w", device, err)
	}
	// The library binds before a filter can be set. What came in between is
	// older than this moment, and its counts are cleared.
	if err := packets.InitSocketStats(); err != nil {
		packets.Close()
		return nil, fmt.Errorf("read counters of receive ring on %s: %w", device, err)
	}
	return &Ring{packets: packets, since: time.Now()}, nil
}

// Read implements Source.
func (r *Ring) Read() ([]byte, time.Time, error) {
	for {
		data, info, err := r.packets.ZeroCopyReadPacketData()
		switch {
		case err == nil:
			if info.Timestamp.Before(r.since) {
				continue
			}
			return data, info.Timestamp, nil
		case errors.Is(err, afpacket.ErrTimeout):
			return nil, time.Time{}, ErrIdle
		case errors.Is(err, afpacket.ErrPoll):
			return nil, time.Time{}, errors.New("receive: the interface went down or away")
		}
		return nil, time.Time{}, fmt.Errorf("receive: %w", err)
	}
}

// Drops implements Source.
func (r *Ring) Drops() (uint64, error) {
	_, stats, err := r.packets.SocketStats()
	return uint64(stats.Drops()), err
}

// Close implements Source. Read must have returned.
func (r *Ring) Close() error {
	r.packets.Close()
	return nil
}
