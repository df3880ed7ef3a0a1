/* The filters: tables of tests, watch.Filter. */
#ifndef SYNOPTIC_WATCH_FILTER_BPF_H
#define SYNOPTIC_WATCH_FILTER_BPF_H

#include "frame.bpf.h"

enum test {
	TEST_FAMILY,
	TEST_PROTOCOL,
	TEST_SOURCE,
	TEST_DESTINATION,
	TEST_SOURCE_PORT,
	TEST_DESTINATION_PORT,
};

static __always_inline bool in_prefix(const struct node *n, const struct packet *p, const __u32 *addr)
{
	return p->family == n->family &&
	       (((addr[0] ^ n->addr[0]) & n->mask[0]) | ((addr[1] ^ n->addr[1]) & n->mask[1]) |
		((addr[2] ^ n->addr[2]) & n->mask[2]) | ((addr[3] ^ n->addr[3]) & n->mask[3])) == 0;
}

static __always_inline bool node_holds(const struct node *n, const struct packet *p)
{
	__u16 value;

	if (n->test == TEST_SOURCE)
		return in_prefix(n, p, p->saddr);
	if (n->test == TEST_DESTINATION)
		return in_prefix(n, p, p->daddr);
	if (n->test == TEST_FAMILY) {
		value = p->family;
	} else if (n->test == TEST_PROTOCOL) {
		value = p->protocol;
	} else {
		if (!p->has_ports)
			return false;
		value = n->test == TEST_SOURCE_PORT ? p->sport : p->dport;
	}
	return n->lo <= value && value <= n->hi;
}

/* Whether the filter that begins at node at of rules[half] passes the packet. A function of
 * its own, so that the verifier goes through the loop once.
 */
__noinline int filter_passes(const struct packet *p, __u32 at, __u32 half)
{
	const struct rules *r = &rules[half & 1];

	if (!p)
		return 0;
	for (int i = 0; i < NODES; i++) {
		const struct node *n;

		if (at >= NODES)
			break;
		n = &r->nodes[at];
		at = node_holds(n, p) ? n->yes : n->no;
	}
	return at == NODE_PASS;
}

#endif
