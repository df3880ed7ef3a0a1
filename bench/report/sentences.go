package report

import "slices"

// The programs as a comparison names them.
const (
	packet = "synscan --path packet"
	kernel = "synscan --path kernel"
)

// claims are the sentences about performance, one a row of the report. A bound stands
// as it was first written down; what misses it says so.
var claims = slices.Concat(sweeps, ports, insides, accuracy, watching)

var sweeps = []Claim{
	ratio("sweep/senders=1", packet, "zmap", PPS).atLeast(1.1, "x", "Sweep", "One sender by packet sockets sends at least 1.1 times zmap's probes a second."),
	ratio("sweep/senders=1", packet, "zmap", CPU).atMost(1, "x", "Sweep", "... and takes no more time of the processor for a probe."),
	ratio("sweep/senders=2", packet, "zmap", PPS).atLeast(1.1, "x", "Sweep", "Two senders likewise, against zmap with two."),
	ratio("sweep/senders=2", packet, "zmap", CPU).atMost(1, "x", "Sweep", "... and their time of the processor."),
	ratio("sweep/senders=1", packet, "masscan", PPS).atLeast(1.1, "x", "Sweep", "One sender likewise, against masscan."),
	ratio("sweep/senders=1", packet, "masscan", CPU).atMost(1, "x", "Sweep", "... and its time of the processor."),
	ratio("large-sweep/senders=1", kernel, "zmap", PPS).atLeast(4, "x", "Sweep", "The kernel path on one core sends at least 4 times zmap's probes a second."),
	ratio("large-sweep/senders=1", kernel, "zmap", CPU).atMost(0.25, "x", "Sweep", "... for at most a quarter of its time of the processor."),
	ratio("large-sweep/senders=2", kernel, "zmap", PPS).atLeast(3.5, "x", "Sweep", "On two cores it sends at least 3.5 times what zmap with two senders does."),
	ratio("sweep/senders=1", kernel, "masscan", PPS).atLeast(4, "x", "Sweep", "The kernel path sends at least 4 times masscan's probes a second for a core."),
	sum(
		worst("sweep/senders=1", "synscan", Missing), worst("sweep/senders=1", "synscan", Wrong), worst("sweep/senders=1", "synscan", Doubled),
		worst("sweep/senders=2", "synscan", Missing), worst("sweep/senders=2", "synscan", Wrong), worst("sweep/senders=2", "synscan", Doubled),
		worst("large-sweep/senders=1", "synscan", Missing), worst("large-sweep/senders=1", "synscan", Wrong), worst("large-sweep/senders=1", "synscan", Doubled),
		worst("large-sweep/senders=2", "synscan", Missing), worst("large-sweep/senders=2", "synscan", Wrong), worst("large-sweep/senders=2", "synscan", Doubled),
	).atMost(0, "endpoints", "Sweep", "At full speed nothing is missing, nothing is extra and nothing comes twice, in any round by any path."),
	sum(
		worst("sweep/all-answer", "synscan", Missing), worst("sweep/all-answer", "synscan", Wrong), worst("sweep/all-answer", "synscan", Doubled),
	).atMost(0, "endpoints", "Sweep", "The same where every endpoint answers."),
}

var ports = slices.Concat(
	against("one_host_all_ports", []string{"S", "F", "T"}, 0.5, "All ports of one host, all of which answer, take at most half of nmap's time: -s"),
	against("one_host_few_ports", []string{"S", "F", "T"}, 1, "A thousand ports of one host take no more than nmap's time: -s"),
	against("many_hosts", []string{"S", "T"}, 1, "256 hosts and 100 ports of each, a quarter of which is dropped, take less time than with nmap -T4: -s"),
)

// against are claims about synscan's time by nmap's.
func against(work string, methods []string, most float64, text string) (all []Claim) {
	for _, m := range methods {
		name := work + "/-s" + m
		all = append(all, ratio(name, "synscan", "nmap", Seconds).atMost(most, "x", "Ports", text+m+"."),
			sum(worst(name, "synscan", Missing), worst(name, "synscan", Wrong)).atMost(0, "ports", "Ports", "... with the state of every port."))
	}
	return all
}

