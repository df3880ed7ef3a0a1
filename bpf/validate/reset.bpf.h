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
};

/* Writes the reset over the frame, RFC 9293 3.10.7.3: <SEQ=SEG.ACK><CTL=RST>,
 * as a closed port answers it. A SYN+ACK is never shorter than that. Reports
 * false, with the frame spoilt, if the driver does not let it be cut, or if it
 * came to everybody: then none is due.
 */
static __always_inline bool make_reset(struct xdp_md *ctx, const struct syn_ack *s, const bool v6)
{
	const __u32 l4 = ETH_HLEN + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	const __u32 size = l4 + sizeof(struct tcphdr);
	const __u32 keep = size < FRAME_MIN ? FRAME_MIN : size;
	__u32 have = bpf_xdp_get_buff_len(ctx), *word;
	__u8 mac[ETH_ALEN], *padding;
	struct ethhdr *eth;
	void *data, *end;
	__u64 sum;

	if (have > keep && bpf_xdp_adjust_tail(ctx, (int)keep - (int)have) < 0)
		return false;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + size > end)
		return false;
	eth = data;
	if (eth->h_dest[0] & 1)
		return false;
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);

	word = data + ETH_HLEN;
	sum = (__u64)bpf_htonl(sizeof(struct tcphdr)) + bpf_htonl(IPPROTO_TCP);
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

	word = data + l4;
	word[0] = (__u32)s->sport << 16 | s->dport; /* little-endian: the port first in memory is the low half */
	word[1] = s->ack;
	word[2] = 0;
	word[3] = bpf_htonl(sizeof(struct tcphdr) << 26 | TCP_RST << 16);
	word[4] = 0;
	sum += (__u64)word[0] + word[1] + word[3];
	word[4] = (__u16)~checksum_fold(sum);

	/* What the target had there is not sent back. */
	padding = data + size;
#pragma unroll
	for (int i = 0; i < FRAME_MIN - (int)size; i++) {
		if ((void *)(padding + i + 1) > end)
			break;
		padding[i] = 0;
	}
	return true;
}

#endif
