//go:build ignore

/* The transmit half of a scan in the kernel: an XDP program that makes the probes
 * it then sends.
 *
 *   run -> the slot's next position, or nothing left
 *       -> index in the whole scan -> permutation -> address rank, port rank
 *       -> address, port -> cookie -> the whole frame -> the device's queue
 *   queue to device -> xmit: how many the device took
 *
 * BPF_PROG_RUN with live frames runs it on pages of its own. The next position is
 * in the slot and not the number of the run, because a run that a signal interrupts
 * begins again.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.bpf.h"
#include "permute.bpf.h"
#include "probe.bpf.h"
#include "target.bpf.h"

/* Takes the slot's next position. */
static __always_inline int take(struct slot *s, __u64 *pos)
{
	__u64 next = s->next;

	if (next >= s->end)
		return 0;
	s->next = next + 1;
	if (s->what == LISTED) {
		__u32 place = slot_number * RUN_POSITIONS + next;
		__u64 *listed = bpf_map_lookup_elem(&pending, &place);

		if (!listed)
			return 0;
		next = *listed;
	}
	*pos = next;
	return 1;
}

/* The index at a position of the whole scan; above order.last if there is none. A
 * function of its own, so that the verifier goes through its loop once, and not on
 * from each of its turns.
 */
__noinline __u64 index_at(__u64 pos)
{
	__u64 index;

	return permute_shuffle(&order, pos, &index) ? index : ~0ULL;
}

/* Makes a frame as long as it has to be. A live frame is longer at first, so that each
 * is cut: only then does the kernel write down its length, and else goes on with that
 * of the frame before on the same page, whose receiver may have shortened it
 * (frame_was_changed in net/bpf/test_run.c looks at its beginning only; seen on Linux
 * 6.18 behind a veth).
 */
static __always_inline int cut(struct xdp_md *ctx, __u32 len)
{
	__u32 has = ctx->data_end - ctx->data;

	return has == len || !bpf_xdp_adjust_tail(ctx, (int)(len - has));
}

/* Writes the frame of a position. */
static __always_inline int write_probe(struct xdp_md *ctx, __u64 pos, __be16 source_port)
{
	__u64 index, rank;
	__u32 nth = 0;
	__be16 port;
	struct address a;

	index = index_at(pos * shard_count + shard_first);
	if (index > order.last)
		return 0;
	rank = index;
	if (port_count > 1) {
		rank = index / port_count;
		nth = index - rank * port_count;
	}
	if (port_table) {
		__u16 *p = bpf_map_lookup_elem(&ports, &nth);

		if (!p)
			return 0;
		port = *p;
	} else {
		port = bpf_htons(port_first + nth);
	}
	if (family4.ranges && rank < addresses4) {
		if (!target4(rank, &a))
			return 0;
		return cut(ctx, family4.len) && write_probe4(ctx, &a, port, source_port);
	}
	if (family6.ranges) {
		if (!target6(rank - addresses4, &a))
			return 0;
		return cut(ctx, family6.len) && write_probe6(ctx, &a, port, source_port);
	}
	return 0;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u32 number = slot_number, zero = 0, *working;
	struct slot *s = bpf_map_lookup_elem(&slots, &number);
	__u64 pos;

	if (!s || !take(s, &pos))
		return XDP_DROP;
	if (s->what != GIVEN && !write_probe(ctx, pos, s->source_port))
		return XDP_DROP;
	if (!s->task)
		s->task = bpf_get_current_task();
	working = bpf_map_lookup_elem(&at_work, &zero);
	if (working)
		*working = number;
	s->built++;
	return bpf_redirect(device, 0);
}

/* Of the kernel's, whose BTF tells where it is. */
struct net_device {
	int ifindex;
} __attribute__((preserve_access_index));

/* In every network namespace, and not a device that frames come in by in XDP. */
#define LOOPBACK_IFINDEX 1

/* A queue was emptied into a device, up to 16 frames in the order in which they came
 * into it, and the device took the first of them. They are a run's if they come from
 * loopback, as frames of BPF_PROG_RUN do, and this is its thread: queues are emptied
 * before anything else may run on the CPU.
 */
SEC("tp_btf/xdp_devmap_xmit")
int xmit(__u64 *ctx)
{
	const struct net_device *from = (void *)ctx[0], *to = (void *)ctx[1];
	int sent = ctx[2], drops = ctx[3];
	__u32 zero = 0, *working;
	struct slot *s;
	__u64 place;

	if (to->ifindex != (int)device || from->ifindex != LOOPBACK_IFINDEX)
		return 0;
	working = bpf_map_lookup_elem(&at_work, &zero);
	if (!working)
		return 0;
	s = bpf_map_lookup_elem(&slots, working);
	if (!s || s->task != bpf_get_current_task())
		return 0;
	place = s->sent + s->dropped + sent;
	for (int i = 0; i < drops && i < 64; i++, place++)
		s->lost[place / 64 % (RUN_POSITIONS / 64)] |= 1ULL << (place % 64);
	s->sent += sent;
	s->dropped += drops;
	return 0;
}

char __license[] SEC("license") = "Dual MIT/GPL";
