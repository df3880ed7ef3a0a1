package rx

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"synoptic/internal/wire"
)

var (
	arpReply = []byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x09\x08\x06" + // Ethernet
		"\x00\x01\x08\x00\x06\x04\x00\x02" + // Ethernet, IPv4, reply
		"\x02\x00\x00\x00\x00\x09\x0a\x09\x00\x4d" + // 10.9.0.77
		"\x02\x00\x00\x00\x00\x01\x0a\x09\x00\x01")
	advertised = []byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x09\x86\xdd" +
		"\x60\x00\x00\x00\x00\x20\x3a\xff" +
		"\xfd\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x4d" +
		"\xfd\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x88\x00\x00\x00\x60\x00\x00\x00" +
		"\xfd\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x4d" +
		"\x02\x01\x02\x00\x00\x00\x00\x09")
)

func edited(frame []byte, at int, value byte) []byte {
	b := append([]byte(nil), frame...)
	b[at] = value
	return b
}

// What the filter passes is little, and all that the decoder takes.
func TestNeighbourFilter(t *testing.T) {
	program, err := bpf.NewVM(neighbourFilter())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		fact  string
		frame []byte
		want  bool
	}{
		{"arp_reply", arpReply, true},
		{"arp_request", edited(arpReply, wire.EthernetLen+7, 1), false},
		{"advertisement", advertised, true},
		{"solicitation", edited(advertised, wire.EthernetLen+wire.IPv6Len, 135), false},
		{"tcp_over_ipv6", edited(advertised, wire.EthernetLen+6, wire.ProtoTCP), false},
		{"ipv4", edited(arpReply, 13, 0), false},
		{"cut_short", arpReply[:13], false},
	} {
		t.Run(tt.fact, func(t *testing.T) {
			if got := passes(t, program, tt.frame); got != tt.want {
				t.Errorf("passes: %v", got)
			}
			if got := new(wire.Neighbour).Decode(tt.frame); got != tt.want {
				t.Errorf("is decoded: %v", got)
			}
		})
	}
}

func TestNeighboursAreReadUntilTheEnd(t *testing.T) {
	broken := errors.New("broken")
	source := &script{err: broken}
	source.packets = [][]byte{arpReply, {1, 2, 3}, advertised}
	var heard []netip.Addr
	err := Neighbours(t.Context(), source, func(n wire.Neighbour) { heard = append(heard, n.Addr) })
	if !errors.Is(err, broken) || len(heard) != 2 || heard[0] != netip.MustParseAddr("10.9.0.77") || heard[1] != netip.MustParseAddr("fd09::4d") {
		t.Errorf("heard %v, %v", heard, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Neighbours(ctx, source, func(wire.Neighbour) { t.Error("heard after the end") }); err != nil {
		t.Error(err)
	}
}
