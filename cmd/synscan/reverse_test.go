package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// A malformed name does not cost the good ones.
func TestReverseTakesTheGoodNames(t *testing.T) {
	before := net.DefaultResolver
	defer func() { net.DefaultResolver = before }()
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go answerPointers(far, "bad name.example.", "good.example.")
		return near, nil
	}}
	if got := reverse(t.Context(), netip.MustParseAddr("192.0.2.9")); got != "good.example" {
		t.Errorf("the name is %q", got)
	}
}

// answerPointers answers one question, as DNS over TCP has it (RFC 1035 section
// 4.2.2), with PTR records.
func answerPointers(conn net.Conn, names ...string) {
	defer conn.Close()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	packet := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, packet); err != nil {
		return
	}
	var m dnsmessage.Message
	if err := m.Unpack(packet); err != nil {
		return
	}
	m.Response, m.Additionals = true, nil
	for _, name := range names {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(name)},
		})
	}
	packet, err := m.Pack()
	if err != nil {
		return
	}
	conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...))
}
