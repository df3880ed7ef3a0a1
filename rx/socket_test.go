package rx

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Datagrams to a port of this machine take the place of answers.
func TestSocketReadsWhatItsFilterPasses(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("packet sockets need root")
		}
		t.Skip("packet sockets need root")
	}
	listener, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := uint32(listener.LocalAddr().(*net.UDPAddr).Port)
	s, err := openSocket(1, "lo", []bpf.Instruction{ // UDP over IPv4 to that port
		bpf.LoadAbsolute{Off: 23, Size: 1}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 17, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 36, Size: 2}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: port, SkipTrue: 1},
		bpf.RetConstant{Val: snapLen}, bpf.RetConstant{Val: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, _, err := s.Read(); !errors.Is(err, ErrIdle) {
		t.Fatalf("with nothing to read: %v", err)
	}
	sender, err := net.DialUDP("udp4", nil, listener.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	begin := time.Now()
	const packets = 3*socketBatch + 5
	for i := range packets {
		if _, err := sender.Write([]byte{byte(i), 0xaa}); err != nil {
			t.Fatal(err)
		}
	}
	sent := time.Now()
	time.Sleep(20 * time.Millisecond) // the stamps are of the arrival, not of the reading
	last := begin
	for i := range packets {
		data, at, err := s.Read()
		if err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		if len(data) != 44 || data[42] != byte(i) || data[43] != 0xaa {
			t.Fatalf("packet %d is %x", i, data)
		}
		if at.Before(last.Add(-time.Millisecond)) || at.After(sent.Add(time.Millisecond)) {
			t.Fatalf("packet %d arrived at %v, between %v and %v", i, at, begin, sent)
		}
		last = at
	}
	if _, _, err := s.Read(); !errors.Is(err, ErrIdle) {
		t.Errorf("after the last: %v", err)
	}
	for range packets {
		if _, err := sender.Write([]byte{1, 2}); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(packets-1, func() { // and once before
		if _, _, err := s.Read(); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations per packet", n)
	}
	if n, err := s.Drops(); n != 0 || err != nil {
		t.Errorf("%d dropped, %v", n, err)
	}
}

// What finds no room is counted, once.
func TestSocketCountsWhatItLoses(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("packet sockets need root")
		}
		t.Skip("packet sockets need root")
	}
	s, err := openSocket(1, "lo", []bpf.Instruction{ // IPv4 to 127.77.1.2
		bpf.LoadAbsolute{Off: 30, Size: 4}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x7f4d0102, SkipTrue: 1},
		bpf.RetConstant{Val: snapLen}, bpf.RetConstant{Val: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<10); err != nil {
		t.Fatal(err)
	}
	sender, err := net.Dial("udp4", "127.77.1.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	const packets = 5000 // more than the buffer holds
	for range packets {
		sender.Write([]byte{1}) // refusals of port 9 come back as errors
	}
	read := uint64(0)
	for {
		if _, _, err := s.Read(); err != nil {
			break
		}
		read++
	}
	for range 2 {
		if dropped, err := s.Drops(); err != nil || dropped == 0 || dropped+read < packets/2 || dropped+read > packets {
			t.Errorf("%d read, %d dropped of %d: %v", read, dropped, packets, err)
		}
	}
}
