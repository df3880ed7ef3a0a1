/* What the detector's program remembers and what user space shares with it. */
#ifndef SYNOPTIC_WATCH_MAPS_BPF_H
#define SYNOPTIC_WATCH_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define likely(x) __builtin_expect(!!(x), 1)

#define WAYS  8   /* sources in a set of the table */
#define SLOTS 22  /* distinct probes that are remembered of a source: MaxProbes */
#define NODES 256 /* tests of both filters: MaxNodes */

enum kind {
	KIND_SYN,
	KIND_SYSTEM_SYN,
	KIND_NULL,
	KIND_FIN,
	KIND_XMAS,
	KIND_ODD,
	KIND_MAIMON,
	KIND_ACK,
	KIND_SYN_ACK,
	KIND_UDP,
	KIND_TINY,
	KINDS,
};

enum class {
	CLASS_HIGH,
	CLASS_LOW,
	CLASS_TRAP,
	CLASS_DATAGRAM,
	CLASSES,
};

enum context {
	CONTEXT_UNKNOWN,
	CONTEXT_KNOWN,
	CONTEXT_HANDSHAKE,
};

/* A distinct (protocol, port) as a number: the port in the low 16 bits, then a
 * bit each for UDP, for a port below 1024, for a trap and for a slot in use,
 * and the kind of the latest probe in the high 8. What makes it distinct are
 * port, UDP and use; low and trap select the weight.
 */
#define PORT_UDP	(1U << 16)
#define PORT_LOW	(1U << 17)
#define PORT_TRAP	(1U << 18)
#define PORT_USED	(1U << 19)
#define PORT_DISTINCT	(PORT_USED | PORT_UDP | 0xffff)
#define PORT_KIND_SHIFT 24

/* One source. Times are nanoseconds, 0 means never. Slots are used from the
 * first on and are in no order. What a probe changes stands in front; of time
 * a new source needs one.
 */
struct source {
	__u64 last;        /* the last probe */
	__u64 chain;       /* when the present chain of new ports began */
	__u64 fresh;       /* the last new port in it */
	__u64 hosts;       /* a set of 64 hash values of destinations */
	__u64 told;        /* the last snapshot */
	__u64 born;
	__u64 last_packet; /* the last TCP packet; only with a policy over packets */
	__u8 used;
	__u8 over;      /* the gap line was crossed in this chain */
	__u8 told_over; /* OVER_* in the last snapshot */
	__u8 min_ttl;
	__u8 max_ttl;
	__u8 latest_slot; /* of the last probe: the next one is often to the same port */
	__u8 pad[2];
	__u32 latest[4]; /* destination, network byte order; IPv4 as ::ffff:a.b.c.d */
	__u32 classes[CLASSES];
	__u32 kinds[KINDS];
	__u32 handshakes;
	__u32 first[4];
	__u32 port[SLOTS];
	__u64 time[SLOTS]; /* of the latest probe to port[i] */
};

#define OVER_WINDOW  1
#define OVER_GAP     2
#define OVER_PACKETS 4

/* A set. What finding and choosing need stands together in front. A way is
 * empty iff touched is 0. Addresses are inverted, so that an empty way has that
 * of ffff:...:ffff, which sends nothing.
 */
struct set {
	struct bpf_spin_lock lock;
	__u8 heat[WAYS]; /* distinct ports in the present chain, at most HEAT_MAX */
	__u64 touched[WAYS];
	__u64 inverse[WAYS][2]; /* ~address, network byte order */
	struct source way[WAYS];
};

/* The last TCP packets of a source, for a policy over packets; the next one
 * goes to next. port is 0 where there was none yet.
 */
struct packet_ring {
	__u64 time[SLOTS];
	__u32 port[SLOTS];
	__u32 next;
	__u32 pad;
};

struct packet_set {
	struct packet_ring way[WAYS];
};

