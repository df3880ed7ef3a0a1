package lab

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// recordBytes is how much of a frame is kept: every header of interest, with
// room for IPv6 extension headers.
const recordBytes = 256

// Record writes what a device receives and sends from now on to a capture file,
// with the time at which the kernel saw it; of one IPv4 source's packets only,
// if from is valid. stop returns when all that was seen until then is in the
// file. Frames that came too fast to be kept are an error.
//
// The file is in pcap's format with times in nanoseconds (draft-ietf-opsawg-pcap).
func (n *Namespace) Record(device, path string, from netip.Addr) (stop func() error, err error) {
	fd, err := n.eavesdrop(device, false)
	if err != nil {
		return nil, fmt.Errorf("record %q: %w", device, err)
	}
	f, err := os.Create(path)
	if err == nil && from.IsValid() {
		err = errors.Join(only(fd, from), drain(fd))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("record %q: %w", device, err), f.Close(), unix.Close(fd))
	}
	r := &recorder{fd: fd, out: bufio.NewWriterSize(f, 1<<20), stopping: make(chan struct{})}
	var reader sync.WaitGroup
	reader.Go(r.run)
	return func() error {
		close(r.stopping)
		reader.Wait()
		err := errors.Join(r.failed, missed(fd), r.out.Flush(), f.Close(), unix.Close(fd))
		if err != nil {
			return fmt.Errorf("record %q: %w", device, err)
		}
		return nil
	}, nil
}

// only has a packet socket get nothing but IPv4 packets with this source, in
// Ethernet frames without tags.
func only(fd int, from netip.Addr) error {
	if !from.Is4() {
		return fmt.Errorf("source %s: want an IPv4 address", from)
	}
	a := from.As4()
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 26, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(a[:]), SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 18},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, p := range program {
		filter[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// drain throws away what a socket has got before its filter.
func drain(fd int) error {
	for {
		if _, _, err := unix.Recvfrom(fd, nil, unix.MSG_DONTWAIT); err != nil && err != unix.EINTR {
			if err == unix.EAGAIN {
				return nil
			}
			return err
		}
	}
}

type recorder struct {
	fd       int
	out      *bufio.Writer
	stopping chan struct{}
	failed   error // valid once run has returned
}

func (r *recorder) run() {
	var head [24]byte // pcap's file header
	binary.LittleEndian.PutUint32(head[0:], 0xa1b23c4d)
	binary.LittleEndian.PutUint16(head[4:], 2)
	binary.LittleEndian.PutUint16(head[6:], 4)
	binary.LittleEndian.PutUint32(head[16:], recordBytes)
	binary.LittleEndian.PutUint32(head[20:], 1) // Ethernet
	r.out.Write(head[:])                        // errors stay until Flush
	frame, control := make([]byte, recordBytes), make([]byte, unix.CmsgSpace(16))
	for {
		size, controlSize, _, _, err := unix.Recvmsg(r.fd, frame, control, unix.MSG_TRUNC)
		switch err {
		case nil:
			stamp, ok := kernelTime(control[:controlSize])
			if !ok {
				r.failed = errors.New("a frame has no time")
				return
			}
			var packet [16]byte // pcap's packet header
			binary.LittleEndian.PutUint32(packet[0:], uint32(stamp.Sec))
			binary.LittleEndian.PutUint32(packet[4:], uint32(stamp.Nsec))
			binary.LittleEndian.PutUint32(packet[8:], uint32(min(size, recordBytes)))
			binary.LittleEndian.PutUint32(packet[12:], uint32(size))
			r.out.Write(packet[:])
			r.out.Write(frame[:min(size, recordBytes)])
		case unix.EINTR:
		default: // nothing for a while, or the device is gone
			select {
			case <-r.stopping:
				return
			default:
			}
			if err != unix.EAGAIN {
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
}

// kernelTime finds the time of SO_TIMESTAMPNS, a struct timespec.
func kernelTime(control []byte) (unix.Timespec, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return unix.Timespec{}, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return unix.Timespec{
				Sec:  int64(binary.NativeEndian.Uint64(m.Data)),
				Nsec: int64(binary.NativeEndian.Uint64(m.Data[8:])),
			}, true
		}
	}
	return unix.Timespec{}, false
}
