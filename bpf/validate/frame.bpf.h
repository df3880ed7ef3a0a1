/* Where the headers of a frame are. The same bytes are read, and the same ones
 * refused, as by Packet.Decode of package wire, whose lengths these are: what
 * an IP header promises may be cut short, as long as what is read is there.
 * Checksums are not verified, nor are they there. But for VLAN tags: a driver
 * may take them off or leave them, and a probe has none.
 */
#ifndef SYNOPTIC_VALIDATE_FRAME_BPF_H
#define SYNOPTIC_VALIDATE_FRAME_BPF_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "context.bpf.h"

#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define OFFSET_MAX 0x3fff /* headers beyond are none */

/* An upper header and what belongs to it: [at, end) of the frame. */
struct upper {
	__u32 at;
	__u32 end;
	__u8 protocol;
};

/* Reads the IPv4 header at an offset (RFC 791 3.1) of a datagram that ends at
 * u->end at the latest.
 */
static __always_inline bool ipv4_upper(void *data, void *data_end, __u32 at, struct upper *u)
{
	struct iphdr *ip = data + at;
	__u32 header, total;

	if ((void *)(ip + 1) > data_end || at + sizeof(*ip) > u->end)
		return false;
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header < sizeof(*ip) || total < header || at + header > u->end)
		return false;
	if (ip->frag_off & bpf_htons(0x1fff)) /* not the first fragment: no ports here */
		return false;
	u->at = at + header;
	if (at + total < u->end)
		u->end = at + total;
	u->protocol = ip->protocol;
	return true;
}

/* RFC 8200 4.1 recommends each extension header at most once. */
#define EXTENSIONS_MAX 8

static __always_inline bool is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
	       next == IPPROTO_FRAGMENT || next == IPPROTO_AH;
}

/* Walks the IPv6 extension headers in [at, end) of the frame, of which next is
 * the first. Returns where they end and, from bit 32 on, the protocol there; 0
 * if they do not.
 */
static __always_inline __u64 walk_extensions(void *ctx, const bool xdp, __u32 at, __u32 end, __u8 next)
{
	void *data = frame_begin(ctx, xdp), *data_end = frame_end(ctx, xdp);

	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		__u8 *ext = data + (at & OFFSET_MAX);

		if (!is_extension(next))
			return at | (__u64)next << 32;
		if (at > OFFSET_MAX || (void *)(ext + 8) > data_end || at + 8 > end)
			return 0;
		if (next == IPPROTO_AH) { /* RFC 4302 2.2 */
			at += (ext[1] + 2) * 4;
		} else if (next == IPPROTO_FRAGMENT) {
			if (ext[2] | (ext[3] & 0xf8)) /* not the first */
				return 0;
			at += 8;
		} else {
			at += (ext[1] + 1) * 8;
		}
		if (at > end)
			return 0;
		next = ext[0];
	}
	return 0;
}

/* Functions of their own, so that the verifier goes through the loop once; few
 * packets come here.
 */
__noinline __u64 walk_extensions_xdp(struct xdp_md *ctx, __u32 at, __u32 end, __u8 next)
{
	return walk_extensions(ctx, true, at, end, next);
}

__noinline __u64 walk_extensions_tcx(struct __sk_buff *ctx, __u32 at, __u32 end, __u8 next)
{
	return walk_extensions(ctx, false, at, end, next);
}

/* The same for IPv6 (RFC 8200 3), behind the extension headers. */
static __always_inline bool ipv6_upper(void *ctx, const bool xdp, void *data, void *data_end, __u32 at, struct upper *u)
{
	struct ipv6hdr *ip = data + at;
	__u64 walked;

	if ((void *)(ip + 1) > data_end || at + sizeof(*ip) > u->end || ip->version != 6)
		return false;
	at += sizeof(*ip);
	if (at + bpf_ntohs(ip->payload_len) < u->end)
		u->end = at + bpf_ntohs(ip->payload_len);
	u->at = at;
	u->protocol = ip->nexthdr;
	if (is_extension(ip->nexthdr)) {
		walked = xdp ? walk_extensions_xdp(ctx, at, u->end, ip->nexthdr) :
			       walk_extensions_tcx(ctx, at, u->end, ip->nexthdr);
		if (walked == 0)
			return false;
		u->at = walked;
		u->protocol = walked >> 32;
	}
	return true;
}

/* Where, in the datagram of which an ICMP error quotes the bytes [at, end), its
 * TCP header is, of which there are at least 8 bytes (RFC 792); 0 if there is
 * none.
 */
static __always_inline __u32 quoted_tcp(void *ctx, const bool xdp, __u32 at, __u32 end, __u8 v6)
{
	void *data = frame_begin(ctx, xdp), *data_end = frame_end(ctx, xdp);
	struct upper u = { .end = end };

	if (at > OFFSET_MAX)
		return 0;
	if (v6 ? !ipv6_upper(ctx, xdp, data, data_end, at, &u) : !ipv4_upper(data, data_end, at, &u))
		return 0;
	if (u.protocol != IPPROTO_TCP || u.at + 8 > u.end)
		return 0;
	return u.at;
}

/* Functions of their own for the verifier's sake, as above. */
__noinline __u32 quoted_tcp_xdp(struct xdp_md *ctx, __u32 at, __u32 end, __u8 v6)
{
	return quoted_tcp(ctx, true, at, end, v6);
}

__noinline __u32 quoted_tcp_tcx(struct __sk_buff *ctx, __u32 at, __u32 end, __u8 v6)
{
	return quoted_tcp(ctx, false, at, end, v6);
}

#endif