/* The table: an array of sets, hashed with a key that nobody outside knows.
 * Written here under each set's lock, evicted here (least suspicious first),
 * never full. User space reads sources with BPF_F_LOCK.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct set);
} table SEC(".maps");

/* Beside the table, under the same locks; one entry unless a policy over
 * packets is on.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet_set);
} packets SEC(".maps");

/* Conversations that a socket had a moment ago: a tag of 48 bits and a time of
 * 16, in one word. Direct-mapped: another one takes the place. Written here.
 * Global data and no map of its own: one instruction finds the place.
 */
#define FLOWS (1 << 16)
static __u64 flows[FLOWS];

/* The way behind the one that a set's latest new source got: the next is likely to
 * get it, for a flood, which is of sources that send once, goes around. Only to
 * fetch it early, so sets may share one.
 */
#define NEXT (1 << 16)
static __u8 likely_next[NEXT];

struct counters {
	__u64 not_ip, malformed, too_deep, filtered;
	__u64 tcp[64]; /* by flags byte without ECE and CWR */
	__u64 udp, icmp, other, fragments, tiny;
	__u64 cached, known, handshakes, ignored, backscatter, probes, repeats;
	__u64 sources, evicted_idle, evicted_live, events, lost_events;
};

/* A source as it was at one packet. */
struct event {
	__u64 time; /* of this packet */
	__u64 before;
	__u64 before_packet;
	__u64 addr[2];  /* of the source, masked */
	__u32 from[4];  /* of the sender of this packet */
	__u32 to[4];    /* its destination */
	__u32 ref;      /* set * WAYS + way */
	__u32 ifindex;
	__u16 sport;    /* host byte order */
	__u8 probed;
	__u8 pad[5];
	struct source source;
	struct packet_ring packets; /* valid iff a policy over packets is on */
};

/* What each CPU has for itself: counters, so that no increment is lost, which
 * user space sums, and where an event is put together, which is too large for
 * the stack. In one map because a look into another costs.
 */
struct desk {
	struct counters counters;
	struct event event;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct desk);
} desks SEC(".maps");

/* Events for user space. When it is full, lost_events counts. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* A policy's line. weights has the points of a port as four bytes: high, low,
 * high trap, low trap, the first in the lowest byte.
 */
struct line {
	__u64 span;
	__u32 crossed; /* the least points beyond the line */
	__u32 near;    /* the least points that are interesting */
	__u32 weights;
	__u32 on;
};

/* A test of a filter, watch.Node. */
struct node {
	__u32 addr[4]; /* network byte order, IPv4 as ::ffff:a.b.c.d */
	__u32 mask[4];
	__u16 lo, hi;
	__u16 yes, no;
	__u8 test;
	__u8 family; /* of addr: 4 or 6 */
	__u8 pad[2];
};

enum udp_mode {
	UDP_SCORE,
	UDP_COUNT,
	UDP_OFF,
};

struct rules {
	__u64 traps[1024]; /* a bit for each port */
	struct line window, gap, packets;
	__u64 horizon;    /* a source this long silent can be accused by nobody */
	__u64 v6_mask[2]; /* network byte order */
	__u32 udp;        /* enum udp_mode */
	__u16 count;      /* the first node of the filter that counts; NODE_PASS: none */
	__u16 score;      /* and of the one that scores */
	struct node nodes[NODES];
};

#define NODE_PASS   0xffff
#define NODE_REJECT 0xfffe

/* The rules in force are rules[active & 1]. User space writes the others and then
 * active, so no packet meets a mixture.
 */
#define ACTIVE_COUNT 2 /* set in active if those have a filter that counts */
struct rules rules[2];
volatile __u32 active;
volatile __u32 ways = WAYS; /* for the verifier a number that it does not know; nobody writes it */

/* The world in replay, written by user space before each run. */
volatile __u64 replay_now;
volatile __u32 replay_context; /* enum context */

const volatile __u64 table_key[5];
const volatile __u64 flow_key[2];
const volatile __u32 sets = 1;      /* in the table */
const volatile bool replay = false; /* time and context are user space's */
const volatile bool gateway = false; /* packets are for others: no socket here knows of them */
const volatile bool over_packets = false; /* a policy over packets may be on */

#endif
