/* What user space shares with the responder: knobs, counters, and the memory of
 * a lossy network. The policer's bucket is the program's own.
 */
#ifndef SYNOPTIC_RESPOND_MAPS_BPF_H
#define SYNOPTIC_RESPOND_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "siphash.bpf.h"

enum personality {
	PERSONALITY_STANDARD,
	PERSONALITY_WINDOWS,
	PERSONALITY_BSD,
	PERSONALITY_SYNPROXY,
	PERSONALITY_REJECT,
};

/* Shares are cumulative bounds on the low (lost_below: the high) 32 bits of the
 * hash, or a bound on a random number of 32 bits (path_lost_below), hence
 * 0 .. 2^32. Addresses are in network byte order; an absent prefix
 * has a zero mask and an address of ones, which nothing matches.
 */
struct config {
	struct siphash_key key;
	__u64 open_below;
	__u64 closed_below;
	__u64 rejected_below;
	__u64 lost_below;
	__u64 path_lost_below;
	__u8 net6[16];
	__u8 mask6[16];
	__u8 router6[16]; /* sender of ICMPv6 errors, valid iff from_router6 */
	__u8 net4[4];
	__u8 mask4[4];
	__u8 router4[4]; /* sender of ICMP errors, valid iff from_router4 */
	__u32 lose_tries; /* a lossy endpoint loses this many probes */
	__u32 police;     /* probes a second; 0 for no policer */
	__u32 police_burst; /* probes at once after a pause */
	enum personality personality;
	__u8 from_router4;
	__u8 from_router6;
	__u8 skip_checksums; /* answer segments whose checksum is wrong, too */
	__u8 redirect;       /* send with XDP_REDIRECT, see Responder.Attach */
	__u8 icmp4_type;
	__u8 icmp4_code;
	__u8 icmp6_type;
	__u8 icmp6_code;
	__u8 quote; /* bytes of TCP header that ICMP errors quote: 8 .. 60, multiple of 4 */
};

/* Every frame in the range adds to exactly one of the first group, every
 * well-formed TCP segment (the sum over tcp[]) to exactly one of the second.
 */
struct counters {
	__u64 tcp[64]; /* by flags byte without ECE and CWR */
	__u64 non_tcp;
	__u64 fragment;
	__u64 malformed;
	__u64 bad_checksum;

	__u64 syn_ack;
	__u64 rst;
	__u64 icmp;
	__u64 policed;   /* dropped by the policer */
	__u64 path_lost; /* dropped by chance */
	__u64 silent;
	__u64 accepted; /* bare ACKs that end a handshake with an open port */
	__u64 lost;
	__u64 failed; /* an answer was due and the frame could not be resized */

	__u64 ecn;       /* of tcp[], those with ECE or CWR */
	__u64 loss_full; /* answers not lost because the tries map was full */
};

/* The policer's tokens, in 1e-9 packets, as they were at a time by
 * bpf_ktime_get_ns(), and the time of the last packet.
 */
struct bucket {
	struct bpf_spin_lock lock;
	__u64 at;
	__u64 last;
	__u64 tokens;
};

/* One endpoint of the range. An IPv4 address is in the first four bytes, the
 * rest is zero.
 */
struct endpoint {
	__u8 addr[16];
	__u8 port[2]; /* network byte order */
	__u8 family;  /* 4 or 6 */
	__u8 pad;
};

/* The knobs. Written by user space, which may do so at any time; a packet that
 * arrives during the write may see half of it. Read once per packet.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} knobs SEC(".maps");

/* What was seen and sent. Written here, one copy per CPU so that no increment
 * is lost; read and summed by user space.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counts SEC(".maps");

/* One bucket for all CPUs, under its lock. Read and written here only, and only
 * while a policer is configured. User space does not empty or fill it: a new
 * rate takes over the tokens, as many as its burst has room for.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bucket);
} policer SEC(".maps");

/* How many answers of a lossy endpoint have been lost so far. Written here,
 * only while loss is configured; emptied by user space. Nothing is evicted: an
 * LRU map would forget an endpoint early and lose its answers again, and the
 * expected result would no longer be known. When the map is full, a new
 * endpoint is not lossy and loss_full says so. The loader shrinks the map to
 * one entry for a responder that is loaded without loss.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 21);
	__type(key, struct endpoint);
	__type(value, __u32);
} tries SEC(".maps");

#endif
