package rx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/google/gopacket/afpacket"
	"golang.org/x/net/bpf"
)

// The ring: 2048 blocks of 8 KiB, 16 MiB in all, each holding about 58 answers.
// Small blocks, because a block that its time-out closes is spent however few
// packets it holds: with 2048 of them the receiver may be kept from running for
// 4 seconds of a trickle, or for a quarter of a second of 400,000 answers.
const (
	blockSize  = 8 << 10
	RingBlocks = 2048
	frameSize  = 2048 // divides the block; TPACKET_V3 packs frames by their size

	// How long a packet may wait in a block that does not fill. Kernels before
	// 6.18 round it up to a jiffy.
	blockTimeout = 2 * time.Millisecond
)

// Ring is a Source over a TPACKET_V3 receive ring of a packet socket
// (Documentation/networking/packet_mmap.rst).
type Ring struct {
	packets *afpacket.TPacket
	name    string // of the device, for errors
	// The library binds the socket before a filter can be set: packets between
	// these moments are anybody's.
	opened, filtered time.Time

	rest rest
}

// OpenRing opens a ring of so many blocks, RingBlocks where nothing speaks for
// fewer, on a device with the filter of a match. When it
// returns, every answer that arrives from then on is seen. The calling
// thread's network namespace is the one that counts.
func OpenRing(device string, match Match, blocks int) (*Ring, error) {
	filter, err := bpf.Assemble(append(incoming(), match.Filter()...))
	if err != nil {
		return nil, fmt.Errorf("assemble receive filter: %w", err)
	}
	opened := time.Now()
	packets, err := afpacket.NewTPacket(
		afpacket.OptInterface(device), afpacket.TPacketVersion3, afpacket.SocketRaw,
		afpacket.OptFrameSize(frameSize), afpacket.OptBlockSize(blockSize), afpacket.OptNumBlocks(blocks),
		afpacket.OptBlockTimeout(blockTimeout), afpacket.OptPollTimeout(0))
	if err != nil {
		return nil, fmt.Errorf("open receive ring on %s: %w", device, err)
	}
	if err := packets.SetBPF(filter); err != nil {
		packets.Close()
		return nil, fmt.Errorf("set receive filter on %s: %w", device, err)
	}
	if err := prepareBlocks(packets, blocks); err != nil {
		packets.Close()
		return nil, fmt.Errorf("prepare receive ring on %s: %w", device, err)
	}
	if err := packets.InitSocketStats(); err != nil {
		packets.Close()
		return nil, fmt.Errorf("read counters of receive ring on %s: %w", device, err)
	}
	return &Ring{packets: packets, name: device, opened: opened, filtered: time.Now()}, nil
}

// firstPacket is where a block descriptor says at which offset its first packet
// is: tpacket_block_desc.hdr.bh1.offset_to_first_pkt, <linux/if_packet.h>.
const firstPacket = 16

// prepareBlocks writes into every block's descriptor what the kernel will write
// when it opens the block for the first time. The library (gopacket 1.1.19)
// computes the address of a block's first packet when it comes to the block,
// which in the ring's first round may be before the kernel has opened it: then
// it reads a whole block of packets from wrong addresses, and they are lost
// without a count. All blocks have the same offset, and the kernel opened the
// first one when it set up the ring.
func prepareBlocks(packets *afpacket.TPacket, blocks int) error {
	ring, err := ringMemory(packets, blocks)
	if err != nil {
		return err
	}
	offset := binary.NativeEndian.Uint32(ring[firstPacket:])
	if offset == 0 || offset >= blockSize {
		return fmt.Errorf("the first block begins at %d", offset)
	}
	for block := ring; len(block) > 0; block = block[blockSize:] {
		binary.NativeEndian.PutUint32(block[firstPacket:], offset)
	}
	return nil
}

// ringMemory returns the ring, which the library keeps to itself.
func ringMemory(packets *afpacket.TPacket, blocks int) ([]byte, error) {
	field := reflect.ValueOf(packets).Elem().FieldByName("ring")
	if !field.IsValid() || field.Type() != reflect.TypeFor[[]byte]() || field.Len() != blocks*blockSize {
		return nil, errors.New("the packet library is not the one that this was written for")
	}
	return field.Bytes(), nil
}

// Read implements Source.
func (r *Ring) Read() ([]byte, time.Time, error) {
	data, at, err := r.take()
	if err == ErrIdle {
		r.rest.sleep()
		data, at, err = r.take()
	}
	if err == nil {
		r.rest.over()
	}
	return data, at, err
}

// take returns the next packet that is there.
func (r *Ring) take() ([]byte, time.Time, error) {
	for {
		data, info, err := r.packets.ZeroCopyReadPacketData()
		switch {
		case err == nil:
			if info.Timestamp.Before(r.filtered) && info.Timestamp.After(r.opened) {
				continue
			}
			return data, info.Timestamp, nil
		case errors.Is(err, afpacket.ErrTimeout):
			return nil, time.Time{}, ErrIdle
		case errors.Is(err, afpacket.ErrPoll):
			return nil, time.Time{}, fmt.Errorf("receive on %s: the interface went down or away", r.name)
		}
		return nil, time.Time{}, fmt.Errorf("receive on %s: %w", r.name, err)
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
