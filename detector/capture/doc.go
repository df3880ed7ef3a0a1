// Package capture reads the packets of a capture file for the detector, and
// remembers the conversations in it in place of the kernel's socket table.
//
// A Reader takes pcap (both byte orders, micro- and nanoseconds) and pcapng
// (several sections and interfaces, any resolution), plain or compressed by
// gzip, from a file or a pipe, and makes every packet an Ethernet frame. What
// it reads may be hostile: it holds one frame and a bounded list of interfaces,
// whatever lengths the file claims, and it does not allocate per packet. A file
// that is cut off or damaged is delivered up to there, and the error says where
// that is.
//
// Both formats are read here and not by gopacket's pcapgo, which cannot tell a
// cut block header from the end of a file, allocates whatever length a packet
// claims, refuses packets longer than the announced snap length, and for
// pcapng interfaces with odd resolutions divides by zero or by a rounded
// number. The tests hold this package against it and against tcpdump.
//
// Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng; where files
// deviate from them, this package does as libpcap does.
package capture
