package lab

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flood is a storm of frames, bounded in number and time.
type Flood struct {
	Device  string
	Packets uint64        // at most
	Time    time.Duration // at most
	Rate    float64       // frames per second; 0 means as fast as one thread can

	// Frame writes the n-th frame into buf, which holds what an earlier one
	// left there (or zeros), and returns its length. It is called in order, but
	// from n on again where the device had no room for a frame.
	Frame func(n uint64, buf *[1514]byte) int
}

// Flooded is what has become of a flood.
type Flooded struct {
	Sent    uint64
	Refused uint64 // times the device had no room and was asked again
	Elapsed time.Duration
}

const (
	floodBatch = 64
	// floodTick is how often a flood with a rate sends.
	floodTick = time.Millisecond
)

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// Flood sends frames past the queueing discipline, until one of its bounds is
// reached or ctx is done, which is no error.
func (n *Namespace) Flood(ctx context.Context, f Flood) (done Flooded, err error) {
	if f.Packets == 0 || f.Time <= 0 {
		return done, errors.New("flood: a bound is missing")
	}
	var fd int
	err = n.Do(func() (err error) {
		if err := Guard(); err != nil {
			return err
		}
		dev, err := n.link.LinkByName(f.Device)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1),
			unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: dev.Attrs().Index}), // no protocol: nothing is received
		)
		if err != nil {
			unix.Close(fd)
		}
		return err
	})
	if err != nil {
		return done, fmt.Errorf("flood %q: %w", f.Device, err)
	}
	defer unix.Close(fd)

	var frames [floodBatch][1514]byte
	var iov [floodBatch]unix.Iovec
	var hdr [floodBatch]mmsghdr
	for i := range hdr {
		iov[i].Base = &frames[i][0]
		hdr[i].hdr.Iov = &iov[i]
		hdr[i].hdr.SetIovlen(1)
	}
	start := time.Now()
	for ctx.Err() == nil && done.Sent < f.Packets {
		done.Elapsed = time.Since(start)
		if done.Elapsed >= f.Time {
			break
		}
		batch := min(floodBatch, f.Packets-done.Sent)
		if f.Rate > 0 {
			due := uint64(done.Elapsed.Seconds() * f.Rate)
			if due <= done.Sent {
				time.Sleep(floodTick)
				continue
			}
			batch = min(batch, due-done.Sent)
		}
		for i := range batch {
			iov[i].SetLen(f.Frame(done.Sent+i, &frames[i]))
		}
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&hdr[0])), uintptr(batch), 0, 0, 0)
		runtime.KeepAlive(&hdr)
		switch errno {
		case 0:
			done.Sent += uint64(sent)
		case unix.ENOBUFS, unix.EAGAIN, unix.ENOMEM, unix.EINTR:
			done.Refused++
		default:
			return done, fmt.Errorf("flood %q: %w", f.Device, errno)
		}
	}
	done.Elapsed = time.Since(start)
	return done, nil
}
