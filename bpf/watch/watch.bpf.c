//go:build ignore

/* The detector's program: it looks at every packet and lets every packet pass.
 *
 *   frame -> parse -> counted? (filter) -> count its class
 *         -> may it be a probe? flags decide 48 of the 64 sets; for an ACK
 *            and for UDP, whether a socket has this conversation
 *         -> scored? (filter) -> the source's entry in the table
 *         -> interesting? -> a snapshot for user space
 *
 * Nearly all traffic leaves at the third line: an ACK of a conversation that a
 * socket had a moment ago costs one look into an array.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>

#include "filter.bpf.h"
#include "flow.bpf.h"
#include "frame.bpf.h"
#include "maps.bpf.h"
#include "table.bpf.h"

#define TELL_AGAIN 50000000ULL /* ns between snapshots of a source that has crossed the line */

/* By the flags alone. The Go twin has the same. */
static __always_inline enum kind kind_of(const struct packet *p)
{
	__u8 flags = p->flags;

	if (flags & TCP_ACK) {
		if ((flags & (TCP_SYN | TCP_FIN)) == (TCP_SYN | TCP_FIN))
			return KIND_ODD;
		if (flags & TCP_SYN)
			return KIND_SYN_ACK;
		return flags & TCP_FIN ? KIND_MAIMON : KIND_ACK;
	}
	if ((flags & (TCP_SYN | TCP_FIN)) == TCP_SYN)
		return p->header >= 32 ? KIND_SYSTEM_SYN : KIND_SYN;
	if (flags == 0)
		return KIND_NULL;
	if (flags == TCP_FIN)
		return KIND_FIN;
	if (flags == (TCP_FIN | TCP_PSH | TCP_URG))
		return KIND_XMAS;
	return KIND_ODD;
}

static __always_inline enum context context_of(void *ctx, struct counters *count, const struct packet *p)
{
	enum context known;
	__u64 hash, now;
	__u64 *flow;

	if (replay) {
		known = replay_context;
	} else {
		hash = flow_hash(p);
		now = flow_now();
		flow = &flows[hash >> 16 & (FLOWS - 1)];
		if (likely(flow_is_cached(flow, hash, now))) {
			count->cached++;
			return CONTEXT_KNOWN;
		}
		known = ask_sockets(ctx, p);
		if (known != CONTEXT_UNKNOWN)
			*flow = (hash & ~FLOW_STAMP) | now;
	}
	if (known != CONTEXT_UNKNOWN)
		count->known++;
	if (known == CONTEXT_HANDSHAKE)
		count->handshakes++;
	return known;
}

static __always_inline __u32 port_of(const struct rules *r, const struct packet *p, enum kind kind)
{
	__u32 port = p->dport | PORT_USED | (__u32)kind << PORT_KIND_SHIFT;

	if (kind == KIND_UDP)
		port |= PORT_UDP;
	if (p->dport < 1024)
		port |= PORT_LOW;
	if (r->traps[p->dport >> 6] >> (p->dport & 63) & 1)
		port |= PORT_TRAP;
	return port;
}

static __always_inline enum class class_of(__u32 port)
{
	if (port & PORT_UDP)
		return CLASS_DATAGRAM;
	if (port & PORT_TRAP)
		return CLASS_TRAP;
	return port & PORT_LOW ? CLASS_LOW : CLASS_HIGH;
}

static __always_inline void empty(struct source *s, __u64 now)
{
	__builtin_memset(s, 0, offsetof(struct source, time));
	s->born = now;
	s->min_ttl = 255;
}

static __always_inline bool same_address(const __u32 *a, const __u32 *b)
{
	return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])) == 0;
}

static __always_inline __u64 host_bit(const __u32 *addr)
{
	__u64 a = (__u64)addr[1] << 32 | addr[0], b = (__u64)addr[3] << 32 | addr[2];
	__u64 x = a ^ b * 0x9e3779b97f4a7c15ULL;

	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ULL;
	x ^= x >> 32;
	return 1ULL << (x & 63);
}

/* What a line says of a sum: OVER_* bits, of which the high four mean near. */
#define NEAR_SHIFT 4
static __always_inline __u8 judge(const struct line *l, __u32 sum, __u8 bit)
{
	__u8 says = 0;

	if (l->on && sum >= l->near)
		says |= bit << NEAR_SHIFT;
	if (l->on && sum >= l->crossed)
		says |= bit;
	return says;
}

