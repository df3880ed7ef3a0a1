// Package wire is the bytes: where the fields of Ethernet, IPv4, IPv6, TCP and
// ICMP lie, the Internet checksum, and a decoder for the few packets that can
// answer a probe. No I/O, no allocation, and no trust: every length is checked
// before it is used, and a malformed packet is a value, not an error.
//
// It leaves out what a scan never needs: fragments are not reassembled, and
// checksums of received packets are not verified, because the network card or
// the kernel did so or (on loopback) nobody computed them.
package wire

import "encoding/binary"

// TCP flags, RFC 9293 section 3.1.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// Header sizes in bytes, without options.
const (
	EthernetLen = 14
	IPv4Len     = 20
	IPv6Len     = 40
	TCPLen      = 20
)

// Ethernet types (IEEE 802 numbers) and IP protocol numbers (IANA).
const (
	EtherIPv4  = 0x0800
	EtherIPv6  = 0x86dd
	EtherVLAN  = 0x8100 // IEEE 802.1Q
	EtherQinQ  = 0x88a8 // IEEE 802.1ad
	ProtoICMP  = 1
	ProtoTCP   = 6
	ProtoICMP6 = 58
)

// Sum adds b to a ones' complement sum in progress (RFC 1071), b starting at an
// even offset of the covered data. The sum is of big-endian 16-bit words and is
// not folded: it holds 64 KiB of data and more without overflow.
func Sum(sum uint32, b []byte) uint32 {
	for len(b) >= 2 {
		sum += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

// Checksum folds a sum and returns its complement: the field's value.
func Checksum(sum uint32) uint16 {
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	return ^uint16(sum)
}
