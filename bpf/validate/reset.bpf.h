/* The reset that ends a half-open connection, made of the SYN+ACK's own frame. */
#ifndef SYNOPTIC_VALIDATE_RESET_BPF_H
#define SYNOPTIC_VALIDATE_RESET_BPF_H

#include "checksum.bpf.h"
#include "frame.bpf.h"

#define RESET_TTL 64
#define FRAME_MIN 60 /* of Ethernet, without its checksum */

/* What of the SYN+ACK its reset is made of, as it stood there: its source is
 * where the reset goes.
 */
struct syn_ack {
	__be32 saddr[4]; /* IPv4: the first word */
	__be32 daddr[4];
	__be16 sport;
	__be16 dport;
	__be32 ack;
	__u8 mac[2][ETH_ALEN]; /* its destination, then its source */
};

#define RESET_SIZE(v6) (ETH_HLEN + ((v6) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + sizeof(struct tcphdr))
#define RESET_ROOM(v6) (RESET_SIZE(v6) < FRAME_MIN ? FRAME_MIN : RESET_SIZE(v6))

/* Writes the RESET_SIZE bytes of the reset, RFC 9293 3.10.7.3: <SEQ=SEG.ACK>
 * <CTL=RST>, as a closed port answers it.
 */
static __always_inline void write_reset(void *to, const struct syn_ack *s, const bool v6)
{
	struct ethhdr *eth = to;
	__u32 *word = to + ETH_HLEN;
	__u64 sum = (__u64)bpf_htonl(sizeof(struct tcphdr)) + bpf_htonl(IPPROTO_TCP);

	__builtin_memcpy(eth->h_dest, s->mac[1], ETH_ALEN);
	__builtin_memcpy(eth->h_source, s->mac[0], ETH_ALEN);
	eth->h_proto = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	if (v6) {
		word[0] = bpf_htonl(0x60000000);
		word[1] = bpf_htonl(sizeof(struct tcphdr) << 16 | IPPROTO_TCP << 8 | RESET_TTL);
		__builtin_memcpy(&word[2], s->daddr, 16);
		__builtin_memcpy(&word[6], s->saddr, 16);
		sum += (__u64)s->daddr[0] + s->daddr[1] + s->daddr[2] + s->daddr[3];
		sum += (__u64)s->saddr[0] + s->saddr[1] + s->saddr[2] + s->saddr[3];
	} else {
		__u64 header;

		/* DF and id 0, as Linux sends what needs no reassembly (RFC 6864 4.1). */
		word[0] = bpf_htonl(0x45000000 | (sizeof(struct iphdr) + sizeof(struct tcphdr)));
		word[1] = bpf_htonl(0x00004000);
		word[2] = bpf_htonl(RESET_TTL << 24 | IPPROTO_TCP << 16);
		word[3] = s->daddr[0];
		word[4] = s->saddr[0];
		header = (__u64)word[0] + word[1] + word[2] + word[3] + word[4];
		((struct iphdr *)word)->check = ~checksum_fold(header);
		sum += (__u64)word[3] + word[4];
	}

	word = to + RESET_SIZE(v6) - sizeof(struct tcphdr);
	word[0] = (__u32)s->sport << 16 | s->dport; /* little-endian: the port first in memory is the low half */
	word[1] = s->ack;
	word[2] = 0;
	word[3] = bpf_htonl(sizeof(struct tcphdr) << 26 | TCP_RST << 16);
	word[4] = 0;
	sum += (__u64)word[0] + word[1] + word[3];
	word[4] = (__u16)~checksum_fold(sum);
}

/* Turns the frame into its reset, cut to RESET_ROOM if it is longer; what the
 * target had in the rest of that is not sent back. A SYN+ACK is never shorter
 * than a reset. Reports false, with the frame spoilt, if it cannot be cut.
 */
static __always_inline bool turn_xdp(struct xdp_md *ctx, const struct syn_ack *s, const bool v6)
{
	const __u32 size = RESET_SIZE(v6), keep = RESET_ROOM(v6);
	__u32 have = bpf_xdp_get_buff_len(ctx);
	void *data, *end;
	__u8 *padding;

	if (have > keep && bpf_xdp_adjust_tail(ctx, (int)keep - (int)have) < 0)
		return false;
	data = frame_begin(ctx, true);
	end = frame_end(ctx, true);
	if (data + size > end)
		return false;
	write_reset(data, s, v6);
	padding = data + size;
#pragma unroll
	for (__u32 i = 0; i < keep - size; i++) {
		if ((void *)(padding + i + 1) > end)
			break;
		padding[i] = 0;
	}
	return true;
}

#define BORROWED 64 /* more than where a TCP header can be that is checked by it */

/* The checksum of a segment of this machine, or of its guests, may be left to
 * the device that it leaves by (CHECKSUM_PARTIAL), which would spoil that of the
 * reset. The kernel forgets of it when the place where it is to begin is taken
 * away (skb_postpull_rcsum), and so it is. The frame is not written to directly,
 * as then the kernel would copy the headers of all others, too, if they are
 * somebody else's, as those of TCP are that came over a veth
 * (bpf_unclone_prologue).
 */
static __always_inline bool turn_tcx(struct __sk_buff *skb, const struct syn_ack *s, const bool v6)
{
	const __u32 size = RESET_SIZE(v6), keep = RESET_ROOM(v6);
	__u8 room[2 + RESET_ROOM(true)] __attribute__((aligned(4))) = {};
	__u8 *frame = room + 2; /* aligns what is behind the Ethernet header */
	__u32 left = skb->len;

	if (left > keep)
		left = keep;
	if (left < size)
		return false;
	write_reset(frame, s, v6);
	return !bpf_skb_change_tail(skb, left + BORROWED, 0) && !bpf_skb_adjust_room(skb, -BORROWED, BPF_ADJ_ROOM_MAC, 0) &&
	       !bpf_skb_store_bytes(skb, 0, frame, left, 0);
}

#endif