static __always_inline __u8 add_packet(const struct rules *r, struct packet_ring *ring, __u64 now, __u32 port)
{
	__u32 sum = 0, at = ring->next;

	if (at >= SLOTS)
		at = 0;
	ring->time[at] = now;
	ring->port[at] = port;
	ring->next = at + 1;
	for (__u32 i = 0; i < SLOTS; i++)
		sum += points_of(r->packets.weights, ring->port[i]) & ~if_less(r->packets.span, now - ring->time[i]);
	return judge(&r->packets, sum, OVER_PACKETS);
}

/* Steps 4a to 4f of the table, for an entry whose clock is at now. */
static __always_inline __u8 add_probe(struct counters *count, const struct rules *r, struct source *s, __u8 *heat,
				      const struct packet *p, __u64 now, __u32 port)
{
	__u32 window_sum = 0, gap_sum = 0, at;
	bool new_in_chain, new_in_window;
	__u8 says;
	__u64 was;

	if (s->last == 0 || now - s->fresh > r->gap.span) {
		s->chain = s->fresh = now;
		s->over = 0;
		*heat = 0;
	}
	at = s->latest_slot;
	if (at >= SLOTS || ((s->port[at] ^ port) & PORT_DISTINCT))
		at = find_slot(s, port);
	if (at < s->used) {
		if (at >= SLOTS) /* never; the verifier wants to be told */
			return 0;
		was = s->time[at];
		new_in_chain = was < s->chain;
		new_in_window = now - was > r->window.span;
	} else {
		if (at < SLOTS)
			s->used++;
		else
			at = oldest_slot(s);
		if (at >= SLOTS) /* never */
			return 0;
		new_in_chain = new_in_window = true;
	}
	s->time[at] = now;
	s->port[at] = port;
	s->latest_slot = at;
	if (new_in_chain && *heat < HEAT_MAX)
		(*heat)++;
	if (new_in_chain || s->over)
		s->fresh = now;

	count->probes++;
	if (s->last == 0)
		__builtin_memcpy(s->first, p->daddr, 16);
	if (s->last == 0 || !same_address(s->latest, p->daddr)) {
		__builtin_memcpy(s->latest, p->daddr, 16);
		s->hosts |= host_bit(p->daddr);
	}
	s->classes[class_of(port) & 3]++;
	at = port >> PORT_KIND_SHIFT;
	if (at < KINDS)
		s->kinds[at]++;
	if (p->ttl < s->min_ttl)
		s->min_ttl = p->ttl;
	if (p->ttl > s->max_ttl)
		s->max_ttl = p->ttl;
	s->last = now;

	if (!new_in_chain && !new_in_window) {
		count->repeats++;
		return 0;
	}
	if (s->used == 1) { /* this one, and the times of others need not be fetched */
		window_sum = points_of(r->window.weights, port);
		gap_sum = points_of(r->gap.weights, port);
	} else {
		for (__u32 i = 0; i < SLOTS; i++) {
			window_sum += points_of(r->window.weights, s->port[i]) & ~if_less(r->window.span, now - s->time[i]);
			gap_sum += points_of(r->gap.weights, s->port[i]) & ~if_less(s->time[i], s->chain);
		}
	}
	says = judge(&r->gap, gap_sum, OVER_GAP);
	s->over = says & OVER_GAP;
	return says | judge(&r->window, window_sum, OVER_WINDOW);
}

/* A packet as the table takes it. */
struct sighting {
	struct packet packet;
	__u64 addr[2]; /* of the source, masked */
	__u32 kind;
	__u8 is_probe;
	__u8 in_packets; /* it counts for a policy over packets */
	__u8 half;       /* of rules[], by which it is judged to the end */
	__u8 pad;
};

/* Enters a packet into the table. Returns 1 if its source has become
 * interesting: then desk->event is to be told, but for the interface. A function of its
 * own for the verifier's sake.
 */
