package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// patch gives scanner and host a tun or a tap device each, and has this process
// carry what one sends to the other.
func (l *Lab) patch(h *Host, flags uint16) error {
	near, err := l.Scanner.openTun(h.Near, flags)
	if err != nil {
		return err
	}
	far, err := h.Namespace.openTun(h.Far, flags)
	if err != nil {
		return errors.Join(err, near.Close())
	}
	var carriers sync.WaitGroup
	named := flags&unix.IFF_NO_PI == 0
	carriers.Go(func() { carry(near, far, named) })
	carriers.Go(func() { carry(far, near, named) })
	l.onClose(func() error {
		err := errors.Join(near.Close(), far.Close())
		carriers.Wait()
		return err
	})
	return nil
}

// openTun creates a tun or tap device, which is there as long as the file is
// open.
func (n *Namespace) openTun(device string, flags uint16) (f *os.File, err error) {
	err = n.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq(device)
		if err == nil {
			request.SetUint16(flags)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		f = os.NewFile(uintptr(fd), device)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("create device %q: %w", device, err)
	}
	return f, nil
}

// carry copies packets until a file is closed. Where their protocol is named in
// front of them (struct tun_pi in <linux/if_tun.h>: flags, protocol), one that
// names another protocol than its first byte does is thrown away, as WireGuard
// does it (wg_check_packet_protocol, drivers/net/wireguard/queueing.h).
func carry(from, to *os.File, named bool) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if named && (n < 5 || binary.BigEndian.Uint16(buf[2:]) != protocols[buf[4]>>4]) {
			continue
		}
		// A device that is down, or has no room, loses packets as any other.
		if _, err := to.Write(buf[:n]); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}

// protocols are the EtherTypes of IP versions.
var protocols = [16]uint16{4: unix.ETH_P_IP, 6: unix.ETH_P_IPV6}
