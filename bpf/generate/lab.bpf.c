//go:build ignore

/* What the tests of the generator run beside it. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "permute.bpf.h"

#define SHUFFLED 64

/* A frame of the shuffle program. */
struct shuffled {
	struct permute order;
	__u64 index[SHUFFLED]; /* positions, in whose place it writes the indexes */
};

/* The i-th of them. A function of its own, so that the verifier goes through it
 * once.
 */
__noinline int shuffle_one(struct xdp_md *ctx, __u32 i)
{
	void *end = (void *)(long)ctx->data_end;
	struct shuffled *s = (void *)(long)ctx->data;
	__u64 *index = &s->index[i % SHUFFLED];

	if ((void *)(s + 1) > end || (void *)(index + 1) > end)
		return 0;
	return permute_shuffle(&s->order, *index, index);
}

/* bpf/include/permute.bpf.h by itself, for any n. */
SEC("xdp")
int shuffle(struct xdp_md *ctx)
{
	for (int i = 0; i < SHUFFLED; i++)
		if (!shuffle_one(ctx, i))
			return XDP_ABORTED;
	return XDP_PASS;
}

/* Frames by the last 4 bits of their target's address and its port. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << 20);
	__type(key, __u32);
	__type(value, __u32);
} counts SEC(".maps");

static __always_inline int count(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	__u32 place, *n;

	if ((void *)(tcp + 1) > (void *)(long)ctx->data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	place = (bpf_ntohl(ip->daddr) & 15) << 16 | bpf_ntohs(tcp->dest);
	n = bpf_map_lookup_elem(&counts, &place);
	if (n)
		__sync_fetch_and_add(n, 1);
	return XDP_DROP;
}

/* The far end of a link: counts every frame of IPv4 and TCP. */
SEC("xdp")
int tally(struct xdp_md *ctx)
{
	return count(ctx);
}

/* The same, and sends each frame back without its last bytes. */
SEC("xdp")
int shorten(struct xdp_md *ctx)
{
	int verdict = count(ctx);

	return bpf_xdp_adjust_tail(ctx, -4) ? verdict : XDP_TX;
}

/* The same as tally, and slow. */
SEC("xdp")
int slow_tally(struct xdp_md *ctx)
{
	__u64 until = bpf_ktime_get_ns() + 5000;

	for (int i = 0; i < 1000 && bpf_ktime_get_ns() < until; i++)
		;
	return count(ctx);
}

__u64 sunk; /* frames; one thread at a time sends to a sink */

/* The far end of a link that costs next to nothing. */
SEC("xdp")
int sink(struct xdp_md *ctx)
{
	(void)ctx;
	sunk++;
	return XDP_DROP;
}

/* The far end of a link that lets all in. */
SEC("xdp")
int pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

#define BARE_FRAME 58

const volatile __u64 bare_frame[8];
const volatile __u32 bare_device;

/* What sending costs without making: a constant frame, as long as a SYN over IPv4. */
SEC("xdp")
int bare(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;

	if (data + BARE_FRAME > (void *)(long)ctx->data_end)
		return XDP_DROP;
	_Pragma("unroll") for (int i = 0; i < BARE_FRAME / 8; i++)
		((__u64 *)data)[i] = bare_frame[i];
	*(__u16 *)(data + 56) = bare_frame[7];
	return bpf_redirect(bare_device, 0);
}

char __license[] SEC("license") = "Dual MIT/GPL";