__noinline int enter(const struct sighting *seen, struct desk *desk)
{
	const struct rules *r;
	bool told = false, placed, is_probe, in_packets;
	__u32 at, way, port, kind, nowhere = ways;
	struct packet_set *rings = 0;
	struct counters *count;
	const struct packet *p;
	__u64 now, touched, before, before_packet, addr[2];
	struct source *s;
	struct event *ev;
	struct set *set;
	__u8 says = 0;

	if (!seen || !desk)
		return 0;
	r = &rules[seen->half & 1];
	p = &seen->packet;
	kind = seen->kind;
	is_probe = seen->is_probe;
	in_packets = over_packets && seen->in_packets;
	addr[0] = seen->addr[0];
	addr[1] = seen->addr[1];
	at = set_of(addr);
	port = port_of(r, p, kind);
	count = &desk->counters;
	ev = &desk->event;
	set = bpf_map_lookup_elem(&table, &at);
	if (over_packets)
		rings = bpf_map_lookup_elem(&packets, &at);
	if (!set || (over_packets && !rings))
		return 0;
	/* In this order: reading the clock waits for what was to be fetched before. */
	now = replay ? replay_now : bpf_ktime_get_ns();
	fetch(set, at);
	placed = in_packets || (kind != KIND_SYN_ACK && !(kind == KIND_UDP && r->udp == UDP_COUNT));

	bpf_spin_lock(&set->lock);
	way = find_way(set, addr, nowhere);
	if (way >= WAYS) {
		if (!placed) {
			bpf_spin_unlock(&set->lock);
			if (kind == KIND_SYN_ACK)
				count->backscatter++;
			return 0;
		}
		way = least_suspicious(set, now, r->horizon, nowhere);
		if (way >= WAYS) /* never */
			way = 0;
		likely_next[at & (NEXT - 1)] = way + 1;
		touched = set->touched[way];
		if (touched && now > touched && now - touched > r->horizon)
			count->evicted_idle++;
		else if (touched)
			count->evicted_live++;
		count->sources++;
		set->inverse[way][0] = ~addr[0];
		set->inverse[way][1] = ~addr[1];
		set->heat[way] = 0;
		empty(&set->way[way], now);
		if (over_packets)
			__builtin_memset(&rings->way[way], 0, sizeof(rings->way[way]));
	} else if (now < set->touched[way]) {
		now = set->touched[way];
	}
	s = &set->way[way];
	if (kind == KIND_UDP && r->udp == UDP_COUNT) {
		s->classes[CLASS_DATAGRAM]++;
		s->kinds[KIND_UDP]++;
		bpf_spin_unlock(&set->lock);
		return 0;
	}
	if (is_probe && kind == KIND_SYN_ACK && (s->last == 0 || now - s->fresh > r->gap.span)) {
		count->backscatter++;
		is_probe = false;
		if (!in_packets) {
			bpf_spin_unlock(&set->lock);
			return 0;
		}
	}
	set->touched[way] = now;
	before = s->last;
	before_packet = s->last_packet;
	if (in_packets) {
		s->last_packet = now;
		says = add_packet(r, &rings->way[way], now, port);
		if (set->heat[way] == 0)
			set->heat[way] = 1;
	}
	if (is_probe)
		says |= add_probe(count, r, s, &set->heat[way], p, now, port);

	if (says >> NEAR_SHIFT) {
		__u8 over = says & ((1 << NEAR_SHIFT) - 1);

		if (over == 0 || (over & ~s->told_over) || now - s->told >= TELL_AGAIN) {
			told = true;
			s->told = now;
			s->told_over = over;
			ev->source = *s;
			if (over_packets)
				ev->packets = rings->way[way];
		}
	}
	bpf_spin_unlock(&set->lock);
	if (!told)
		return 0;

	ev->time = now;
	ev->before = before;
	ev->before_packet = before_packet;
	ev->addr[0] = addr[0];
	ev->addr[1] = addr[1];
	__builtin_memcpy(ev->from, p->saddr, 16);
	__builtin_memcpy(ev->to, p->daddr, 16);
	ev->ref = at * WAYS + way;
	ev->sport = p->sport;
	ev->probed = is_probe;
	return 1;
}

/* Notes that a source has completed a handshake, if it is in the table. */
static __always_inline void shake_hands(const __u64 *addr)
{
	__u32 at = set_of(addr), way, nowhere = ways;
	struct set *set = bpf_map_lookup_elem(&table, &at);

	if (!set)
		return;
	bpf_spin_lock(&set->lock);
	way = find_way(set, addr, nowhere);
	if (way < WAYS)
		set->way[way].handshakes++;
	bpf_spin_unlock(&set->lock);
}