var insides = []Claim{
	inverse(ratio("generator", "Sweep/program=generate/span=4096", "Sweep/program=bare/span=4096", "median-ns/frame")).atLeast(0.85, "x", "Pieces",
		"The generator sends at least 85 % of what a loop does that sends one constant frame."),
	worst("allocations", "", "allocs/op").atMost(0, "allocations", "Pieces", "Nothing is allocated for a probe or an answer."),
	of("start-up", "TestTheKernelPathBeginsSoon", "more-ms").atMost(150, "ms", "Pieces", "The kernel path begins at most 150 ms later than the packet path."),
	of("memory", "TestResidentMemory/a_slash_8", Memory).atMost(64, "MiB", "Pieces", "A sweep of a /8 is resident in less than 64 MiB."),
	of("memory", "TestResidentMemory/all_of_ipv4", Memory).atMost(128, "MiB", "Pieces", "The first 10^7 endpoints of all of IPv4 are printed in less than 128 MiB."),
	scaled(of("targets", "Build/exclusions=10000", "ns/op"), 1e-6).atMost(10, "ms", "Pieces", "All of IPv4 less 10,000 exclusions is built within milliseconds (10)."),
	scaled(of("targets", "Build/exclusions=10000", "B/op"), 1./1024).atMost(1024, "KiB", "Pieces", "... and takes kilobytes (1,024), the words that are parsed included."),
	worst("rate", "TestAnySecond", "busiest-second/rate").atMost(1.01, "x", "Pieces", "No second has more than one percent above the rate."),
	of("traffic", "TestOrdinaryTrafficBesideASweep", "throughput-ratio").atLeast(0.95, "x", "Pieces",
		"TCP beside a scan at a moderate rate, answers judged in XDP, keeps at least 95 % of its throughput."),
	of("full-traffic", "TrafficBeside/beside=tcx", "left").atLeast(0.95, "x", "Pieces",
		"TCP at full speed beside an idle validator keeps at least 95 % of it."),
	worst("neighbours", "TestManyNeighboursFewAlive/", "questions/address").atMost(1, "questions", "Pieces",
		"A /16 on the link with 1 % of live hosts costs one pass of questions for link addresses."),
	of("dropped-ports", "TestManyDroppedPortsWithFewDescriptors", Seconds).atMost(25, "s", "Pieces",
		"Connections to 20,000 dropped ports with 1,024 descriptors end in bounded time (25 s)."),
}

var accuracy = []Claim{
	medians("ledger", "Put/", "ns/answer").atMost(25, "ns", "Pieces", "The ledger takes at most 25 ns for an answer, at 1 %, 50 % and 100 % of 2^24 positions answered."),
	scaled(medians("ledger", "Put/", "bytes/position"), 8).atMost(2, "bits", "Pieces", "... and at most 2 bits for a position,"),
	scaled(medians("ledger", "Put/", "bytes/position"), 1<<32/float64(1<<30)).atMost(1.1, "GiB", "Pieces", "... so that one port of all of IPv4 fits in 1.1 GiB."),
	of("checkpoints", "CheckpointedSweep/path=kernel", "lost-%").atMost(1, "%", "Pieces", "Checkpoints of 2^24 positions cost the kernel path less than 1 % of its rate."),
	medians("checkpoint", "Checkpoint/", "%-of-throughput").atMost(1, "%", "Pieces", "... and take less than 1 % of a processor's time."),
	of("kills", "TestKilledSweepsLoseNothing", "more-probes-%").atMost(3, "%", "Pieces", "Sweeps that are killed and resumed send at most 3 % more probes."),
	least("bottleneck", "TestAnAdaptive", "least-of-what-is-carried-%").atLeast(90, "%", "Pieces", "An adaptive scan settles at 90 % or more of what a bottleneck carries, from below and from above, within 10 s."),
	worst("bottleneck", "TestAnAdaptive", "most-of-what-is-carried-%").atMost(100, "%", "Pieces", "... and at no more than it carries."),
	of("bottleneck", "TestAnAdaptiveScanFindsTheRateOfABottleneck", "found-%").atLeast(99.9, "%", "Pieces", "... and finds at least 99.9 % of the truth,"),
	of("bottleneck", "TestAnAdaptiveScanFindsTheRateOfABottleneck", "found-at-4-times-%").atMost(50, "%", "Pieces",
		"... where a fixed rate of four times as much finds less than half."),
	sum(
		worst("start-up", "Test", "failed"), worst("memory", "Test", "failed"), worst("traffic", "Test", "failed"), worst("rate", "Test", "failed"), worst("neighbours", "Test", "failed"),
		worst("dropped-ports", "Test", "failed"), worst("kills", "Test", "failed"), worst("bottleneck", "Test", "failed"), worst("forged-sources", "Test", "failed"),
	).atMost(0, "tests", "Pieces", "The tests that these figures come from passed, their bounds included."),
}

