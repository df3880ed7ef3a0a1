/* What user space shares with the generator: the plan, which is constant while it
 * is loaded, and a slot for each thread that runs it.
 */
#ifndef SYNOPTIC_GENERATE_MAPS_BPF_H
#define SYNOPTIC_GENERATE_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "permute.bpf.h"
#include "siphash.bpf.h"

/* The most positions that a run is given. */
#define RUN_POSITIONS 4096

/* The probes of an address family. Sums are over 16-bit words in memory order.
 * A family without targets has no ranges.
 */
struct family {
	__u64 frame[10];  /* as it lies in memory, zero where it is patched and behind its end */
	__u64 source[2];  /* the address as it lies in the packet; of IPv4 the low 4 bytes */
	__u64 base;       /* of the first address, in host order: IPv4, or the low half of IPv6 */
	__u64 base_high;  /* the high half */
	__u32 len;        /* of the frame: its TCP header has 20 bytes, or 24 with an option */
	__u32 ip_sum;     /* over the IPv4 header */
	__u32 tcp_sum;    /* over pseudo header and TCP header */
	__u32 ranges;     /* of targets; the first is base by itself */
	__u32 guide_shift;
	__u32 pad;
};

/* An interval of targets; start is the number of targets of its family below it. */
struct range4 {
	__u32 lo, start; /* lo in host order */
};

struct range6 {
	__u64 high, low, start;
};

/* The first and the last range in which a rank can be whose upper bits, all but
 * guide_shift, are the key. As in package target, it leaves one or two to look at
 * where ranges are spread evenly, and a binary search where they crowd.
 */
struct guide {
	__u32 first, last;
};

/* What a run sends. */
enum what {
	CONSECUTIVE, /* probes of positions */
	LISTED,      /* probes of the positions in the slot's list */
	GIVEN,       /* the frame that the run was given, as it is */
};

/* The frames of one run, and what became of them. User space writes all of it
 * before a run and reads it afterwards; in between it is its thread's only.
 */
struct slot {
	__u64 next, end;   /* positions or, if listed, places in the slot's list; one for each frame */
	__u64 task;        /* the thread; 0 before its first frame */
	__u64 built;       /* frames handed to the device's queue */
	__u64 sent;        /* frames that the device took */
	__u64 dropped;     /* and that it did not take */
	enum what what;
	__u32 source_port; /* of this try, in network byte order */
	__u64 lost[RUN_POSITIONS / 64]; /* a bit for each of built: it was dropped */
};

/* By the slot's number. The loader gives it one entry for each slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

/* The positions of the slots' lists, RUN_POSITIONS for each slot. Written by user
 * space before a run.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RUN_POSITIONS);
	__type(key, __u32);
	__type(value, __u64);
} pending SEC(".maps");

/* Which slot was last at work on this CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} at_work SEC(".maps");

/* Tables of the plan, written by the loader only, who also gives them their size.
 * Ports are in network byte order.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u16);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct range4);
} ranges4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct range6);
} ranges6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guide);
} guide4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guide);
} guide6 SEC(".maps");

/* Constants of the loader's. The verifier knows them and leaves out what they rule
 * out: tables of one entry, families without targets.
 */
const volatile __u32 slot_number;
const volatile __u32 device;         /* where frames go, by ifindex */
const volatile __u32 cookie_in_ack;
const volatile struct permute order;
const volatile __u64 shard_count;    /* position p is at p*count + first of the whole scan */
const volatile __u64 shard_first;
const volatile __u64 addresses4;     /* ranks below are IPv4 */
const volatile __u32 port_count;
const volatile __u32 port_first;     /* the ports if they have no gaps, from here; host order */
const volatile __u32 port_table;     /* they have: look them up */
const volatile struct siphash_key cookie_key;
const volatile struct family family4;
const volatile struct family family6;

#endif
