package detector_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"synoptic/bpf/watch"
	"synoptic/detector"
	"synoptic/detector/capture"
)

// answers is a capture of a server's answers, 1 ms apart, of which none is a
// probe, each to another client.
func answers(n int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0)
	packet := func(at int, src, dst [4]byte, sport, dport uint16, flags byte) {
		f := append(make([]byte, 12), 8, 0)
		f = append(f, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0)
		f = append(append(f, src[:]...), dst[:]...)
		f = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(f, sport), dport)
		f = append(f, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0)
		for _, v := range []int{1, at * 1000, len(f), len(f)} {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
		b = append(b, f...)
	}
	server := [4]byte{192, 0, 2, 80}
	for i := range n {
		client := [4]byte{198, 51, 100, byte(i)}
		packet(2*i, client, server, 40000, 80, 0x02)
		packet(2*i+1, server, client, 80, 40000, 0x12)
	}
	return b
}

// TestAlertNamesTheDestinationOfItsPacket: also if a policy over packets
// accuses who has probed nobody.
func TestAlertNamesTheDestinationOfItsPacket(t *testing.T) {
	for _, twin := range []bool{false, true} {
		t.Run(fmt.Sprintf("twin=%v", twin), func(t *testing.T) {
			if !twin {
				needRoot(t)
			}
			r, err := capture.NewReader(bytes.NewReader(answers(30)))
			if err != nil {
				t.Fatal(err)
			}
			settings := detector.Settings{Ruleset: published()}
			settings.Policies = detector.Policies()[2:] // sophos-packet
			var said []*detector.Alert
			if _, err := detector.Replay(t.Context(), r, detector.ReplayConfig{Settings: settings, Memory: watch.MinMemory, Twin: twin,
				Alert: func(a *detector.Alert) { said = append(said, a) }}); err != nil {
				t.Fatal(err)
			}
			if len(said) != 2 {
				t.Fatalf("said %d times", len(said))
			}
			// 22 points are over the line: those of the 22nd answer.
			want := netip.MustParseAddr("198.51.100.21")
			if a := said[0]; a.Destination != want || a.Time != time.Unix(1, 43*int64(time.Millisecond)) {
				t.Errorf("the packet to %v at %v, want %v", a.Destination, a.Time.UTC(), want)
			}
		})
	}
}
