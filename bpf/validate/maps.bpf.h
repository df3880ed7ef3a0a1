/* What the validator shares with user space: knobs, counters, answers. The
 * memory of recent answers is its own.
 */
#ifndef SYNOPTIC_VALIDATE_MAPS_BPF_H
#define SYNOPTIC_VALIDATE_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "siphash.bpf.h"

/* Set by the loader before the program is verified, so that what they rule out
 * is not even there. Addresses are in network byte order, numbers are not.
 */
const volatile struct siphash_key cookie_key;
const volatile __u32 source4;
const volatile __u32 source6[4];
const volatile bool has_source4;
const volatile bool has_source6;
const volatile __u16 first_port;
const volatile __u16 ports;        /* from first_port on */
const volatile bool syn;           /* probes are SYNs */
const volatile bool cookie_in_ack; /* and resets bring it back in their sequence number */
const volatile __u8 reset_deltas;  /* bit d: a reset may bring back cookie+d */
const volatile bool reset;         /* answer SYN+ACKs */

/* Bit code%64 of word code/64: this ICMP error says something of a target. */
#define ICMP_TYPES 16
const volatile __u64 icmp4_codes[ICMP_TYPES][4];
const volatile __u64 icmp6_codes[ICMP_TYPES][4];

/* Written by user space before it attaches: see Validator.Attach. */
volatile bool redirect;

/* Every frame adds to exactly one of the first group. */
struct counters {
	__u64 foreign;
	__u64 bad_cookie;
	__u64 valid;     /* handed to user space */
	__u64 duplicate; /* valid, and known already */
	__u64 full;      /* valid, and no room for it */

	__u64 resets;    /* of those, answered by a reset */
	__u64 unreset;   /* and those that could not be */
};

/* What was seen. Written here, one copy per CPU so that no increment is lost;
 * read and summed by user space.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counts SEC(".maps");

/* What an answer is: TCP flags that matter, in their places (RFC 9293 3.1), and
 * other things in the places of flags that do not.
 */
#define ANSWER_IPV6    0x01
#define ANSWER_SYN     0x02
#define ANSWER_RST     0x04
#define ANSWER_NEXT    0x08 /* the number that it brings back is cookie+1 */
#define ANSWER_ACK     0x10
#define ANSWER_OPTIONS 0x20 /* its TCP header has some */
#define ANSWER_ICMP    0x40 /* it is an ICMP error, and has none of the flags */

/* A valid answer, for user space. */
struct answer {
	__u64 time;       /* by bpf_ktime_get_ns() */
	__u8 target[16];  /* network byte order; an IPv4 address is in the first 4 bytes */
	__u16 port;       /* of the target; host byte order, as are the next two */
	__u16 source_port;
	__u16 window;     /* of a segment; of an ICMP error, type << 8 | code */
	__u8 ttl;
	__u8 what;        /* ANSWER_* */
};

/* An ICMP error of somebody else than the target. */
struct answer_from {
	struct answer answer;
	__u8 from[16]; /* as target */
};

/* For the generator of Go types. */
const struct answer_from *unused __attribute__((unused));

/* Valid answers, in records of either size. Written here, emptied by user
 * space, which looks by itself: nobody is woken. When it is full the answer
 * counts as such. The loader sets the size, in bytes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} answers SEC(".maps");

#define RECENT_BITS 16

/* One mark for each of the latest answers, at the place that the first bits of
 * its hash name; see recent.bpf.h. Read and written here only, by all CPUs. A
 * later answer takes the place of an earlier one.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << RECENT_BITS);
	__type(key, __u32);
	__type(value, __u64);
} recents SEC(".maps");

#endif
