package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Watch has see called with every frame that a device receives from now on, or
// every packet where it has no Ethernet headers, on one goroutine. stop returns
// when it has seen what arrived until then. Frames that came too fast to be
// seen are an error.
func (n *Namespace) Watch(device string, see func(frame []byte)) (stop func() error, err error) {
	fd, err := n.eavesdrop(device, true)
	if err != nil {
		return nil, fmt.Errorf("watch %q: %w", device, err)
	}
	stopping := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			size, _, err := unix.Recvfrom(fd, buf, 0)
			switch {
			case err == nil:
				see(buf[:size])
			case err == unix.EINTR:
			case err == unix.EAGAIN: // nothing for a while
				select {
				case <-stopping:
					return
				default:
				}
			default: // the device is gone or down
				select {
				case <-stopping:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}
	})
	return func() error {
		close(stopping)
		watcher.Wait()
		defer unix.Close(fd)
		err := missed(fd)
		if err != nil {
			return fmt.Errorf("watch %q: %w", device, err)
		}
		return nil
	}, nil
}

// eavesdrop opens a packet socket, with room for a storm, that gets what a device
// receives, or what it sends as well. A read waits at most 20 ms.
func (n *Namespace) eavesdrop(device string, received bool) (fd int, err error) {
	fd = -1
	err = n.Do(func() error {
		dev, err := n.link.LinkByName(device)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		ignore := 0
		if received {
			ignore = 1
		}
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, ignore),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000}),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: dev.Attrs().Index}),
		)
	})
	if err != nil && fd >= 0 {
		unix.Close(fd)
	}
	return fd, err
}

// missed returns an error if frames came too fast for the reader of a packet
// socket.
func missed(fd int) error {
	stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err == nil && stats.Drops > 0 {
		err = fmt.Errorf("%d of %d frames were not seen", stats.Drops, stats.Packets)
	}
	return err
}

// networkOrder swaps a protocol number into the order in which packet(7) has it.
func networkOrder(protocol uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
}
