// Package generate is the transmit half of a scan in the kernel: an XDP program that
// turns positions of a plan into whole probes and hands them to a device, without a
// system call, a copy or a socket buffer for each.
//
//	g, err := generate.New(cfg)             // plan, key, templates of tx, device
//	r, err := g.Run(0, &plan.Span{To: n})   // r.Sent frames left, r.Lost did not
//	r, err = g.Run(0, &plan.Span{Listed: true, Pending: slices.Clone(r.Lost)})
//
// BPF_PROG_RUN runs the program on pages that the kernel then treats as received
// frames (BPF_F_TEST_XDP_LIVE_FRAMES), and the program redirects them. Each is byte
// for byte what tx.Framer builds for the position.
//
// What it promises:
//
//   - Each position of a span has one frame, whatever signals come: the next position
//     is in a map, and not the number of the run, which the library begins again.
//   - No address outside of the plan's targets has one, as there is no other way to
//     an address than its rank.
//   - What the device did not take is known by position. It takes up to 16 frames at
//     once and refuses the last of them; a program at the tracepoint
//     xdp_devmap_xmit hears how many, and only for the run's own thread. The
//     device's statistics do not tell whose frames it refused.
//   - Slots run at the same time without a lock. Nothing allocates for a frame.
//
// What it leaves out is Unsupported, and for another transmitter: more than 2^64
// endpoints in all shards together, more than 2^20 ranges of targets of a family,
// links other than Ethernet, and more than one next hop for each family, as there are
// with several links and for neighbours. It does not pace either: a span leaves
// as fast as the device takes it.
//
// The device's driver has to take frames of XDP (ndo_xdp_xmit). That of a veth does so
// while XDP or GRO is on at its other end, that of virtio_net while an XDP program is
// attached to it; loopback and dummy devices never do. Check tries, and tells what is
// missing.
//
// Needs Linux 5.18 with BTF (CONFIG_DEBUG_INFO_BTF), and the capabilities CAP_BPF,
// CAP_NET_ADMIN, CAP_PERFMON and, for the namespace that parking makes, CAP_SYS_ADMIN.
package generate
