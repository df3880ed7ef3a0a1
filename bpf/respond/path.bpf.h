/* The path between scanner and simulated hosts, and what is lost on it: first
 * what a policer does not let through, then by chance.
 *
 * A probe is dropped before its answer is decided. The scanner cannot tell the
 * loss of a probe from that of its answer, so this stands for loss in either
 * direction.
 */
#ifndef SYNOPTIC_RESPOND_PATH_BPF_H
#define SYNOPTIC_RESPOND_PATH_BPF_H

#include <linux/bpf.h>
#include <stdbool.h>

#include "maps.bpf.h"

#define AT_ONCE 20000	   /* ns at most between packets of one burst */
#define BURST_TIME 1000000 /* ns that a burst takes at most */

/* Whether the policer drops this probe: a token bucket, in units of 1e-9
 * packets, so that rate packets a second are rate units a nanosecond and
 * nothing is rounded. It is full at first: its time is that of the boot.
 *
 * A burst is one moment, and the time that it took is credited with the next. For
 * in the lab the work of the far end is done in the sender's time, more of it for
 * packets that are answered; on a wire the next packet would follow at once,
 * answered or not, and those would not see more of the bucket refilled.
 *
 * CPUs read the clock before they wait for the lock, so time may seem to go
 * back. It then stands still, and no nanosecond is credited twice.
 */
static __always_inline bool is_policed(__u32 rate, __u32 burst)
{
	const __u64 packet = 1000000000;
	__u64 full = burst * packet, filled_in = full / rate;
	__u64 now = bpf_ktime_get_ns(), passed;
	__u32 zero = 0;
	struct bucket *b;
	bool dropped;

	b = bpf_map_lookup_elem(&policer, &zero);
	if (!b)
		return false;
	bpf_spin_lock(&b->lock);
	if (now > b->last) {
		passed = now - b->at;
		if (now - b->last > AT_ONCE || passed > BURST_TIME) {
			b->at = now;
			/* Not longer than that, or the product might not fit. */
			b->tokens += passed > filled_in ? full : passed * rate;
		}
		b->last = now;
	}
	if (b->tokens > full)
		b->tokens = full;
	dropped = b->tokens < packet;
	if (!dropped)
		b->tokens -= packet;
	bpf_spin_unlock(&b->lock);
	return dropped;
}

/* Whether the path takes this probe, which is then counted. */
static __always_inline bool is_taken(const struct config *cfg, struct counters *count)
{
	if (!(cfg->police | cfg->path_lost_below))
		return false;
	if (cfg->police && is_policed(cfg->police, cfg->police_burst)) {
		count->policed++;
		return true;
	}
	if (bpf_get_prandom_u32() < cfg->path_lost_below) {
		count->path_lost++;
		return true;
	}
	return false;
}

#endif