static __always_inline void look(void *ctx, void *data, void *end, const bool xdp)
{
	__u32 zero = 0, in_force = active, half = in_force & 1;
	const struct rules *r = &rules[half];
	enum context known = CONTEXT_UNKNOWN;
	bool is_probe = true, in_packets = false, ask = false;
	struct sighting seen;
	struct packet *p = &seen.packet;
	struct counters *count;
	struct desk *desk;
	enum frame frame;

	desk = bpf_map_lookup_elem(&desks, &zero);
	if (!desk)
		return;
	count = &desk->counters;
	__builtin_memset(p, 0, sizeof(*p));
	frame = parse_frame(ctx, data, end, xdp, p);
	if (frame < FRAME_TCP) {
		if (frame == FRAME_NOT_IP)
			count->not_ip++;
		else if (frame == FRAME_MALFORMED)
			count->malformed++;
		else
			count->too_deep++;
		return;
	}
	if (in_force & ACTIVE_COUNT && !filter_passes(p, r->count, half)) {
		count->filtered++;
		return;
	}
	switch (frame) {
	case FRAME_TCP:
		count->tcp[p->flags & TCP_FLAGS]++;
		in_packets = over_packets && r->packets.on;
		if (p->flags & TCP_RST)
			is_probe = false;
		else if (p->flags & TCP_ACK)
			ask = true;
		break;
	case FRAME_UDP:
		count->udp++;
		if (r->udp == UDP_OFF)
			return;
		ask = true;
		break;
	case FRAME_TINY:
		count->tiny++;
		in_packets = over_packets && r->packets.on;
		break;
	case FRAME_ICMP:
		count->icmp++;
		return;
	case FRAME_FRAGMENT:
		count->fragments++;
		return;
	default:
		count->other++;
		return;
	}
	if (ask) {
		known = gateway ? CONTEXT_KNOWN : context_of(ctx, count, p);
		is_probe = known == CONTEXT_UNKNOWN;
	}
	if (!is_probe && !in_packets && known != CONTEXT_HANDSHAKE)
		return;

	__builtin_memcpy(seen.addr, p->saddr, 16);
	if (p->family == 6) {
		seen.addr[0] &= r->v6_mask[0];
		seen.addr[1] &= r->v6_mask[1];
	}
	if (known == CONTEXT_HANDSHAKE)
		shake_hands(seen.addr);
	if (!is_probe && !in_packets)
		return;
	if (r->score != NODE_PASS && !filter_passes(p, r->score, half)) {
		if (is_probe)
			count->ignored++;
		return;
	}
	seen.pad = 0;
	seen.kind = frame == FRAME_UDP ? KIND_UDP : frame == FRAME_TINY ? KIND_TINY : kind_of(p);
	seen.is_probe = is_probe;
	seen.in_packets = in_packets;
	seen.half = half;
	if (!enter(&seen, desk))
		return;
	desk->event.ifindex = xdp ? ((struct xdp_md *)ctx)->ingress_ifindex : ((struct __sk_buff *)ctx)->ingress_ifindex;
	if (bpf_ringbuf_output(&events, &desk->event, sizeof(desk->event), 0))
		count->lost_events++;
	else
		count->events++;
}

/* frags: headers are all we read, and frames may be larger than a page. */
SEC("xdp.frags")
int watch(struct xdp_md *ctx)
{
	look(ctx, (void *)(long)ctx->data, (void *)(long)ctx->data_end, true);
	return XDP_PASS;
}

#define HEADERS 256 /* that a TC program wants in the linear part of a packet */
#define TO_NEXT -1  /* TCX_NEXT of newer headers: the next program decides */

SEC("tcx/ingress")
int watch_tc(struct __sk_buff *skb)
{
	__u32 want = skb->len < HEADERS ? skb->len : HEADERS;

	if (skb->data_end - skb->data < want)
		bpf_skb_pull_data(skb, want);
	look(skb, (void *)(long)skb->data, (void *)(long)skb->data_end, false);
	return TO_NEXT;
}

char __license[] SEC("license") = "Dual MIT/GPL";