var watching = []Claim{
	of("watch-on-veth", "Detector/traffic=plain_ack", "ratio").atLeast(0.95, "x", "Detector", "With the detector attached a host takes at least 95 % of the ACKs that it takes with an empty program."),
	of("watch-on-veth", "Detector/traffic=plain_ack", "live-ns/packet").atMost(15, "ns", "Detector", "A plain ACK costs at most 15 ns more than in an empty program, as it comes."),
	of("watch", "Watch/case=ack", "hot-more-ns/packet").atMost(15, "ns", "Detector", "... repeated at once."),
	of("watch", "Watch/case=ack", "more-ns/packet").atMost(15, "ns", "Detector", "... with cold caches."),
	of("watch-on-veth", "Detector/traffic=repeated_port", "live-ns/packet").atMost(60, "ns", "Detector", "A probe of a known source to a port that it has probed costs at most 60 ns more, as it comes."),
	of("watch", "Watch/case=repeated_port", "hot-more-ns/packet").atMost(60, "ns", "Detector", "... repeated at once."),
	of("watch", "Watch/case=repeated_port", "more-ns/packet").atMost(60, "ns", "Detector", "... with cold caches."),
	of("watch-on-veth", "Detector/traffic=novel_probe", "live-ns/packet").atMost(200, "ns", "Detector", "A probe to a new port costs at most 200 ns more, as it comes."),
	of("watch", "Watch/case=novel_probe", "more-ns/packet").atMost(200, "ns", "Detector", "... with cold caches."),
	of("watch-on-veth", "Detector/traffic=forged_flood", "live-ns/packet").atMost(300, "ns", "Detector", "A new source, for which another has to go, costs at most 300 ns more, as it comes."),
	of("watch", "Watch/case=new_source", "more-ns/packet").atMost(300, "ns", "Detector", "... with cold caches."),
	worst("forged-sources", "TestAFloodHidesNobody/", Delay).atMost(2000, "ms", "Detector",
		"Among 100,000 and 1,000,000 forged sources a second each scan is told within 2 s of crossing the line."),
	worst("forged-sources", "TestAFloodHidesNobody/", Missing).atMost(0, "scans", "Detector", "... in every one of 20 runs."),
	everywhere("detector/scan=", "synwatch", Seen).atLeast(1, "", "Detector", "The detector tells of every method of every scanner, in every round."),
	everywhere("detector/scan=", "synwatch", Right).atLeast(1, "", "Detector", "... once for each policy, with the right source and kind, and accuses nobody else."),
	worst("detector/delay/rate=100", "synwatch", Delay).atMost(500, "ms", "Detector", "It tells within 0.5 s of the probe that crossed the line, at 100 ports a second"),
	worst("detector/delay/rate=10", "synwatch", Delay).atMost(500, "ms", "Detector", "... and at 10."),
	worst("detector/flood/rate=max", "synwatch", Delay).atMost(2000, "ms", "Detector", "Under a flood of forged sources, as fast as one thread sends it, it tells of a slow scan within 2 s,"),
	everywhere("detector/flood/", "synwatch", Seen).atLeast(1, "", "Detector", "... in every round,"),
	worst("detector/flood/rate=max", "synwatch", Core).atMost(0.05, "of a core", "Detector", "... and its process takes less than 5 % of a core."),
}
